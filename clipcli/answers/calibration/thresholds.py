"""Thresholds for the tagger, fitted to images whose labels are known. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.scoring import Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """One label's threshold, with its precision and recall on the images that it was fitted to.

    Attributes:
        label: The label's name.
        images: How many of the images have the label.
        threshold: The fitted threshold; None if no image has the label.
        precision: Share of the images tagged with the label that have it.
        recall: Share of the images with the label that are tagged with it.
    """

    label: str
    images: int
    threshold: float | None
    precision: float
    recall: float


def fit_thresholds(names: Sequence[str], scores: Floats, truth: NDArray[np.bool_]) -> list[Fit]:
    """Fit a threshold to each label by itself.

    Shapes: scores (N, C), truth (N, C) -> C fits.
    """
    return [_fit(name, scores[:, i].astype(np.float64), truth[:, i]) for i, name in enumerate(names)]


def _fit(name: str, scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> Fit:
    """Choose the cut between two neighboring scores with the highest F1; of equal ones the widest gap.

    The threshold is the middle of the gap, where it is most likely to suit other images.
    Source: F1 as in van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    positives = int(truth.sum())
    if positives == 0:
        return Fit(name, 0, None, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    below = np.append(ranked[1:], 0.0)
    given = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (given + positives)
    gaps = ranked - below
    f1[gaps <= 0] = -1  # no threshold lies between equal scores
    best = np.flatnonzero(np.isclose(f1, f1.max(), rtol=0, atol=1e-12))
    cut = best[np.argmax(gaps[best])]
    # Rounded for readers of the file, unless that would move it out of the gap.
    middle = (ranked[cut] + below[cut]) / 2
    rounded = round(float(middle), 4)
    threshold = rounded if below[cut] < rounded <= ranked[cut] else float(middle)
    return Fit(name, positives, threshold, float(hits[cut] / given[cut]), float(hits[cut] / positives))
