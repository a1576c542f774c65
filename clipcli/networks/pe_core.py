"""PE-core's image tower (arXiv:2504.13181, section 2), to be read; `fused_pe_core` runs the same faster.

It is CLIP's ViT, read by SigLIP's attention pool over all tokens. Besides the learned positions that are added to them,
patches have a place in every layer: queries and keys are turned by angles that grow with row and column, so that their
products depend on how far apart they are (RoPE: arXiv:2104.09864, section 3; in two dimensions: arXiv:2403.13298).
"""

from math import isqrt

import torch
from torch import Tensor, nn

from clipcli.checkpoints.pe_core import PeVisionConfig
from clipcli.networks.siglip import AttentionPool
from clipcli.networks.transformer import Encoder, Recorder, TowerOutput
from clipcli.networks.vision import VisionEmbeddings, check_image_size

_SLOWEST = 10_000  # how many times slower than the first pair of numbers the last would turn


class PeVisionTransformer(nn.Module):
    """Image tower: embeddings, a norm, the encoder with rotary positions, a norm over all tokens, and the pool."""

    def __init__(self, config: PeVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config, class_tokens=config.class_tokens)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = AttentionPool(config.pool)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TowerOutput:
        """Encode normalized pixels.

        Shapes: pixel_values (B, 3, S, S) with S the config's `image_size`; see `TowerOutput`.

        Raises:
            ValueError: The images are not S by S.
        """
        check_image_size(pixel_values, self.config.image_size)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        x = self.states(pixel_values, recorder)
        return TowerOutput(x, self.head(x), recorder.hidden_states, recorder.attentions)

    def states(self, pixel_values: Tensor, recorder: Recorder) -> Tensor:
        """The tokens that the pool reads; shapes: (B, 3, height, width), of any size in whole patches -> (B, L, D)."""
        height, width = (edge // self.config.patch_size for edge in pixel_values.shape[-2:])
        rotation = rotations(self.config, height, width).to(pixel_values.device)
        x = self.pre_layrnorm(self.embeddings(pixel_values))
        return self.post_layernorm(self.encoder(x, None, recorder, rotation))


def rotations(config: PeVisionConfig, height: int, width: int) -> Tensor:
    """How far each token's queries and keys are turned: complex numbers of length 1, see `transformer.turned`.

    The first half of a head's pairs turn with the column, the second half with the row, and each pair slower than the
    one before. Both count from 1 where there is a class token, which is not turned; in a grid of another shape they are
    scaled to that of the tower.

    Shapes: height, width in patches -> (L, D/H/2), complex64.
    """
    pairs, edge = config.hidden_size // config.num_attention_heads // 4, isqrt(config.patches)
    speeds = _SLOWEST ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    rows, columns = (
        torch.outer((torch.arange(length, dtype=torch.float64) + config.class_tokens) * edge / length, speeds)
        for length in (height, width)
    )
    angles = torch.cat([columns.expand(height, -1, -1), rows[:, None].expand(-1, width, -1)], dim=-1)  # (h, w, D/H/2)
    angles = torch.cat([angles.new_zeros(config.class_tokens, 2 * pairs), angles.flatten(0, 1)])
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
