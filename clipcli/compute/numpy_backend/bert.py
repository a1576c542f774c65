"""BERT-style text towers in numpy: those of Chinese-CLIP, AltCLIP, and open_clip's XLM-RoBERTa and BERT.

They differ from CLIP's in two ways. Every token sees all others, so texts share no states, and the first token stands
for the text, or the mean of all. And the layers are post-norm: what is normed is the sum of what went into attention or
perceptron and what came out of it, not what goes in. Axes as in `clip`. Source: arXiv:1810.04805, section 3.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipcli.checkpoints.towers import COUNTED_FROM_PADDING, BertStyleConfig, PooledTextConfig, XlmRobertaTextConfig
from clipcli.compute.numpy_backend.activations import ACTIVATIONS
from clipcli.compute.numpy_backend.clip import Attention, Indices, Weights, attend, linear, norm, project
from clipcli.scoring import Floats


def text_features(tokens: Indices, real: NDArray[np.bool_], weights: Weights, config: BertStyleConfig) -> Floats:
    """Encode texts, padded to one length.

    AltCLIP maps the first token's state to its teacher's width before it is projected (arXiv:2211.06679, section 3.1).
    open_clip takes every token with the padding's id for padding, and may pool and project otherwise.

    Shapes: tokens (B, L); real, False for padding, (B, L) -> (B, P), of any length.
    """
    if isinstance(config, PooledTextConfig):
        real = tokens != config.pad_token_id
    is_mean = isinstance(config, PooledTextConfig) and config.pooling == "mean"
    is_alt = isinstance(config, XlmRobertaTextConfig)
    tower = "text_model.roberta" if is_alt else "text_model"
    x = _embed(tokens, weights, f"{tower}.embeddings", config)
    attention = partial(attend, heads=config.num_attention_heads, visible=real[:, None])
    for i in range(config.num_hidden_layers - 1):
        x = _layer(x, weights, f"{tower}.encoder.layer.{i}", config, attention)
    last = f"{tower}.encoder.layer.{config.num_hidden_layers - 1}"
    x = _layer(x, weights, last, config, attention, np.s_[:, :] if is_mean else np.s_[:, :1])
    x = _mean(x, real) if is_mean else x[:, 0]  # (B, D)
    if is_alt:
        x = linear(norm(x, weights, "text_model.pre_LN", config.layer_norm_eps), weights, "text_model.transformation")
    if isinstance(config, PooledTextConfig) and config.hidden_projection:
        x = ACTIVATIONS["gelu"](project(x, weights, "text_model.hidden_projection"))
    return project(x, weights, "text_projection")


def _mean(x: Floats, real: NDArray[np.bool_]) -> Floats:
    """Shapes: (B, L, D) -> (B, D), over those tokens that are no padding."""
    mean: Floats = (x * real[..., None]).sum(axis=1) / real.sum(axis=1, keepdims=True, dtype=np.float32)
    return mean


def _embed(tokens: Indices, weights: Weights, name: str, config: BertStyleConfig) -> Floats:
    """Sum what stands for each token, its place and its segment, and norm it; a text is one segment, the first.

    BERT counts places from 0. RoBERTa counts them from `pad_token_id` + 1, and padding has that of its own id.

    Shapes: (B, L) -> (B, L, D).
    """
    places = np.arange(tokens.shape[1])
    if isinstance(config, COUNTED_FROM_PADDING):
        counted = tokens != config.pad_token_id
        places = counted.cumsum(axis=1) * counted + config.pad_token_id
    x = weights.rows(f"{name}.word_embeddings.weight", tokens)
    x += weights[f"{name}.token_type_embeddings.weight"][0]
    x += weights[f"{name}.position_embeddings.weight"][places]
    return norm(x, weights, f"{name}.LayerNorm", config.layer_norm_eps)


def _layer(
    x: Floats, weights: Weights, name: str, config: BertStyleConfig, attention: Attention, wanted: Any = ...
) -> Floats:
    """One post-norm layer: norm(x + attention(x)), then norm(x + perceptron(x)).

    Shapes: tokens (B, L, D) -> (B, L, D); of these come out those at the index `wanted`.
    """
    query = linear(x[wanted], weights, f"{name}.attention.self.query")
    key, value = (linear(x, weights, f"{name}.attention.self.{part}") for part in ("key", "value"))
    x = x[wanted] + linear(attention(query, key, value), weights, f"{name}.attention.output.dense")
    x = norm(x, weights, f"{name}.attention.output.LayerNorm", config.layer_norm_eps)
    inner = ACTIVATIONS[config.hidden_act](linear(x, weights, f"{name}.intermediate.dense"))
    x += linear(inner, weights, f"{name}.output.dense")
    return norm(x, weights, f"{name}.output.LayerNorm", config.layer_norm_eps)
