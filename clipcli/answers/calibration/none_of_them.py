"""The best cosine below which an image shows none of the labels, learned from images that do not. numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NoneFit:
    """A fitted limit.

    Attributes:
        below: Images whose best cosine is less show none of the labels.
        kept: Share of the images with a label that reach it.
        refused: Share of the others that do not.
    """

    below: float
    kept: float
    refused: float


def fit_none(labelled: NDArray[np.floating], others: NDArray[np.floating]) -> NoneFit:
    """Find the limit with the highest sum of `kept` and `refused`; of equal ones the widest gap, in its middle.

    Args:
        labelled: Best cosines of images that show one of the labels, (N,).
        others: Best cosines of images that show none, (M,).

    Source: Youden, Index for rating diagnostic tests, Cancer 3 (1950).
    """
    values = np.unique(np.concatenate([labelled, others]).astype(np.float64))
    limits = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
    gaps = np.concatenate([[0.0], np.diff(values)])
    kept = 1 - np.searchsorted(np.sort(labelled.astype(np.float64)), limits) / len(labelled)
    refused = np.searchsorted(np.sort(others.astype(np.float64)), limits) / len(others)
    total = kept + refused
    best = np.flatnonzero(np.isclose(total, total.max(), rtol=0, atol=1e-12))
    chosen = best[np.argmax(gaps[best])]
    return NoneFit(float(limits[chosen]), float(kept[chosen]), float(refused[chosen]))
