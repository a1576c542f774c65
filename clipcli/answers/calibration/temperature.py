"""One temperature per model, so that scores are probabilities: 0.8 is right eight times out of ten. numpy only."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.metrics.calibration import log_losses
from clipcli.scoring import Floats

LEAST, MOST = 0.05, 20.0
_PRECISION = 1e-4
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEP = 0.05
_Z = 1.959964
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted temperature.

    Attributes:
        temperature: The fitted one, from `LEAST` to `MOST`.
        low: Lower end of its 95% interval.
        high: Upper end.
        images: How many images it was fitted to.
    """

    temperature: float
    low: float
    high: float
    images: int

    @property
    def is_known(self) -> bool:
        """Whether the images determine it. If all answers are right (or none), the likelihood has no maximum."""
        return 1.01 * LEAST < self.temperature < 0.99 * MOST


def fit_temperature(logits: Floats, truth: NDArray[np.intp]) -> TemperatureFit:
    """Find the temperature under which the right labels are likeliest.

    A single number cannot overfit much, does not change the ranking of labels, and applies to other labels and prompts
    of the same model (arXiv:2303.12748). Fitted by log-likelihood, never by calibration error, which has many minima.

    Shapes: logits (N, C), truth (N,).
    Source: Guo et al., arXiv:1706.04599, section 4.2; golden-section search over ln T: Kiefer (1953). The interval is
    that of the curvature at the minimum (Wald), on ln T.
    """

    def loss(log_temperature: float) -> float:
        return mean_log_loss(logits, truth, math.exp(log_temperature))

    best = _golden_section(loss, math.log(LEAST), math.log(MOST))
    curvature = (loss(best + _STEP) - 2 * loss(best) + loss(best - _STEP)) / _STEP**2
    half = _Z / math.sqrt(max(curvature * len(truth), 1e-12))
    low, high = (math.exp(min(max(best + side * half, math.log(LEAST)), math.log(MOST))) for side in (-1, 1))
    return TemperatureFit(math.exp(best), low, high, len(truth))


def mean_log_loss(logits: Floats, truth: NDArray[np.intp], temperature: float) -> float:
    """Mean of -ln p(right label), in blocks, so that no matrix of doubles is made. Shapes: (N, C), (N,)."""
    total = 0.0
    for begin in range(0, len(truth), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        total += float(log_losses(logits[rows], truth[rows], temperature).sum())
    return total / len(truth)


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """The position of the minimum of a function that has one minimum."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > _PRECISION:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return (low + high) / 2
