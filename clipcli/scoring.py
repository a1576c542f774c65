"""Cosines, logits, scores, prompt ensembles and the best labels, computed from features. numpy only.

Features are float32 and of unit length. `cosine`, `logit` and `score` are three different numbers, see `results`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Scoring = Literal["softmax", "sigmoid", "cosine"]
SCORINGS: tuple[Scoring, ...] = ("softmax", "sigmoid", "cosine")
MapMethod = Literal["keys", "values", "parts"]
"""How an image's patches get features of their own, see `networks.located`."""
MAP_METHODS: tuple[MapMethod, ...] = ("keys", "values", "parts")
LEAST_TEMPERATURE = 1e-6
"""Sharper than any answer needs. Far below, logits divided by it would overflow."""


@dataclass(frozen=True, slots=True)
class Logits:
    """How a checkpoint turns cosines into logits: times a scale, plus a bias.

    Attributes:
        scale: exp of the learned `logit_scale`.
        bias: The learned `logit_bias`; 0 if the checkpoint was trained with softmax, which has no bias.
    """

    scale: float
    bias: float = 0.0

    def of(self, cosines: Floats) -> Floats:
        """Turn cosines into logits.

        Shapes: any -> the same. Source: arXiv:2103.00020, figure 3; with a bias, arXiv:2303.15343, algorithm 1.
        """
        return np.asarray(cosines * np.float32(self.scale) + np.float32(self.bias), dtype=np.float32)

    def cosines(self, logits: Floats) -> Floats:
        """Turn logits back into cosines.

        Shapes: any -> the same.
        """
        return np.asarray((logits - np.float32(self.bias)) / np.float32(self.scale), dtype=np.float32)

    @property
    def scoring(self) -> Scoring:
        """The scoring that the checkpoint was trained with: only a sigmoid loss learns a bias."""
        return "sigmoid" if self.bias else "softmax"


_COSINES = Logits(scale=1.0)


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


def scores(logits: Floats, scoring: Scoring, *, temperature: float = 1.0, made_by: Logits = _COSINES) -> Floats:
    """Turn logits into scores.

    Shapes: (N, M) -> (N, M). Units: `softmax` sums to 1 over a row; `sigmoid` scores each label independently, in (0,
    1), and means little without a learned bias; `cosine` returns the cosines.
    Source: softmax over logits, arXiv:2103.00020, section 3.1.2; sigmoid, arXiv:2303.15343, section 3.2.

    Args:
        logits: The result of `Logits.of`.
        scoring: How to score.
        temperature: Divides the logits first: above 1 flattens, below 1 sharpens. At least `LEAST_TEMPERATURE`.
        made_by: The `Logits` that computed `logits`; used by `cosine` only.
    """
    if scoring == "cosine":
        return made_by.cosines(logits)
    scaled = logits.astype(np.float64) / temperature
    if scoring == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), dtype=np.float32)  # 1 / (1 + exp(-x))
    exps = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=-1, keepdims=True), dtype=np.float32)


def best_first(values: Floats, count: int | None = None) -> NDArray[np.intp]:
    """Indices of the largest values, in descending order; equal values keep their order.

    Shapes: (M,) -> (min(count, M),).
    """
    order = np.argsort(-values, kind="stable")
    return order if count is None else order[:count]
