"""From features to numbers a person can use: cosines, logits, scores, ensembles, the best labels. numpy only.

Features are float32 and of unit length. `cosine`, `logit` and `score` are three different numbers, see `results`.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Scoring = Literal["softmax", "sigmoid", "cosine"]
SCORINGS: tuple[Scoring, ...] = ("softmax", "sigmoid", "cosine")
LEAST_TEMPERATURE = 1e-6
"""Sharper than any answer needs. Far below, logits divided by it would overflow."""


def normalize(features: Floats) -> Floats:
    """Scale rows to unit length.

    Shapes: (N, D) -> (N, D).
    """
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def ensemble(text_features: Floats, owners: NDArray[np.intp] | list[int], count: int) -> Floats:
    """Average the prompts of each label: mean of the unit vectors, made unit length again.

    Shapes: text_features (T, D) unit length, owners (T,) label index of each row -> (count, D) unit length.
    Source: arXiv:2103.00020, section 3.1.4.
    """
    sums = np.zeros((count, text_features.shape[1]), dtype=np.float64)
    np.add.at(sums, np.asarray(owners), text_features)
    return normalize((sums / np.bincount(owners, minlength=count)[:, None]).astype(np.float32))


def cosines(image_features: Floats, text_features: Floats) -> Floats:
    """Cosine of the angle between every image and every text.

    Shapes: (N, D) and (M, D), unit length -> (N, M) in [-1, 1]. Source: arXiv:2103.00020, figure 3.
    """
    return np.asarray(np.clip(image_features @ text_features.T, -1.0, 1.0), dtype=np.float32)


def scores(logits: Floats, scoring: Scoring, *, temperature: float = 1.0, logit_scale: float = 1.0) -> Floats:
    """Turn logits into scores.

    Shapes: (N, M) -> (N, M). Units: `softmax` sums to 1 over a row; `sigmoid` judges each label alone, in (0, 1), and
    is not calibrated without a fitted bias; `cosine` gives back logits / `logit_scale`.
    Source: softmax over logits, arXiv:2103.00020, section 3.1.2.

    Args:
        logits: Cosines times the checkpoint's scale.
        scoring: How to score.
        temperature: Divides the logits first: above 1 flattens, below 1 sharpens. At least `LEAST_TEMPERATURE`.
        logit_scale: The checkpoint's scale, used by `cosine` only.
    """
    if scoring == "cosine":
        return np.asarray(logits / np.float32(logit_scale), dtype=np.float32)
    scaled = logits.astype(np.float64) / temperature
    if scoring == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), dtype=np.float32)  # 1 / (1 + exp(-x))
    exps = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=-1, keepdims=True), dtype=np.float32)


def best_first(values: Floats, count: int | None = None) -> NDArray[np.intp]:
    """Indices of the largest values, largest first; equal values keep their order.

    Shapes: (M,) -> (min(count, M),).
    """
    order = np.argsort(-values, kind="stable")
    return order if count is None else order[:count]
