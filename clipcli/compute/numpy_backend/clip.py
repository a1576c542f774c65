"""CLIP in numpy, from pixels and token ids to features: all of it, to be read from top to bottom.

A model is two towers that end in one space. Each is a transformer: a table of vectors, one for each patch of an image
or each token of a text, that goes through a dozen layers, each of which adds to every vector what attention finds in
the others and what a small perceptron makes of it. One vector stands for the whole, and a matrix maps it to the space
where images and texts are compared by their cosine.

`weights` maps the names that checkpoints use to arrays. Axes: B images, L tokens of one, N tokens of all, D width,
H heads, P the shared space. Everything is float32.

Sources: arXiv:2103.00020, section 2.4 (CLIP); arXiv:2010.11929 (ViT); arXiv:1706.03762 (attention).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.checkpoints.towers import ClipTextConfig, PlainVisionConfig, VisionConfig
from clipcli.compute.numpy_backend.activations import ACTIVATIONS
from clipcli.compute.prefix_tree import Pack
from clipcli.scoring import Floats

BLOCK = 16
"""Tokens of a tree that attend together: fewer would waste calls, more would waste attention over other paths."""

Indices = NDArray[np.int64]
Attention = Callable[[Floats, Floats, Floats], Floats]


class Weights(Protocol):
    """A checkpoint's tensors by name, in float32."""

    def __getitem__(self, name: str) -> Floats:
        """A whole tensor."""

    def rows(self, name: str, indices: Indices) -> Floats:
        """Some rows of a large table, without a copy of the others."""


def linear(x: Floats, weights: Weights, name: str) -> Floats:
    """Multiply by a matrix and add a bias. Shapes: (..., K) -> (..., N)."""
    product = project(x, weights, name)
    product += weights[f"{name}.bias"]
    return product


def project(x: Floats, weights: Weights, name: str) -> Floats:
    """Multiply by a matrix (N, K). Shapes: (..., K) -> (..., N)."""
    matrix = weights[f"{name}.weight"]
    matrix = matrix.reshape(len(matrix), -1)  # a patch convolution's has the shape of the patches
    return (x.reshape(-1, x.shape[-1]) @ matrix.T).reshape(*x.shape[:-1], -1)


def norm(x: Floats, weights: Weights, name: str, eps: float) -> Floats:
    """Give every vector mean 0 and variance 1, then scale and shift each place (arXiv:1607.06450).

    Shapes: (..., D) -> (..., D).
    """
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", centered, centered)[..., None] / np.float32(x.shape[-1])
    centered /= np.sqrt(variance + np.float32(eps))
    centered *= weights[f"{name}.weight"]
    centered += weights[f"{name}.bias"]
    return centered


def softmax(x: Floats) -> Floats:
    """Make positive numbers that sum to 1 along the last axis, in place."""
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def attend(
    query: Floats, key: Floats, value: Floats, *, heads: int, visible: NDArray[np.bool_] | None = None
) -> Floats:
    """Let every token ask the others: a mean of their values, weighted by how well their keys answer its query.

    Each head does so by itself with its share of the width (arXiv:1706.03762, section 3.2).

    Shapes: query (B, Q, D), key and value (B, K, D) -> (B, Q, D); visible, what may be asked, (B, Q or 1, K).
    """
    query, key, value = (
        x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2) for x in (query, key, value)
    )  # (B, H, Q or K, D/H)
    scores = query @ key.swapaxes(-1, -2)  # (B, H, Q, K)
    scores *= np.float32(query.shape[-1] ** -0.5)
    if visible is not None:
        np.putmask(scores, np.broadcast_to(~visible[:, None], scores.shape), -np.inf)
    found = (softmax(scores) @ value).swapaxes(1, 2)  # (B, Q, H, D/H)
    return found.reshape(*found.shape[:2], -1)


