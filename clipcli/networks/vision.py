"""CLIP's ViT image tower, that of most families (arXiv:2010.11929; arXiv:2103.00020, section 2.4), to be read.

`fused` runs the same faster.
"""

from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.checkpoints.towers import PlainVisionConfig, VisionConfig, VitConfig
from clipcli.networks.transformer import Encoder, Recorder, TowerOutput


def check_image_size(pixel_values: Tensor, size: int) -> None:
    """Refuse images of another size than the tower's.

    Raises:
        ValueError: They are not `size` by `size`.
    """
    if pixel_values.shape[-2:] != (size, size):
        height, width = pixel_values.shape[-2:]
        raise ValueError(f"pixel_values are {height}x{width}, this checkpoint takes {size}x{size}")


def resized_positions(table: Tensor, height: int, width: int, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """Resize a square table of positions, in float32; one of the right size stays as it is.

    Shapes: (edge * edge, D) -> (height * width, D).
    """
    edge = isqrt(len(table))
    if height == width == edge:
        return table
    grid = table.float().unflatten(0, (edge, edge)).permute(2, 0, 1)[None]  # (1, D, edge, edge)
    resized = F.interpolate(grid, (height, width), mode=mode, align_corners=False, antialias=True)
    return resized[0].flatten(1).T.to(table.dtype)


class VisionEmbeddings(nn.Module):
    """Patches, a class token in front if there is one, and learned positions, resized for images of another size."""

    def __init__(self, config: VitConfig, class_tokens: int = 1) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width)) if class_tokens else None
        self.patch_embedding = nn.Conv2d(config.num_channels, width, kernel_size=patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(config.patches + class_tokens, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Shapes: (B, 3, height, width) in pixels -> (B, L, D), the class token and the patches."""
        grid, table = self.patch_embedding(pixel_values), self.position_embedding.weight  # grid (B, D, h, w)
        if self.class_embedding is None:
            positions = resized_positions(table, grid.shape[2], grid.shape[3], "bicubic")
            return grid.flatten(2).transpose(1, 2) + positions
        class_token = self.class_embedding.expand(grid.shape[0], 1, -1)
        positions = torch.cat([table[:1], resized_positions(table[1:], grid.shape[2], grid.shape[3], "bicubic")])
        return torch.cat([class_token, grid.flatten(2).transpose(1, 2)], dim=1) + positions


class VisionTransformer(nn.Module):
    """Image tower: embeddings, a norm but in a plain ViT, the encoder, and a norm over the class token's state."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm: nn.Module = nn.Identity()
        if not isinstance(config, PlainVisionConfig):
            self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TowerOutput:
        """Encode normalized pixels.

        Shapes: pixel_values (B, 3, S, S) with S the config's `image_size`; see `TowerOutput`. The pooled state is the
        class token's, after `post_layernorm`.

        Raises:
            ValueError: The images are not S by S.
        """
        check_image_size(pixel_values, self.config.image_size)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixel_values)), None, recorder)
        return TowerOutput(x, self.post_layernorm(x[:, 0]), recorder.hidden_states, recorder.attentions)
