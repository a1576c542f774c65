"""CLIP's causal text tower (arXiv:2103.00020, section 2.4), to be read; `fused_text` runs the same faster."""

import torch
from torch import Tensor, nn

from clipcli.checkpoints.towers import ClipTextConfig, SiglipTextConfig
from clipcli.networks.transformer import Encoder, Recorder, TowerOutput


class TextEmbeddings(nn.Module):
    """Token and learned position embeddings."""

    def __init__(self, config: ClipTextConfig | SiglipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Shapes: input_ids (B, L), position_ids (L,) or (B, L) -> (B, L, D)."""
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)


class CausalTextTransformer(nn.Module):
    """Text tower in which a token sees itself and what precedes it; the text's state is that of its end token."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TowerOutput:
        """Encode token ids.

        Shapes: input_ids (B, L); attention_mask (B, L), nonzero for tokens, zero for padding; see `TowerOutput`.

        Raises:
            ValueError: L exceeds the config's `max_position_embeddings`.
        """
        length = input_ids.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(f"{length} tokens, this checkpoint takes {self.config.max_position_embeddings}")
        mask = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        if attention_mask is not None:
            mask = mask & attention_mask.bool()[:, None, :]  # (B, L, L)
            # Padding in front sees nothing; seeing itself keeps its softmax defined.
            alone = torch.eye(length, dtype=torch.bool, device=mask.device) & ~mask.any(dim=-1, keepdim=True)
            mask = (mask | alone)[:, None]  # (B, 1, L, L)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        positions = torch.arange(length, device=input_ids.device)
        x = self.final_layer_norm(self.encoder(self.embeddings(input_ids, positions), mask, recorder))
        pooled = x[torch.arange(x.shape[0], device=x.device), self.end_positions(input_ids)]
        return TowerOutput(x, pooled, recorder.hidden_states, recorder.attentions)

    def end_positions(self, input_ids: Tensor) -> Tensor:
        """Index of each text's end token: see `end_token_id` of the config.

        Shapes: input_ids (B, L) -> (B,).
        """
        end = self.config.end_token_id
        return (input_ids if end is None else (input_ids == end).int()).argmax(dim=-1)
