"""SigLIP's towers rearranged for speed, built from a loaded network.

`networks.siglip` stays the readable reference; the layers are those of `fused`, and so is what is said there. What is
special:

- The probe of the attention pool is the same for every image, so its products with the keys' weights are taken once:
  what is left of the pool's attention is one thin product with the tokens.
- A text is read at its last position, so only that one comes out of the last layer.

Nothing of a text can be left out: its padding is seen by all of its tokens.
"""

from typing import cast

import torch
from torch import Tensor

from clipcli.checkpoints.towers import NaflexVisionConfig
from clipcli.compute.torch_backend.fused import FoldedPixels, OneTokenLayer, Target, fuse_layers
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.siglip import AttentionPool, SiglipTextTransformer, SiglipVisionTransformer
from clipcli.networks.transformer import EncoderLayer
from clipcli.networks.vision import resized_positions


class FusedPool:
    """An attention pool whose probe has met the weights of the keys beforehand.

    The keys' bias adds the same to all products and drops out of the softmax; the values' bias comes out whole, since
    the attention sums to one.
    """

    def __init__(self, pool: AttentionPool, target: Target) -> None:
        attention = pool.attention
        query, key, value = (part.double() for part in attention.in_proj_weight.chunk(3))
        query_bias, _, value_bias = (part.double() for part in attention.in_proj_bias.chunk(3))
        probe = (query @ pool.probe[0, 0].double() + query_bias).unflatten(0, (attention.heads, -1))  # (H, D/H)
        keys = key.unflatten(0, (attention.heads, -1))  # (H, D/H, D)
        probes = torch.einsum("hk,hkd->hd", probe * probe.shape[-1] ** -0.5, keys)
        self._probes = probes.to(target.device, target.float)
        self._value = value.unflatten(0, (attention.heads, -1)).to(target.device, target.float)  # (H, D/H, D)
        self._value_bias = value_bias.to(target.device, target.float)
        self._out, self._norm = target.place(attention.out_proj), target.place(pool.layernorm)
        self._mlp = target.place(pool.mlp)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Shapes: (B, L, D) -> (B, D)."""
        weights = (tokens @ self._probes.T).softmax(dim=1)  # (B, L, H)
        gathered = torch.bmm(weights.mT, tokens).transpose(0, 1)  # (H, B, D)
        attended = torch.bmm(gathered, self._value.mT).transpose(0, 1).flatten(1)  # (B, D)
        x = self._out(attended + self._value_bias)
        return x + self._mlp(self._norm(x))


class FusedSiglipImageTower:
    """The image tower, from bytes to features."""

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
        if not isinstance(vision, SiglipVisionTransformer):
            raise TypeError(f"only SigLIP's ViT can be rearranged, not {type(vision).__name__}")
        target = Target(device, dtype)
        self._patches = FoldedPixels(vision.embeddings.patch_embedding, pixel_scale, pixel_shift, target)
        added = vision.embeddings.position_embedding.weight.double() + self._patches.constant
        self._positions, self._dtype = added.to(device, torch.float32), target.float
        self._flexible = isinstance(vision.config, NaflexVisionConfig)
        self._patch_size = vision.config.patch_size
        self._post_norm, self._pool = target.place(vision.post_layernorm), FusedPool(vision.head, target)
        self._layers = fuse_layers(vision.encoder.layers, vision.config.hidden_act, target)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Shapes: pixels uint8 (B, S, S, 3), or (B, height, width, 3) where images may have any shape -> (B, P) float32,
        not normalized.
        """
        positions = self._positions
        if self._flexible:  # resizing is linear and its weights sum to 1, so what was added to all is still there
            height, width = (edge // self._patch_size for edge in pixels.shape[1:3])
            positions = resized_positions(positions, height, width, "bilinear")
        x = self._patches(pixels).add_(positions.to(self._dtype))
        for layer in self._layers:
            x = layer(x)
        return self._pool(self._post_norm(x)).float()


class FusedSiglipTextTower:
    """The text tower, from the tokens of padded texts to features."""

    def __init__(self, network: DualEncoder) -> None:
        text = network.text_model
        if not isinstance(text, SiglipTextTransformer):
            raise TypeError(f"only SigLIP's text tower can be rearranged, not {type(text).__name__}")
        target = Target(text.head.weight.device, text.head.weight.dtype)
        self._embeddings, self._final_norm, self._head = text.embeddings, text.final_layer_norm, text.head
        layers, hidden_act = text.encoder.layers, text.config.hidden_act
        self._last_layer = OneTokenLayer(cast(EncoderLayer, layers.pop(-1)), hidden_act, target, row=-1)
        self._layers = fuse_layers(layers, hidden_act, target)

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor) -> Tensor:
        """Encode texts.

        Shapes: token_ids (B, L), padded to all positions -> (B, P) float32, not normalized.
        """
        x = self._embeddings(token_ids, torch.arange(token_ids.shape[1], device=token_ids.device))
        for layer in self._layers:
            x = layer(x)
        return self._head(self._final_norm(self._last_layer(x))).float()
