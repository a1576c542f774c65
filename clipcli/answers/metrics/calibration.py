"""Calibration of scores: losses for probabilities, and the distance between confidence and accuracy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.metrics.classification import Indices, Mask, Numbers

Binning = Literal["width", "mass"]
DEFAULT_BINS = 15


def softmax(logits: Numbers, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature. Shapes: (N, C) -> (N, C), rows sum to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exps = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: Numbers, truth: Indices, temperature: float = 1.0) -> float:
    """Mean of -ln p(right label), taken from logits so that no probability can become 0.

    Shapes: logits (N, C), truth (N,). Units: nats; ln C for equal scores.
    Source: the logarithmic score; Good, J. Royal Statistical Society B 14 (1952).
    """
    return float(np.mean(log_losses(logits, truth, temperature))) if len(truth) else float("nan")


def log_losses(logits: Numbers, truth: Indices, temperature: float = 1.0) -> NDArray[np.float64]:
    """-ln p(right label) of each image. Shapes: (N, C), (N,) -> (N,)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    highest = scaled.max(axis=1)
    totals = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return np.asarray(totals - scaled[np.arange(len(truth)), truth])


def brier(probabilities: Numbers, truth: Indices) -> float:
    """Mean over images of the squared distance between the probabilities and the truth, over all labels.

    Shapes: probabilities (N, C), truth (N,). Units: 0 to 2.
    Source: Brier, Monthly Weather Review 78 (1950): the original sum over all classes, not the halved one.
    """
    if not len(truth):
        return float("nan")
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    squares = np.square(probabilities, dtype=np.float64).sum(axis=1)
    return float(np.mean(squares - 2 * own + 1))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy, in bins of images; empty bins are left out.

    Attributes:
        confidence: Mean score of the best label in each bin, (B,).
        accuracy: Share of images in each bin whose best label is right, (B,).
        images: How many images are in each bin, (B,).
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    images: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance between confidence and accuracy, weighted by images per bin."""
        total = self.images.sum()
        return float((self.images * np.abs(self.accuracy - self.confidence)).sum() / total) if total else float("nan")


def reliability(confidence: Numbers, right: Mask, bins: int = DEFAULT_BINS, by: Binning = "width") -> Reliability:
    """Sort images into bins by confidence.

    Args:
        confidence: (N,) in [0, 1], the score of the best label.
        right: (N,) whether the best label is right.
        bins: How many.
        by: `width` for bins of one width, (0, 1/B], (1/B, 2/B] and so on; `mass` for equally many images in each.
            Images of the same confidence can then be in two bins.

    Source: Guo et al., arXiv:1706.04599, section 2 (width); Nguyen and O'Connor, arXiv:1508.05154 (mass).
    """
    values = np.asarray(confidence, dtype=np.float64)
    which = bins_of(values, bins, by)
    images = np.bincount(which, minlength=bins)
    there = images > 0
    sums = np.bincount(which, weights=values, minlength=bins)
    hits = np.bincount(which, weights=np.asarray(right, dtype=np.float64), minlength=bins)
    return Reliability(sums[there] / images[there], hits[there] / images[there], images[there].astype(np.int64))


def bins_of(confidence: Numbers, bins: int, by: Binning) -> Indices:
    """The bin of each image, see `reliability`. Shapes: (N,) -> (N,)."""
    values = np.asarray(confidence, dtype=np.float64)
    if by == "width":
        return np.clip(np.ceil(values * bins).astype(np.intp) - 1, 0, bins - 1)
    which = np.empty(len(values), dtype=np.intp)
    which[np.argsort(values, kind="stable")] = np.arange(len(values)) * bins // max(len(values), 1)
    return which


def expected_calibration_error(
    confidence: Numbers, right: Mask, bins: int = DEFAULT_BINS, by: Binning = "width"
) -> float:
    """Mean distance between confidence and accuracy over bins; see `reliability` for arguments and source."""
    return reliability(confidence, right, bins, by).error