def layer(
    x: Floats,
    weights: Weights,
    name: str,
    config: TransformerConfig,
    attention: Attention,
    wanted: Any = ...,
) -> Floats:
    """One pre-norm layer: x + attention(norm(x)), then x + perceptron(norm(x)).

    Shapes: tokens (..., D) -> (..., D); of these come out those at the index `wanted`, and nothing is computed that
    only the others need.
    """
    tokens = norm(x, weights, f"{name}.layer_norm1", config.layer_norm_eps)
    query = linear(tokens[wanted], weights, f"{name}.self_attn.q_proj")
    key, value = (linear(tokens, weights, f"{name}.self_attn.{part}_proj") for part in "kv")
    x = x[wanted] + linear(attention(query, key, value), weights, f"{name}.self_attn.out_proj")
    tokens = norm(x, weights, f"{name}.layer_norm2", config.layer_norm_eps)
    x += linear(ACTIVATIONS[config.hidden_act](linear(tokens, weights, f"{name}.mlp.fc1")), weights, f"{name}.mlp.fc2")
    return x


def image_features(pixels: Floats, weights: Weights, config: VisionConfig) -> Floats:
    """The image tower, a ViT: square patches are the tokens, and one more, the class token, stands for the image.

    Shapes: normalized pixels (B, 3, S, S) -> (B, P), of any length.
    """
    tower, embeddings = "vision_model", "vision_model.embeddings"
    x = project(patches(pixels, config.patch_size), weights, f"{embeddings}.patch_embedding")  # (B, patches, D)
    class_token = np.broadcast_to(weights[f"{embeddings}.class_embedding"], (len(x), 1, x.shape[-1]))
    x = np.concatenate([class_token, x], axis=1)  # (B, L, D)
    x += weights[f"{embeddings}.position_embedding.weight"]
    if not isinstance(config, PlainVisionConfig):
        x = norm(x, weights, f"{tower}.pre_layrnorm", config.layer_norm_eps)
    attention = partial(attend, heads=config.num_attention_heads)
    for i in range(config.num_hidden_layers - 1):
        x = layer(x, weights, f"{tower}.encoder.layers.{i}", config, attention)
    last = f"{tower}.encoder.layers.{config.num_hidden_layers - 1}"
    x = layer(x, weights, last, config, attention, np.s_[:, :1])[:, 0]  # (B, D), the class token
    return project(norm(x, weights, f"{tower}.post_layernorm", config.layer_norm_eps), weights, "visual_projection")


def patches(pixels: Floats, size: int) -> Floats:
    """Cut images into squares, row by row; what is left over at the right and the bottom is dropped.

    Shapes: (B, channels, S, S) -> (B, patches, channels * size * size).
    """
    batch, channels, height, width = pixels.shape
    rows, columns = height // size, width // size
    grid = pixels[..., : rows * size, : columns * size].reshape(batch, channels, rows, size, columns, size)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


def text_features(pack: Pack, weights: Weights, config: ClipTextConfig) -> Floats:
    """CLIP's text tower: a token sees itself and what precedes it, and the end token stands for the text.

    Because nothing that follows can change a token's state, texts that begin alike share the states of their beginning.
    So the texts come as a tree, see `prefix_tree`: a token sees the path from the root to itself.

    Shapes: a tree of N tokens in which E texts end -> (E, P), of any length; N is a multiple of `BLOCK`.
    """
    tower, embeddings = "text_model", "text_model.embeddings"
    x = weights.rows(f"{embeddings}.token_embedding.weight", pack.tokens)  # (N, D)
    x += weights[f"{embeddings}.position_embedding.weight"][pack.depths]
    along_paths = partial(_attend_among, *pack.block_keys(BLOCK), heads=config.num_attention_heads)
    for i in range(config.num_hidden_layers - 1):
        x = layer(x, weights, f"{tower}.encoder.layers.{i}", config, along_paths)
    keys, visible = pack.end_keys()
    at_ends = partial(_attend_among, keys, visible[:, None], heads=config.num_attention_heads)
    x = layer(
        x, weights, f"{tower}.encoder.layers.{config.num_hidden_layers - 1}", config, at_ends, pack.ends
    )  # (E, D)
    return project(norm(x, weights, f"{tower}.final_layer_norm", config.layer_norm_eps), weights, "text_projection")


def _attend_among(
    keys: Indices, visible: NDArray[np.bool_], query: Floats, key: Floats, value: Floats, *, heads: int
) -> Floats:
    """Attention of groups of tokens, each to tokens of its choice.

    Shapes: keys (G, K), token numbers; visible (G, Q, K); query (G * Q, D), key and value (N, D) -> (G * Q, D).
    """
    groups = query.reshape(len(keys), -1, query.shape[-1])
    return attend(groups, key[keys], value[keys], heads=heads, visible=visible).reshape(query.shape)
