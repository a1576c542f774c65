"""Image features that have a place: one for each patch, out of an image tower's last attention.

A dual encoder is trained to put an image as a whole beside its text. The last states of its patches are no such
features: what they gather from each other, and what residual and perceptron add, serves the image's own feature. The
methods here change that last attention alone. All towers have one: CLIP's ViT in its last layer, SigLIP's, PE-core's
and the ResNet in their pool. Images may have any size in whole patches: positions are resized.

Axes: B batch, L tokens, H heads, D width, P the space shared with texts; h and w, the grid of patches.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.pe_core import PeVisionTransformer
from clipcli.networks.resnet import ModifiedResNet
from clipcli.networks.siglip import AttentionPool, SiglipVisionTransformer
from clipcli.networks.transformer import EncoderLayer, Recorder, merge_heads, split_heads
from clipcli.networks.vision import VisionTransformer, resized_positions
from clipcli.scoring import MapMethod


@torch.inference_mode()
def located_features(network: DualEncoder, pixel_values: Tensor, method: MapMethod) -> Tensor:
    """One feature for each patch, in the space shared with texts.

    `keys`: a patch gathers those whose keys are like its own, without residual and perceptron (arXiv:2404.08181,
    section 3, without its window). `values`: it gathers itself alone (arXiv:2112.01071, section 3.2). Both are of unit
    length. `parts`: what each patch adds to the image's feature of unit length by the last attention
    (arXiv:2310.05916, section 4); with what does not come from patches they sum to it exactly.

    Shapes: pixel_values (B, 3, height, width) -> (B, h, w, P) float32.
    """
    last = _read(network, pixel_values)
    if method == "parts":
        found = last.parts()
    else:
        weights = similarity(last.key) if method == "keys" else None
        gathered = last.value if weights is None else weights @ last.value
        found = F.normalize(last.alone(last.out(merge_heads(gathered))).float(), dim=-1)
    return found[:, -last.grid[0] * last.grid[1] :].float().unflatten(1, last.grid)


def similarity(keys: Tensor) -> Tensor:
    """Attention of keys to each other.

    Shapes: (B, H, L, D/H) -> (B, H, L, L), rows sum to 1.
    """
    return (keys @ keys.mT * keys.shape[-1] ** -0.5).softmax(dim=-1)


@dataclass(frozen=True, slots=True)
class _LastAttention:
    """The attention that gathers an image's feature, in a tower that ends with it.

    Attributes:
        query: Of the token or probe that gathers the others; (B, H, 1, D/H).
        key: (B, H, L, D/H); patches come last.
        value: (B, H, L, D/H).
        out: The projection of the heads.
        grid: Height and width in patches.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: nn.Linear
    grid: tuple[int, int]

    def complete(self, gathered: Tensor) -> Tensor:
        """The state of what gathers, all in all; shapes: (B, 1, D) -> (B, 1, D)."""
        return gathered

    def shared(self, state: Tensor) -> Tensor:
        """A state in the space shared with texts; shapes: (B, L, D) -> (B, L, P)."""
        return state

    def alone(self, gathered: Tensor) -> Tensor:
        """What patches have gathered in the shared space; shapes: (B, L, D) -> (B, L, P)."""
        return self.shared(self.complete(gathered))

    def share(self, added: Tensor, state: Tensor) -> Tensor:
        """What summands (B, L, D) of a state (B, 1, D) are in `shared` of it; -> (B, L, P)."""
        return added

    def parts(self) -> Tensor:
        """What each token adds to the image's feature of unit length; -> (B, L, P)."""
        scale = self.query.shape[-1] ** -0.5
        weights = (self.query @ self.key.mT * scale).softmax(dim=-1).mT  # (B, H, L, 1)
        added = F.linear(merge_heads(weights * self.value), self.out.weight)  # (B, L, D)
        state = self.complete(added.sum(dim=1, keepdim=True) + self.out.bias)
        return self.share(added, state).float() / self.shared(state).float().norm(dim=-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class _LastLayer(_LastAttention):
    """That of CLIP's ViT, whose class token gathers.

    Attributes:
        class_state: Of the class token before the layer; (B, 1, D).
        layer: The last one.
        norm: After it.
        projection: To the shared space.
    """

    class_state: Tensor
    layer: EncoderLayer
    norm: nn.LayerNorm
    projection: nn.Module

    def complete(self, gathered: Tensor) -> Tensor:
        state = self.class_state + gathered
        return state + self.layer.mlp(self.layer.layer_norm2(state))

    def shared(self, state: Tensor) -> Tensor:
        return self.projection(self.norm(state))

    def alone(self, gathered: Tensor) -> Tensor:
        return self.shared(gathered)

    def share(self, added: Tensor, state: Tensor) -> Tensor:
        deviation = (state.var(dim=-1, keepdim=True, correction=0) + self.norm.eps).sqrt()
        return self.projection((added - added.mean(dim=-1, keepdim=True)) / deviation * self.norm.weight)


@dataclass(frozen=True, slots=True)
class _Pool(_LastAttention):
    """SigLIP's and PE-core's.

    Attributes:
        pool: With the perceptron after it.
        projection: From there to the shared space.
    """

    pool: AttentionPool
    projection: nn.Module

    def complete(self, gathered: Tensor) -> Tensor:
        return gathered + self.pool.mlp(self.pool.layernorm(gathered))

    def shared(self, state: Tensor) -> Tensor:
        return self.projection(state)

    def share(self, added: Tensor, state: Tensor) -> Tensor:
        return self.projection(added) - self.projection(torch.zeros_like(state))  # without the bias, if there is one


def _read(network: DualEncoder, pixel_values: Tensor) -> _LastAttention:
    tower = network.vision_model
    if isinstance(tower, VisionTransformer):
        return _read_vit(tower, network.visual_projection, pixel_values)
    if isinstance(tower, SiglipVisionTransformer | PeVisionTransformer):
        return _read_pooled(tower, network.visual_projection, pixel_values)
    if isinstance(tower, ModifiedResNet):
        return _read_resnet(tower, pixel_values)
    raise TypeError(f"no last attention is known of {type(tower).__name__}")


def _read_vit(tower: VisionTransformer, projection: nn.Module, pixel_values: Tensor) -> _LastAttention:
    x = tower.pre_layrnorm(tower.embeddings(pixel_values))  # (B, 1 + h w, D)
    last = cast(EncoderLayer, tower.encoder.layers[-1])
    for layer in tower.encoder.layers[:-1]:
        x = layer(x, None, Recorder())
    attention, y = last.self_attn, last.layer_norm1(x)
    query, key, value = (
        split_heads(project(tokens), attention.heads)
        for project, tokens in ((attention.q_proj, y[:, :1]), (attention.k_proj, y), (attention.v_proj, y))
    )
    grid = _grid(pixel_values, tower.config.patch_size)
    return _LastLayer(query, key, value, attention.out_proj, grid, x[:, :1], last, tower.post_layernorm, projection)


def _read_pooled(
    tower: SiglipVisionTransformer | PeVisionTransformer, projection: nn.Module, pixel_values: Tensor
) -> _LastAttention:
    x = tower.states(pixel_values, Recorder())  # (B, L, D)
    attention, grid = tower.head.attention, _grid(pixel_values, tower.config.patch_size)
    query, key, value = attention.heads_of(tower.head.probe.expand(len(x), -1, -1), x)
    return _Pool(query, key, value, attention.out_proj, grid, tower.head, projection)


def _read_resnet(tower: ModifiedResNet, pixel_values: Tensor) -> _LastAttention:
    found = tower.feature_map(pixel_values, Recorder())  # (B, C, h, w)
    height, width = found.shape[2:]
    rows = found.flatten(2).transpose(1, 2)
    pool, table = tower.attnpool, tower.attnpool.positional_embedding
    positions = torch.cat([table[:1], resized_positions(table[1:], height, width, "bicubic")])
    x = torch.cat([rows.mean(dim=1, keepdim=True), rows], dim=1) + positions  # (B, 1 + h w, C)
    query, key, value = (
        split_heads(project(tokens), pool.heads)
        for project, tokens in ((pool.q_proj, x[:, :1]), (pool.k_proj, x), (pool.v_proj, x))
    )
    return _LastAttention(query, key, value, pool.c_proj, (height, width))


def _grid(pixel_values: Tensor, patch_size: int) -> tuple[int, int]:
    height, width = pixel_values.shape[-2:]
    return height // patch_size, width // patch_size
