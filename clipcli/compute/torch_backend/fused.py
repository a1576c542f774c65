"""The ViT image tower rearranged for speed, built from a loaded network.

`vision` stays the readable reference, with hidden states and attentions; this computes the same features and nothing
else. In float32 they differ by less than 1e-5 of the largest one. What is different:

- Images come in as bytes. Cutting them into patches, normalizing them and the patch convolution are one matrix
  product, with scale and shift of the pixels folded into its weights.
- Query, key and value come from one product.
- Quick-GELU is `silu` with 1.702 folded into the layer before it and 1/1.702 into the one after.
- Only the class token comes out of the last layer, because nobody looks at the others (except a head over patches):
  that layer costs next to nothing.
- On the CPU, weights are packed once in oneDNN's layout, and the activation is computed as each block is written. The
  operators are those that `torch.compile` emits; calling them directly saves the seconds that it takes to compile.
- int8: weights are rounded a row at a time, activations a token at a time, so that an image's features do not depend
  on its neighbours in the batch.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.networks.activations import ACTIVATION_FUNCTIONS
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.transformer import Attention, EncoderLayer, merge_heads, turned
from clipcli.networks.vision import VisionEmbeddings, VisionTransformer

Linear = Callable[[Tensor], Tensor]
Module = TypeVar("Module", bound=nn.Module)

# `hidden_act` -> name and algorithm of the activation that oneDNN applies to a product's result.
_POST_OPS = {
    None: ("none", ""),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    "swish": ("swish", ""),
    "gelu": ("gelu", "none"),
    "gelu_python": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_fast": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "gelu_python_tanh": ("gelu", "tanh"),
}

_QUICK_GELU = 1.702

# Bytes are moved to [-1, 1) before they meet the weights: exact in every format, and without loss by cancellation.
_BYTE_MIDDLE = 128.0


class PlainLinear:
    """A linear layer and an activation, for devices other than the CPU and for CPUs without oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        self._weight, self._bias = weight, bias
        self._activation = ACTIVATION_FUNCTIONS[activation] if activation else None

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: (..., K) -> (..., N)."""
        product = F.linear(x, self._weight, self._bias)
        return product if self._activation is None else self._activation(product)


class PackedLinear:
    """A linear layer and an activation in one oneDNN primitive, its weight packed in advance."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        self._weight, self._bias = torch.ops.mkldnn._reorder_linear_weight(weight), bias
        self._activation, self._algorithm = _POST_OPS[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: (..., K) -> (..., N)."""
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._activation, [], self._algorithm)


class Int8Linear:
    """A linear layer whose weight and input are rounded to 8 bits, each with a scale a row.

    The input's scale is found when it is seen ("dynamic" quantization), one for every token.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
        self._scale = weight.abs().amax(dim=1).clamp_min_(torch.finfo(weight.dtype).tiny) / 127
        rounded = (weight / self._scale[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero_points = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = torch.zeros(len(weight)) if bias is None else bias
        self._activation = ACTIVATION_FUNCTIONS[activation] if activation else None
        # Without VNNI two products are added in 16 bits, which 7 bits of input cannot overflow.
        self._levels = 127 if has_vnni() else 63
        # A half more than the zero point makes the cut to whole numbers a rounding.
        self._shift = torch.tensor(self._levels + 1.5)

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: (..., K) float32 -> (..., N) float32."""
        tokens = x.reshape(-1, x.shape[-1])
        scales = tokens.abs().amax(dim=1, keepdim=True).clamp_min_(torch.finfo(x.dtype).tiny).div_(self._levels)
        rounded = torch.addcmul(self._shift, tokens, scales.reciprocal()).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, self._levels + 1, self._weight, self._scale, self._zero_points,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        torch.addcmul(self._bias, product, scales, out=product)
        product = product.view(*x.shape[:-1], -1)
        return product if self._activation is None else self._activation(product)


def has_vnni() -> bool:
    """Whether the processor multiplies bytes without intermediate overflow."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)  # no public name for it
    return probe is not None and bool(probe())


@dataclass(frozen=True, slots=True)
class Target:
    """Where to compute and in what; `torch.int8` means linear layers in int8 and the rest in float32, CPU only."""

    device: torch.device
    dtype: torch.dtype

    @property
    def float(self) -> torch.dtype:
        """What everything but linear layers is in."""
        return torch.float32 if self.dtype is torch.int8 else self.dtype

    def place(self, module: Module) -> Module:
        """Copy a module there."""
        return copy.deepcopy(module).to(self.device, self.float)

    def linear(self, weight: Tensor, bias: Tensor | None, activation: str | None) -> Linear:
        """The fastest linear layer there, with an activation after it."""
        # A copy of the bias: a view into the checkpoint's file would keep the whole layer in memory.
        bias = None if bias is None else bias.to(self.device, self.float, copy=True)
        return _linear_class(self.device, self.dtype)(weight.to(self.device, self.float), bias, activation)


@dataclass(frozen=True, slots=True)
class Reach:
    """Attention between chosen rows of one long sequence, in place of attention within each sequence of a batch.

    Shapes: queries (B, Q) and keys (B, K), row numbers: each group of queries attends to the keys of its group;
    mask (B, 1, Q, K), True where that is allowed.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor


class LayerEnd:
    """What comes after the attention of a pre-norm layer: its output projection and the perceptron."""

    def __init__(self, layer: EncoderLayer, hidden_act: str, target: Target):
        out, mlp, linear = layer.self_attn.out_proj, layer.mlp, target.linear
        self._norm, self._out = target.place(layer.layer_norm2), linear(out.weight, out.bias, None)
        if hidden_act == "quick_gelu":
            self._fc1 = linear(mlp.fc1.weight * _QUICK_GELU, mlp.fc1.bias * _QUICK_GELU, "silu")
            self._fc2 = linear(mlp.fc2.weight / _QUICK_GELU, mlp.fc2.bias, None)
        else:
            self._fc1 = linear(mlp.fc1.weight, mlp.fc1.bias, hidden_act)
            self._fc2 = linear(mlp.fc2.weight, mlp.fc2.bias, None)

    def __call__(self, attended: Tensor, x: Tensor) -> Tensor:
        """Shapes: heads' results, merged, and the layer's input (..., D) -> (..., D)."""
        x = self._out(attended).add_(x)
        return self._fc2(self._fc1(self._norm(x))).add_(x)


class FusedLayer:
    """One pre-norm layer."""

    def __init__(self, layer: EncoderLayer, hidden_act: str, target: Target):
        self._heads, self._norm = layer.self_attn.heads, target.place(layer.layer_norm1)
        self._qkv = target.linear(*_joined(layer.self_attn), None)
        self._end = LayerEnd(layer, hidden_act, target)

    def __call__(self, x: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Shapes: (B, L, D) -> (B, L, D); rotation (L, 1, 1, D/H/2), see `transformer.turned`."""
        qkv = self._qkv(self._norm(x)).unflatten(-1, (3, self._heads, -1))
        if rotation is not None:
            qkv[:, :, :2] = turned(qkv[:, :, :2], rotation)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, H, L, D/H) each
        return self._end(merge_heads(F.scaled_dot_product_attention(query, key, value)), x)

    def among(self, x: Tensor, reach: Reach) -> Tensor:
        """Shapes: (N, D) -> (B * Q, D): chosen rows of one long sequence attend to others."""
        qkv = self._qkv(self._norm(x)).unflatten(-1, (3, self._heads, -1))  # (N, 3, H, D/H)
        rows = (reach.queries, reach.keys, reach.keys)
        query, key, value = (qkv[chosen, i].transpose(1, 2) for i, chosen in enumerate(rows))  # (B, H, Q or K, D/H)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=reach.mask)
        return self._end(merge_heads(attended).flatten(0, 1), x[reach.queries.flatten()])


class OneTokenLayer:
    """A pre-norm layer of which only one token comes out: no other token needs a query, a key or a value.

    With one query q, the products with all keys are (W_k' q) x, and the sum of all values is W_v (sum of the x): each
    weight matrix meets one vector a head instead of every token. The keys' bias adds the same to all and drops out of
    the softmax; the values' bias comes out whole, since the attention sums to one.
    """

    def __init__(self, layer: EncoderLayer, hidden_act: str, target: Target, *, row: int):
        """Take over the weights of a layer.

        Args:
            layer: The layer.
            hidden_act: Its activation.
            target: Where to compute.
            row: Which token comes out; negative counts from the end.
        """
        attention, self._row = layer.self_attn, row
        self._norm, self._end = target.place(layer.layer_norm1), LayerEnd(layer, hidden_act, target)
        self._query, value = target.place(attention.q_proj), target.place(attention.v_proj)
        key = target.place(attention.k_proj)
        heads = attention.heads
        self._key, self._value = (part.weight.unflatten(0, (heads, -1)) for part in (key, value))  # (H, D/H, D)
        self._value_bias = value.bias

    def __call__(self, x: Tensor) -> Tensor:
        """Shapes: (B, L, D) -> (B, D)."""
        tokens = self._norm(x)
        query = self._query(tokens[:, self._row]).unflatten(-1, self._key.shape[:2]).transpose(0, 1)  # (H, B, D/H)
        probes = torch.bmm(query * query.shape[-1] ** -0.5, self._key).transpose(0, 1)  # (B, H, D)
        weights = torch.bmm(probes, tokens.mT).softmax(dim=-1)  # (B, H, L)
        gathered = torch.bmm(weights, tokens).transpose(0, 1)  # (H, B, D)
        attended = torch.bmm(gathered, self._value.mT).transpose(0, 1).flatten(1)  # (B, D)
        return self._end(attended + self._value_bias, x[:, self._row])


def _joined(attention: Attention) -> tuple[Tensor, Tensor]:
    """Weight (3D, D) and bias (3D,) of one product for query, key and value."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    return torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])


def fuse_layers(layers: nn.ModuleList, hidden_act: str, target: Target) -> list[FusedLayer]:
    """Rearrange layers, dropping them one by one, so that no two copies of the whole are ever in memory."""
    return [FusedLayer(cast(EncoderLayer, layers.pop(0)), hidden_act, target) for _ in range(len(layers))]


class FusedImageTower:
    """The image tower and its projection (or its classification head), from bytes to features."""

    def __init__(
        self,
        network: DualEncoder,
        pixel_scale: tuple[float, ...],
        pixel_shift: tuple[float, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take a network apart.

        Args:
            network: Loaded in float32 on the CPU, with a ViT as its image tower. It cannot be used afterwards.
            pixel_scale: Of each channel: a byte times this, plus `pixel_shift`, is what the network was trained on.
            pixel_shift: See `pixel_scale`.
            device: Where to compute.
            dtype: What to compute in; `torch.int8` means linear layers in int8 and the rest in float32, CPU only.
        """
        vision = network.vision_model
        if not isinstance(vision, VisionTransformer):
            raise TypeError(f"only CLIP's ViT can be rearranged, not {type(vision).__name__}")
        target = Target(device, dtype)
        place = target.place
        self._embed = FusedEmbeddings(vision.embeddings, pixel_scale, pixel_shift, target)
        self._pre_norm = place(vision.pre_layrnorm)
        self._head = place(network.classifier) if network.config.id2label is not None else None
        layers, hidden_act = vision.encoder.layers, vision.config.hidden_act
        if self._head is None:
            self._last_layer = OneTokenLayer(cast(EncoderLayer, layers.pop(-1)), hidden_act, target, row=0)
            self._post_norm, self._projection = place(vision.post_layernorm), place(network.visual_projection)
        self._layers = fuse_layers(layers, hidden_act, target)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Shapes: pixels uint8 (B, S, S, 3) -> (B, P) float32, not normalized; with a head (B, classes) logits.
        """
        x = self._pre_norm(self._embed(pixels))
        for layer in self._layers:
            x = layer(x)
        if self._head is not None:
            return self._head(x[:, 1:].mean(dim=1)).float()
        return self._projection(self._post_norm(self._last_layer(x))).float()


class FusedEmbeddings:
    """Patches and, if there is one, a class token in front; each with its position."""

    def __init__(
        self, embeddings: VisionEmbeddings, scale: tuple[float, ...], shift: tuple[float, ...], target: Target
    ) -> None:
        self._patches = FoldedPixels(embeddings.patch_embedding, scale, shift, target)
        added = embeddings.position_embedding.weight.double() + self._patches.constant
        self._class_tokens = 0 if embeddings.class_embedding is None else 1
        if embeddings.class_embedding is not None:
            added[0] += embeddings.class_embedding.double() - self._patches.constant
        self._positions = added.to(target.device, target.float)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shapes: uint8 (B, S, S, 3) -> (B, L, D)."""
        patches, first = self._patches(pixels), self._class_tokens
        x = patches.new_empty(len(pixels), *self._positions.shape)
        x[:, :first] = self._positions[:first]
        torch.add(patches, self._positions[first:], out=x[:, first:])
        return x


class FoldedPixels:
    """The patch convolution as one product over centered bytes; what normalizing adds is in `constant`.

    Attributes:
        constant: To be added to each patch, with the convolution's bias where it has one; shape (D,), double.
    """

    def __init__(
        self, patches: nn.Conv2d | nn.Linear, scale: tuple[float, ...], shift: tuple[float, ...], target: Target
    ) -> None:
        weight = patches.weight.double()
        if weight.ndim == 4:
            weight = weight.permute(0, 2, 3, 1)  # (D, size, size, 3)
        else:
            size = isqrt(weight.shape[1] // len(scale))
            weight = weight.unflatten(1, (size, size, -1))
        scales, shifts = (torch.tensor(values, dtype=torch.float64) for values in (scale, shift))
        self.constant = (weight * (shifts + _BYTE_MIDDLE * scales)).sum(dim=(1, 2, 3))
        if patches.bias is not None:
            self.constant += patches.bias.double()
        self._size, self._target = weight.shape[1], target
        self._product = target.linear((weight * scales * _BYTE_MIDDLE).flatten(1).float(), None, None)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shapes: uint8 (B, H, W, 3) -> (B, patches, D), without `constant`; edges short of a patch are not seen."""
        size, pixels = self._size, pixels.to(self._target.device, non_blocking=True)
        height, width = (length // size * size for length in pixels.shape[1:3])
        rows = pixels[:, :height, :width].unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, h, size, w, size, 3)
        patches = rows.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, patches, size * size * 3)
        return self._product(patches.to(self._target.float).sub_(_BYTE_MIDDLE).mul_(1 / _BYTE_MIDDLE))


def _linear_class(device: torch.device, dtype: torch.dtype) -> Callable[..., Linear]:
    if dtype is torch.int8:
        return Int8Linear
    packed = device.type == "cpu" and dtype is not torch.float16 and torch.backends.mkldnn.is_available()
    return PackedLinear if packed else PlainLinear
