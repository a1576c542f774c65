"""Uncertainty of metrics: intervals for shares and means, and tests for differences. All at 95% by default."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.metrics.classification import Mask

LEVEL = 0.95
RESAMPLES = 1000
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of two predictions for the same images.

    Attributes:
        only_first: Images that only the first got right.
        only_second: Images that only the second got right.
        p: Probability of a split at least as uneven if both were equally good; two-sided.
    """

    only_first: int
    only_second: int
    p: float


def wilson(hits: int, images: int, level: float = LEVEL) -> Interval:
    """Interval of a share. Unlike the normal approximation, it stays within [0, 1] and is valid at 0 and 1.

    Source: Wilson, J. American Statistical Association 22 (1927); recommended by Brown, Cai and DasGupta (2001).
    """
    if images == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / images
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return Interval(share, 0.0 if hits == 0 else middle - half, 1.0 if hits == images else middle + half)


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    images: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
    most: float = math.inf,
) -> Interval:
    """Interval of a metric that is not a share, see `bootstrap_all`.

    Args:
        figure: A function of indices of images (N,), some of them repeated, that returns the metric, or nan if it is
            not defined.
        images: N.
        resamples: How many samples.
        seed: Seed of the random samples.
        most: The greatest possible value of the metric.
    """
    return bootstrap_all(lambda which: [figure(which)], images, resamples=resamples, seed=seed, most=[most])[0]


def bootstrap_all(
    figures: Callable[[NDArray[np.intp]], Sequence[float]],
    images: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
    most: Sequence[float] | None = None,
) -> list[Interval]:
    """Intervals of several metrics: the middle 95% of their values over samples of the images, drawn with replacement.

    The ends are corrected for the samples' bias. For metrics that cannot be negative.

    Args:
        figures: As for `bootstrap`, but returns several.
        images: N.
        resamples: How many samples.
        seed: Seed of the random samples.
        most: The greatest possible value of each metric, which limits its interval; None for no limit.

    Source: the percentile interval; Efron, Annals of Statistics 7 (1979); bias as in Efron and Tibshirani, An
    Introduction to the Bootstrap (1993), chapter 10.
    """
    values = figures(np.arange(images))
    rng = np.random.default_rng(seed)
    drawn = [figures(rng.integers(0, images, images)) for _ in range(resamples if images else 0)]
    limits = most or [math.inf] * len(values)
    return [_middle(value, [sample[i] for sample in drawn], limits[i]) for i, value in enumerate(values)]


def _middle(value: float, drawn: Sequence[float], most: float) -> Interval:
    found = [sample for sample in drawn if not math.isnan(sample)]
    if not found or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Some metrics are biased in samples (the calibration error is larger): shift the ends by the bias.
    bias = float(np.mean(found)) - value
    return Interval(value, max(min(float(low) - bias, value), 0.0), min(max(float(high) - bias, value), most))


def mcnemar(first: Mask, second: Mask) -> McNemar:
    """Test whether two predictions for the same images differ by more than chance, with the exact binomial test.

    Shapes: first and second (N,), whether each image is right.
    Source: McNemar, Psychometrika 12 (1947), in its exact form.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(only_first, only_second, _two_sided(min(only_first, only_second), only_first + only_second))


def paired_difference(first: Mask, second: Mask, level: float = LEVEL) -> Interval:
    """Accuracy of the second minus that of the first, on the same images, with its interval.

    Shapes: first and second (N,), whether each image is right.
    Source: Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10: Wilson intervals of the two accuracies,
    joined with their correlation.
    """
    images = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    if images == 0:
        return Interval(math.nan, math.nan, math.nan)
    old, new = wilson(both + lost, images, level), wilson(both + gained, images, level)
    phi = _correlation(both, gained, lost, neither)
    below = _joined(new.value - new.low, old.high - old.value, phi)
    above = _joined(new.high - new.value, old.value - old.low, phi)
    difference = (gained - lost) / images
    return Interval(difference, max(difference - below, -1.0), min(difference + above, 1.0))


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def _correlation(both: int, gained: int, lost: int, neither: int) -> float:
    """Correlation of the two predictions, with Newcombe's continuity correction if it is positive."""
    product = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if product == 0:
        return 0.0
    numerator = float(both * neither - gained * lost)
    if numerator > 0:
        numerator = max(numerator - (both + gained + lost + neither) / 2, 0.0)
    return numerator / math.sqrt(product)


def _two_sided(fewer: int, flips: int) -> float:
    """Probability that flips of a fair coin are split at least as unevenly as `fewer` of `flips`."""
    logs = [
        math.lgamma(flips + 1) - math.lgamma(i + 1) - math.lgamma(flips - i + 1) - flips * math.log(2)
        for i in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
