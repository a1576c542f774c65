"""SigLIP's two towers (arXiv:2303.15343; arXiv:2502.14786), to be read; `fused_siglip` runs the same faster.

They are made of CLIP's layers. Other than there, no class token is added and an attention pool reads the image, every
text fills all positions and is read at the last one, and each tower ends in the space that both share. Names are the
checkpoints'. Axes: B batch, L tokens, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.checkpoints.towers import NaflexVisionConfig, SiglipTextConfig, SiglipVisionConfig
from clipcli.networks.clip_text import TextEmbeddings
from clipcli.networks.transformer import MLP, Encoder, Recorder, TowerOutput, attend, merge_heads, split_heads
from clipcli.networks.vision import check_image_size, resized_positions


class SiglipVisionEmbeddings(nn.Module):
    """Patches and learned positions, resized for images of another size."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, width, kernel_size=patch, stride=patch)
        self.position_embedding = nn.Embedding(config.patches, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Shapes: (B, 3, height, width) in pixels -> (B, patches, D)."""
        grid = self.patch_embedding(pixel_values)  # (B, D, h, w)
        positions = resized_positions(self.position_embedding.weight, grid.shape[2], grid.shape[3], "bicubic")
        return grid.flatten(2).transpose(1, 2) + positions


class NaflexVisionEmbeddings(nn.Module):
    """Patches, and learned positions that are resized to the shape of the images (arXiv:2502.14786, section 2.4)."""

    def __init__(self, config: NaflexVisionConfig) -> None:
        super().__init__()
        width, self.patch_size = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Linear(config.num_channels * config.patch_size**2, width)
        self.position_embedding = nn.Embedding(config.num_patches, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Shapes: (B, 3, height, width) in pixels, both multiples of a patch -> (B, patches, D)."""
        size = self.patch_size
        grid = pixel_values.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, 3, h, size, w, size)
        patches = grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (B, h * w, size * size * 3)
        positions = resized_positions(self.position_embedding.weight, grid.shape[2], grid.shape[4], "bilinear")
        return self.patch_embedding(patches) + positions


class PoolAttention(nn.Module):
    """Multi-head attention of other queries than keys, its three projections stored as one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Shapes: queries (B, Q, D), tokens (B, L, D) -> (B, Q, D)."""
        query, key, value = self.heads_of(queries, tokens)
        return self.out_proj(merge_heads(attend(query, key, value, None, Recorder())))

    def heads_of(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; shapes: (B, Q, D) and (B, L, D) -> (B, H, Q, D/H) and twice (B, H, L, D/H)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            split_heads(F.linear(x, weight, bias), self.heads)
            for x, weight, bias in zip((queries, tokens, tokens), weights, biases, strict=True)
        )
        return query, key, value


class AttentionPool(nn.Module):
    """One learned query, the probe, gathers the tokens; a perceptron follows (arXiv:2106.04560, section 2.4)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.probe = nn.Parameter(torch.zeros(1, 1, width))
        self.attention = PoolAttention(width, config.num_attention_heads)
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (B, L, D) -> (B, D)."""
        gathered = self.attention(self.probe.expand(len(tokens), -1, -1), tokens)[:, 0]  # (B, D)
        return gathered + self.mlp(self.layernorm(gathered))


class SiglipVisionTransformer(nn.Module):
    """Image tower: embeddings, the encoder, a norm over all tokens, and the pool."""

    def __init__(self, config: SiglipVisionConfig | NaflexVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings: SiglipVisionEmbeddings | NaflexVisionEmbeddings
        if isinstance(config, NaflexVisionConfig):
            self.embeddings = NaflexVisionEmbeddings(config)
        else:
            self.embeddings = SiglipVisionEmbeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = AttentionPool(config)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TowerOutput:
        """Encode normalized pixels.

        Shapes: pixel_values (B, 3, S, S) with S the config's `image_size`, or (B, 3, height, width) in whole patches
        where it has none; see `TowerOutput`.

        Raises:
            ValueError: The images are not S by S.
        """
        if isinstance(self.config, SiglipVisionConfig):
            check_image_size(pixel_values, self.config.image_size)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        x = self.states(pixel_values, recorder)
        return TowerOutput(x, self.head(x), recorder.hidden_states, recorder.attentions)

    def states(self, pixel_values: Tensor, recorder: Recorder) -> Tensor:
        """The tokens that the pool reads; shapes: (B, 3, height, width), of any size in whole patches -> (B, L, D)."""
        return self.post_layernorm(self.encoder(self.embeddings(pixel_values), None, recorder))


class SiglipTextTransformer(nn.Module):
    """Text tower in which every token sees all others, padding too; the text's state is that of its last position."""

    def __init__(self, config: SiglipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.output_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TowerOutput:
        """Encode token ids that fill all positions.

        Shapes: input_ids (B, L) with L the config's `max_position_embeddings`; see `TowerOutput`.

        Raises:
            ValueError: L is another length, or a mask is given: the network was trained to see padding.
        """
        if input_ids.shape[1] != self.config.max_position_embeddings or attention_mask is not None:
            raise ValueError(f"texts must be padded to {self.config.max_position_embeddings} tokens, without a mask")
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.final_layer_norm(self.encoder(self.embeddings(input_ids, positions), None, recorder))
        return TowerOutput(x, self.head(x[:, -1]), recorder.hidden_states, recorder.attentions)
