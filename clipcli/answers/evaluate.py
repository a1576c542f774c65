"""Metrics of labeled images with intervals, as `clip eval` prints them. numpy only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipcli.answers import metrics
from clipcli.answers.judged import Judged, LogitsOf, judge, row_blocks, truth_matrix
from clipcli.answers.metrics import Interval, Reliability
from clipcli.answers.metrics.calibration import DEFAULT_BINS, bins_of
from clipcli.scoring import Floats

KS = (1, 5)
_MULTI_WORK = 2_000_000_000
_FEWEST_RESAMPLES = 50


@dataclass(frozen=True, slots=True)
class Detection:
    """How well the best cosine separates images with a label from images with none of the labels.

    Attributes:
        images: How many images show none of the labels.
        auroc: Probability that an image with a label has the higher best cosine.
        false_positives: Share of the others above the threshold that 95% of the labeled images reach.
    """

    images: int
    auroc: Interval
    false_positives: Interval


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of a model on labeled images.

    Attributes:
        labels: C names.
        images: N, the number of images that have a label; images that show none of the labels are not counted.
        top: Top-k accuracy by k, with Wilson's interval.
        mean_per_class: Mean recall over the labels that have images.
        macro_f1: Mean F1 of the labels that occur.
        chance: Accuracy of random guesses.
        majority: Accuracy of always answering with the most common label.
        log_loss: Mean -ln of the right label's score. This and the next three are None if an image has several labels.
        brier: Mean squared distance between scores and truth.
        calibration_error: Mean distance between confidence and accuracy, in bins of equal width.
        calibration_error_mass: The same in bins of equally many images.
        mean_average_precision: Over the labels that have images; None unless an image has several labels.
        average_precision: Of each label, (C,), nan without images; None unless an image has several labels.
        auroc: AUROC of each label, likewise.
        none: Detection of images that show none of the labels; None if there are none.
        reliability: Confidence and accuracy by bin, for the reliability diagram.
        judged: The results per image.
    """

    labels: tuple[str, ...]
    images: int
    top: dict[int, Interval]
    mean_per_class: Interval
    macro_f1: Interval
    chance: float
    majority: float
    log_loss: Interval | None
    brier: Interval | None
    calibration_error: Interval | None
    calibration_error_mass: Interval | None
    mean_average_precision: Interval | None
    average_precision: NDArray[np.float64] | None
    auroc: NDArray[np.float64] | None
    none: Detection | None
    reliability: Reliability
    judged: Judged = field(repr=False)

    @property
    def accuracy(self) -> Interval:
        """Share of images whose best label is right."""
        return self.top[1]

    @property
    def support(self) -> NDArray[np.int64]:
        """How many images have each label, (C,); if an image has several labels, the best-ranked one counts."""
        return np.bincount(self.judged.truth, minlength=len(self.labels))

    def recall(self, index: int) -> Interval:
        """Share of one label's images for which it is the best label."""
        mine = self.judged.truth == index
        return metrics.wilson(int(self.judged.right[mine].sum()), int(mine.sum()))

    @property
    def confusions(self) -> list[tuple[int, int, int]]:
        """Confused pairs: the right label, the predicted one, and the count; most frequent first."""
        wrong = ~self.judged.right
        pairs = self.judged.truth[wrong] * len(self.labels) + self.judged.predicted[wrong]
        found, counts = np.unique(pairs, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(int(found[i] // len(self.labels)), int(found[i] % len(self.labels)), int(counts[i])) for i in order]


def evaluate(
    labels: Sequence[str],
    logits_of: LogitsOf,
    truth: Sequence[tuple[int, ...]],
    *,
    none_logits: Floats | None = None,
    temperature: float = 1.0,
    resamples: int = metrics.RESAMPLES,
) -> Evaluation:
    """Evaluate logits of images whose labels are known.

    Args:
        labels: C names.
        logits_of: A function that returns logits (n, C) of a slice of the labeled images; called twice per slice if
            images have several labels.
        truth: The labels of each labeled image, one or more.
        none_logits: The best logit of each image that shows none of the labels, (M,).
        temperature: Divides the logits.
        resamples: Bootstrap samples for the intervals of metrics that are not shares.
    """
    judged = judge(logits_of, len(labels), truth, temperature)
    several = any(len(found) > 1 for found in truth)
    figures = _bootstrapped(judged, len(labels), with_losses=not several, resamples=resamples)
    precision, average_precision, auroc = (
        _ranking(logits_of, truth, len(labels), resamples) if several else (None, None, None)
    )
    return Evaluation(
        labels=tuple(labels),
        images=len(truth),
        top={k: metrics.wilson(int((judged.rank <= k).sum()), len(truth)) for k in KS if k == 1 or k < len(labels)},
        mean_per_class=figures["mean_per_class"],
        macro_f1=figures["macro_f1"],
        chance=metrics.chance(len(labels)),
        majority=metrics.majority(judged.truth, len(labels)),
        log_loss=figures.get("log_loss"),
        brier=figures.get("brier"),
        calibration_error=figures.get("calibration_error"),
        calibration_error_mass=figures.get("calibration_error_mass"),
        mean_average_precision=precision,
        average_precision=average_precision,
        auroc=auroc,
        none=_detection(logits_of, len(truth), none_logits, resamples),
        reliability=metrics.reliability(judged.confidence, judged.right),
        judged=judged,
    )


def _bootstrapped(judged: Judged, labels: int, *, with_losses: bool, resamples: int) -> dict[str, Interval]:
    """Metrics that are not shares, all from the same bootstrap samples."""
    greatest = {"mean_per_class": 1.0, "macro_f1": 1.0}
    if with_losses:
        greatest |= {"log_loss": math.inf, "brier": 2.0, "calibration_error": 1.0, "calibration_error_mass": 1.0}
    bins = [bins_of(judged.confidence, DEFAULT_BINS, by) for by in ("width", "mass")]
    right, confidence = judged.right, judged.confidence

    def figures(which: NDArray[np.intp]) -> list[float]:
        truth, predicted = judged.truth[which], judged.predicted[which]
        found = [metrics.mean_per_class(truth, predicted, labels), metrics.macro_f1(truth, predicted, labels)]
        if with_losses and len(which):
            found += [float(judged.log_loss[which].mean()), float(judged.brier[which].mean())]
            # |sum of (confidence - right)| of a bin is its images times its distance.
            gap = (confidence[which] - right[which]).astype(np.float64)
            found += [float(np.abs(np.bincount(binned[which], weights=gap)).sum() / len(which)) for binned in bins]
        return found

    intervals = metrics.bootstrap_all(figures, len(right), resamples=resamples, most=list(greatest.values()))
    found = dict(zip(greatest, intervals, strict=False))
    if right.all() or not right.any():  # then all samples are the same, and their interval would be too narrow
        share = metrics.wilson(int(right.sum()), len(right))
        for name in ("mean_per_class", "macro_f1"):
            value = found[name].value
            found[name] = Interval(value, min(share.low, value), max(share.high, value))
    return found


def _ranking(
    logits_of: LogitsOf, truth: Sequence[tuple[int, ...]], labels: int, resamples: int
) -> tuple[Interval, NDArray[np.float64], NDArray[np.float64]]:
    """Mean average precision, and average precision and AUROC of each label."""
    logits = np.concatenate([logits_of(rows) for rows in row_blocks(len(truth))])
    right = truth_matrix(truth, labels)
    precision = metrics.average_precisions(logits, right)
    auroc = np.array([metrics.auroc(logits[:, i], right[:, i]) for i in range(labels)])
    resamples = max(min(resamples, _MULTI_WORK // max(logits.size, 1)), _FEWEST_RESAMPLES)
    interval = metrics.bootstrap(
        lambda which: metrics.mean_average_precision(logits[which], right[which]),
        len(truth),
        resamples=resamples,
        most=1.0,
    )
    return interval, precision, auroc


def _detection(logits_of: LogitsOf, images: int, none: Floats | None, resamples: int) -> Detection | None:
    if none is None or not len(none) or not images:
        return None
    labelled = np.concatenate([logits_of(rows).max(axis=1) for rows in row_blocks(images)])
    best = np.concatenate([labelled, none])
    known = np.arange(len(best)) < images
    auroc = metrics.bootstrap(
        lambda which: metrics.auroc(best[which], known[which]), len(best), resamples=resamples, most=1.0
    )
    passed = metrics.bootstrap(
        lambda which: metrics.false_positives_at_recall(best[which], known[which]),
        len(best),
        resamples=resamples,
        most=1.0,
    )
    return Detection(len(none), auroc, passed)
