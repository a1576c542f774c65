"""Sets of labels that contain the right one at a guaranteed rate: split conformal prediction. numpy only.

The guarantee is about averages: over many images like those used for calibration, the set contains the right label for
at least the requested share, for any model and any scores. It does not hold for a single image, for each label by
itself, for images of another kind, or if the right label is not in the list.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clipcli.scoring import Floats

Doubles = NDArray[np.float64]


def shortfalls(probabilities: Floats, truth: NDArray[np.intp]) -> Doubles:
    """One minus the probability of the right label: the conformity score of LAC.

    Shapes: probabilities (N, C), truth (N,) -> (N,).
    Source: Sadinle, Lei and Wasserman, arXiv:1609.00451 ("least ambiguous" sets).
    """
    return 1.0 - probabilities[np.arange(len(truth)), truth].astype(np.float64)


def conformal_quantile(shortfalls: Doubles, coverage: float) -> float:
    """The k-th smallest of n shortfalls, k = ceil((n + 1) coverage); infinite if there are too few.

    The labels with no larger shortfall contain the right one with a probability from `coverage` to `coverage` + 1 / (n
    + 1). Over the choice of the n images, that probability has the distribution Beta(k, n + 1 - k).

    Source: Vovk, Gammerman and Shafer (2005); Lei et al., arXiv:1604.04173, theorem 2.2.
    """
    k = rank_for(len(shortfalls), coverage)
    return float(np.partition(shortfalls, k - 1)[k - 1]) if k <= len(shortfalls) else math.inf


def rank_for(images: int, coverage: float) -> int:
    """The k of `conformal_quantile`. Rounded first: 20 * 0.95 must be 19, not 19.000000000000004."""
    return math.ceil(round((images + 1) * coverage, 9))


def quantiles_by_coverage(shortfalls: Doubles, coverages: range = range(50, 100)) -> dict[int, float]:
    """The quantile for each coverage (in percent) for which there are enough images.

    Rounded up to six digits, which can only add to a set.
    """
    found = {percent: conformal_quantile(shortfalls, percent / 100) for percent in coverages}
    return {percent: min(math.ceil(q * 1e6) / 1e6, 1.0) for percent, q in found.items() if q < math.inf}


def prediction_sets(probabilities: Floats, quantile: float) -> NDArray[np.bool_]:
    """Which labels are in each image's set; an empty set means that the image is unlike all labels.

    Shapes: probabilities (N, C) -> (N, C).
    """
    return np.asarray(1.0 - probabilities.astype(np.float64) <= quantile)
