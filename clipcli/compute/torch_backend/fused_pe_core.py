"""PE-core's image tower rearranged for speed, built from a loaded network.

`networks.pe_core` stays the readable reference. Embeddings and layers are those of `fused`, the pool is that of
`fused_siglip`, and so is what is said there; how far each token is turned is computed once.
"""

import torch
from torch import Tensor

from clipcli.compute.torch_backend.fused import FusedEmbeddings, Target, fuse_layers
from clipcli.compute.torch_backend.fused_siglip import FusedPool
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.pe_core import PeVisionTransformer, rotations


class FusedPeImageTower:
    """The image tower and its projection, from bytes to features."""

    def __init__(
        self,
        network: DualEncoder,
        pixel_scale: tuple[float, ...],
        pixel_shift: tuple[float, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        vision = network.vision_model
        if not isinstance(vision, PeVisionTransformer):
            raise TypeError(f"only PE-core's ViT can be rearranged, not {type(vision).__name__}")
        config, target = vision.config, Target(device, dtype)
        edge = config.image_size // config.patch_size
        self._rotation = rotations(config, edge, edge)[:, None, None].to(device)
        self._embed = FusedEmbeddings(vision.embeddings, pixel_scale, pixel_shift, target)
        self._pre_norm, self._post_norm = target.place(vision.pre_layrnorm), target.place(vision.post_layernorm)
        self._pool, self._projection = FusedPool(vision.head, target), target.place(network.visual_projection)
        self._layers = fuse_layers(vision.encoder.layers, config.hidden_act, target)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Shapes: pixels uint8 (B, S, S, 3) -> (B, P) float32, not normalized.
        """
        x = self._pre_norm(self._embed(pixels))
        for layer in self._layers:
            x = layer(x, self._rotation)
        return self._projection(self._pool(self._post_norm(x))).float()
