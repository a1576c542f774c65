"""BERT-style text towers: post-norm, bidirectional (arXiv:1810.04805, section 3).

What families do differently stands in `positions_of` and in the tower classes at the end. Names are the
checkpoints'. Axes: B batch, L tokens, D width.
"""

import torch
from torch import Tensor, nn

from clipcli.checkpoints.towers import (
    COUNTED_FROM_PADDING,
    BertStyleConfig,
    PooledTextConfig,
    XlmRobertaTextConfig,
)
from clipcli.networks.activations import ACTIVATION_FUNCTIONS
from clipcli.networks.transformer import Recorder, TowerOutput, attend, merge_heads, split_heads


def positions_of(input_ids: Tensor, config: BertStyleConfig) -> Tensor:
    """BERT: 0, 1, 2, ... RoBERTa: tokens count up from `pad_token_id` + 1, and padding stays at `pad_token_id`.

    Shapes: (B, L) -> (L,) or (B, L). Source of the latter: arXiv:1907.11692, whose code counts so; the paper does not
    say.
    """
    if not isinstance(config, COUNTED_FROM_PADDING):
        return torch.arange(input_ids.shape[1], device=input_ids.device)
    tokens = (input_ids != config.pad_token_id).long()
    return tokens.cumsum(dim=1) * tokens + config.pad_token_id


class BertEmbeddings(nn.Module):
    """Token, position and token-type embeddings, summed and normed. A text is one segment: its type is 0."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Shapes: (B, L) -> (B, L, D)."""
        x = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        x = x + self.position_embeddings(positions_of(input_ids, self.config))
        return self.LayerNorm(x)


class BertSelfAttention(nn.Module):
    """Multi-head self-attention, without its output projection."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder) -> Tensor:
        """Shapes: x (B, L, D), mask as for `attend` -> (B, L, D)."""
        query, key, value = (split_heads(proj(x), self.heads) for proj in (self.query, self.key, self.value))
        return merge_heads(attend(query, key, value, mask, recorder))


class AddAndNorm(nn.Module):
    """A linear layer, the residual, and a norm over both: what makes the tower post-norm."""

    def __init__(self, width_in: int, config: BertStyleConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Shapes: x (B, L, width_in), residual (B, L, D) -> (B, L, D)."""
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    """Self-attention with its output projection, residual and norm."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = AddAndNorm(config.hidden_size, config)

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder) -> Tensor:
        """Shapes: x (B, L, D) -> (B, L, D)."""
        return self.output(self.self(x, mask, recorder), x)


class BertIntermediate(nn.Module):
    """The widening half of the perceptron."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, L, D) -> (B, L, intermediate_size)."""
        return self.activation(self.dense(x))


class BertLayer(nn.Module):
    """One post-norm layer: norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = AddAndNorm(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder) -> Tensor:
        """Shapes: x (B, L, D) -> (B, L, D)."""
        x = self.attention(x, mask, recorder)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """A stack of post-norm layers."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder) -> Tensor:
        """Shapes: x (B, L, D) -> (B, L, D); records the state before the first layer and after each."""
        recorder.hidden_state(x)
        for layer in self.layer:
            x = layer(x, mask, recorder)
            recorder.hidden_state(x)
        return x


class BertTextTransformer(nn.Module):
    """Chinese-CLIP's text tower: the text's state is that of its first token, [CLS], without a pooler."""

    def __init__(self, config: BertStyleConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)

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
            ValueError: L exceeds the config's `max_length`.
        """
        if input_ids.shape[1] > self.config.max_length:
            raise ValueError(f"{input_ids.shape[1]} tokens, this checkpoint takes {self.config.max_length}")
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]  # (B, 1, 1, L)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        x = self.encoder(self.embeddings(input_ids), mask, recorder)
        return TowerOutput(x, x[:, 0], recorder.hidden_states, recorder.attentions)


class AltTextTransformer(nn.Module):
    """AltCLIP's text tower: XLM-RoBERTa, then each state normed and mapped to the teacher's width.

    Source: arXiv:2211.06679, section 3.1. The text's state is that of its first token, <s>.
    """

    def __init__(self, config: XlmRobertaTextConfig) -> None:
        super().__init__()
        self.roberta = BertTextTransformer(config)
        self.pre_LN = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.transformation = nn.Linear(config.hidden_size, config.project_dim)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TowerOutput:
        """Encode token ids: as `BertTextTransformer`, with the last state mapped to (B, L, `project_dim`)."""
        output = self.roberta(
            input_ids, attention_mask, output_hidden_states=output_hidden_states, output_attentions=output_attentions
        )
        x = self.transformation(self.pre_LN(output.last_hidden_state))  # (B, L, project_dim)
        return TowerOutput(x, x[:, 0], output.hidden_states, output.attentions)


class PooledTextTransformer(BertTextTransformer):
    """open_clip's text tower: the states of all tokens or of the first one, and the first of two steps of projection.

    As there, a token with the padding's id is padding wherever it stands.
    """

    def __init__(self, config: PooledTextConfig) -> None:
        super().__init__(config)
        self.pad_token_id, self.pooling = config.pad_token_id, config.pooling
        self.hidden_projection: nn.Module = nn.Identity()
        if config.hidden_projection:
            self.hidden_projection = nn.Linear(config.hidden_size, config.hidden_projection, bias=False)
        self.activation = ACTIVATION_FUNCTIONS["gelu"] if config.hidden_projection else nn.Identity()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TowerOutput:
        """Encode token ids: as `BertTextTransformer`, with the mask that the ids make; pooled to (B, `output_size`)."""
        real = input_ids != self.pad_token_id
        output = super().forward(
            input_ids, real, output_hidden_states=output_hidden_states, output_attentions=output_attentions
        )
        pooled = output.pooler_output
        if self.pooling == "mean":
            kept = real[..., None].to(pooled.dtype)  # (B, L, 1)
            pooled = (output.last_hidden_state * kept).sum(dim=1) / kept.sum(dim=1)
        pooled = self.activation(self.hidden_projection(pooled))
        return TowerOutput(output.last_hidden_state, pooled, output.hidden_states, output.attentions)
