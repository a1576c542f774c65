"""Metrics for one label per image: ranks, accuracies, F1, trivial baselines, and confusion."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Numbers = NDArray[np.floating]
Mask = NDArray[np.bool_]


def true_ranks(scores: Numbers, truth: Indices | Mask) -> Indices:
    """Rank of the right label of each image, 1 being the best; in a tie, it ranks last.

    rank = 1 + #{wrong labels that score more} + #{wrong labels that score the same}. Where several labels are right,
    the best of them counts.

    Shapes: scores (N, C), truth (N,) or (N, C) -> (N,). Units: 1 to C; C + 1 for an image without a right label.
    Source: competition ranking with ties against the truth; the usual tie-breaking by index lets a constant scorer look
    good on the first label.
    """
    own = _own_scores(scores, truth)
    reach = scores >= own[:, None]
    if truth.ndim == 1:
        return np.asarray(reach.sum(axis=1), dtype=np.intp)
    return np.asarray(1 + (reach & ~truth.astype(bool)).sum(axis=1), dtype=np.intp)


def top_k_accuracy(ranks: Indices, k: int = 1) -> float:
    """Share of images whose right label is among the k best.

    Shapes: ranks (N,) of `true_ranks`. Source: arXiv:1409.0575, section 4.1.
    """
    return float(np.mean(ranks <= k)) if len(ranks) else float("nan")


def recall_per_label(truth: Indices, predicted: Indices, labels: int) -> NDArray[np.float64]:
    """Recall of each label: the share of its images that are predicted as it; nan for labels without images.

    Shapes: truth and predicted (N,) -> (labels,).
    """
    support = np.bincount(truth, minlength=labels)
    hits = np.bincount(truth[truth == predicted], minlength=labels)
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / support, dtype=np.float64)


def mean_per_class(truth: Indices, predicted: Indices, labels: int) -> float:
    """Mean recall over the labels that have images ("balanced accuracy"); the others are left out.

    Source: Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    return _mean(recall_per_label(truth, predicted, labels))


def f1_per_label(truth: Indices, predicted: Indices, labels: int) -> NDArray[np.float64]:
    """F1 of each label, 2 TP / (2 TP + FP + FN); nan if it neither occurs nor was predicted.

    Shapes: truth and predicted (N,) -> (labels,).
    Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    hits = np.bincount(truth[truth == predicted], minlength=labels)
    either = np.bincount(truth, minlength=labels) + np.bincount(predicted, minlength=labels)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / either, dtype=np.float64)


def macro_f1(truth: Indices, predicted: Indices, labels: int) -> float:
    """Mean F1 of the labels that occur or were predicted; see `f1_per_label`."""
    return _mean(f1_per_label(truth, predicted, labels))


def chance(labels: int, k: int = 1) -> float:
    """Accuracy of k different random guesses: k / C, at most 1. It is the baseline of balanced accuracy too."""
    return min(k / labels, 1.0)


def majority(truth: Indices, labels: int) -> float:
    """Share of the most common label: the accuracy of always predicting it."""
    return float(np.bincount(truth, minlength=labels).max() / len(truth)) if len(truth) else float("nan")


def confusion(truth: Indices, predicted: Indices, labels: int) -> NDArray[np.int64]:
    """Confusion matrix: how often each right label (row) was predicted as each label (column).

    Shapes: truth and predicted (N,) -> (labels, labels).
    """
    counts = np.bincount(truth * labels + predicted, minlength=labels * labels)
    return counts.reshape(labels, labels).astype(np.int64)


def _own_scores(scores: Numbers, truth: Indices | Mask) -> Numbers:
    """The score of the right label, or of the best of several; -inf for images without a right label."""
    if truth.ndim == 1:
        return np.asarray(scores[np.arange(len(scores)), truth])
    return np.asarray(np.where(truth, scores, -np.inf).max(axis=1))


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
