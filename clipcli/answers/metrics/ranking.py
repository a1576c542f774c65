"""Metrics for scores that rank images: average precision, and how well a score separates two kinds of images."""

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.metrics.classification import Mask, Numbers


def average_precision(scores: Numbers, truth: Mask) -> float:
    """Area under the precision-recall curve, in steps: the sum over thresholds of (R_n - R_(n-1)) P_n.

    Images with the same score count together, so that their order does not matter. No interpolation, and not the
    11-point average of Pascal VOC.

    Shapes: scores (N,), truth (N,). Units: nan without an image that has the label.
    Source: Zhu, Recall, precision and average precision (2004); the definition of scikit-learn since 0.19.
    """
    positives = int(truth.sum())
    if positives == 0:
        return float("nan")
    ranked, hits, given = _steps(scores, truth)
    del ranked
    recall = np.diff(hits, prepend=0) / positives
    return float((recall * hits / given).sum())


def average_precisions(scores: Numbers, truth: Mask) -> NDArray[np.float64]:
    """Average precision of each label; nan for labels without images. Shapes: (N, C), (N, C) -> (C,)."""
    return np.array([average_precision(scores[:, i], truth[:, i]) for i in range(scores.shape[1])], dtype=np.float64)


def mean_average_precision(scores: Numbers, truth: Mask) -> float:
    """Mean of the average precisions of the labels that have images.

    A label without images has no average precision and is left out: counting it as 0 would not measure the scores.
    Shapes: (N, C), (N, C).
    """
    found = average_precisions(scores, truth)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else float("nan")


def auroc(scores: Numbers, truth: Mask) -> float:
    """Probability that an image with the label scores more than one without it; a tie counts as half.

    Shapes: scores (N,), truth (N,). Units: 0.5 is chance; nan if one of the two kinds is missing.
    Source: Hanley and McNeil, Radiology 143 (1982); the Mann-Whitney U statistic divided by its largest value.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of the images that share a score
    total = float(ranks[which[truth]].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)


def false_positives_at_recall(scores: Numbers, truth: Mask, recall: float = 0.95) -> float:
    """False positive rate at the highest threshold with at least this recall.

    Shapes: scores (N,), truth (N,). Units: 0 is perfect; nan if one of the two kinds is missing.
    Source: FPR95 of Hendrycks and Gimpel, arXiv:1610.02136, and its successors.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    _, hits, given = _steps(scores, truth)
    first = int(np.argmax(hits >= recall * positives - 1e-9))
    return float((given[first] - hits[first]) / negatives)


def _steps(scores: Numbers, truth: Mask) -> tuple[Numbers, NDArray[np.float64], NDArray[np.float64]]:
    """Distinct scores, highest first; for each, how many true images and how many in all score at least that."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return ranked[last], hits, (np.flatnonzero(last) + 1).astype(np.float64)
