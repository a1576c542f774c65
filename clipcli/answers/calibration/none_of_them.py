"""The limit of the best cosine below which an image shows none of the labels, fitted to such images. numpy only."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.calibration.folds import FOLDS, folds


@dataclass(frozen=True, slots=True)
class NoneFit:
    """A fitted limit.

    Attributes:
        below: Images whose best cosine is lower show none of the labels.
        kept: Share of the images with a label that reach the limit; see `fit_and_judge_none`.
        refused: Share of the other images that do not.
    """

    below: float
    kept: float
    refused: float


def fit_none(labelled: NDArray[np.floating], others: NDArray[np.floating]) -> NoneFit:
    """Find the limit with the highest sum of `kept` and `refused`: the middle of the widest gap among equal ones.

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


def fit_and_judge_none(labelled: NDArray[np.floating], others: NDArray[np.floating]) -> NoneFit:
    """`fit_none` of all images, with cross-fitted shares.

    Each fifth of both kinds is evaluated with a limit fitted to the other four. With fewer than five images of a kind,
    the shares are those of the images that the limit was fitted to.
    """
    found = fit_none(labelled, others)
    if min(len(labelled), len(others)) < FOLDS:
        return found
    kept = refused = 0
    for (known, held), (known_others, held_others) in zip(folds(len(labelled)), folds(len(others)), strict=True):
        below = fit_none(labelled[known], others[known_others]).below
        kept += int((labelled[held] >= below).sum())
        refused += int((others[held_others] < below).sum())
    return replace(found, kept=kept / len(labelled), refused=refused / len(others))
