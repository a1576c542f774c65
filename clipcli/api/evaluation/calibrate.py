"""Calibrate a label set for a model with labeled images: `clip calibrate`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.answers import metrics
from clipcli.answers.calibration.conformal import (
    conformal_quantile,
    prediction_sets,
    quantiles_by_coverage,
    shortfalls,
)
from clipcli.answers.calibration.folds import folds
from clipcli.answers.calibration.none_of_them import NoneFit, fit_and_judge_none
from clipcli.answers.calibration.temperature import TemperatureFit, fit_temperature
from clipcli.answers.calibration.thresholds import Fit, fit_thresholds
from clipcli.answers.classify import by_text
from clipcli.answers.judged import truth_matrix
from clipcli.answers.metrics.calibration import log_losses
from clipcli.answers.tag import DEFAULT_THRESHOLD, background_scores
from clipcli.api.evaluation.evaluate import Exam
from clipcli.api.examples import shown_to
from clipcli.errors import UsageError
from clipcli.labels.background import background_of
from clipcli.labels.calibration import Calibration
from clipcli.labels.expand import question_digest
from clipcli.labels.label_set import LabelSet
from clipcli.labels.truth import Truth
from clipcli.scoring import Floats

FEW_IMAGES = 50
"""With fewer, a calibration error would say more about the images than about the scores."""
FEW_FOR_A_THRESHOLD = 10
"""With fewer images of a label, its threshold says more about these than about the label."""
REPORTED_COVERAGE = 0.95
LEAST_KEPT = 0.8
"""Where the limit for none leaves fewer of the labeled images their label, it harms more than it helps."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of scores on images that were not used for fitting (cross-fitted), before and after.

    Attributes:
        log_loss: Before and after.
        brier: Before and after.
        calibration_error: Before and after; None with fewer than `FEW_IMAGES` images.
    """

    log_loss: tuple[float, float]
    brier: tuple[float, float]
    calibration_error: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class SetQuality:
    """Quality of prediction sets on images that were not used for fitting (cross-fitted).

    Attributes:
        asked: The coverage that was asked for.
        coverage: Share of the sets that hold the right label.
        size: Labels in a set, on average.
        empty: Share of the sets that are empty.
    """

    asked: float
    coverage: metrics.Interval
    size: float
    empty: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        label_set: The label set with thresholds and calibration.
        images: How many images were used.
        thresholds: One fit per label, with precision and recall on images that it was not fitted to, if there are
            enough of them.
        temperature: None if images have several labels, if there is only one label, or if all answers are right (or all
            wrong), so that no temperature can be fitted.
        quality: Scores before and after the temperature is applied.
        sets: Coverage and size of the prediction sets; None if there are too few images.
        none: The limit for "none of these"; None without images that show none of the labels.
    """

    label_set: LabelSet
    images: int
    thresholds: list[Fit]
    temperature: TemperatureFit | None
    quality: Quality | None
    sets: SetQuality | None
    none: NoneFit | None


def calibrate(exam: Exam, truth: Truth, templates: Sequence[str] | None = None) -> Calibrated:
    """Fit thresholds, a temperature, prediction sets and the limit for "none of these", each by its own loss.

    Args:
        exam: The features of the images.
        truth: The right labels.
        templates: Replace the label set's own.

    Raises:
        UsageError: The checkpoint has a classification head, no usable image has a label, or there is only one label
            and all images have it.
    """
    model, truth = exam.model, exam.usable(truth)
    if model.class_names is not None:
        raise UsageError(f"{model.checkpoint.id} has classes of its own, which no label set can hold")
    if not any(truth.labels):
        raise UsageError(
            "no image that could be used has a label", hint="images without any of the labels are not enough"
        )
    if len(truth.label_set.labels) == 1 and all(truth.labels):
        raise UsageError(
            f"every image shows {truth.label_set.names[0]!r}, the only label, which says nothing about scores",
            hint="add images with other labels, or images that show none of them in a folder named none",
        )
    truth, compare = exam.question(truth, templates)
    cosines = exam.compared(truth, compare)
    labelled = np.array([len(found) > 0 for found in truth.labels])
    fits = _thresholds(exam, truth, cosines)
    best = cosines.max(axis=1)
    none = fit_and_judge_none(best[labelled], best[~labelled]) if not labelled.all() else None
    temperature, quality, sets, quantiles = None, None, None, dict[int, float]()
    if not truth.is_multi_label and len(truth.label_set.labels) > 1:
        logits = model.logits.of(cosines[labelled])
        right = np.array([found[0] for found in truth.labels if found], dtype=np.intp)
        temperature = _known(fit_temperature(logits, right))
        quality, sets = _cross_fitted(logits, right)
        quality = quality if temperature else None
        quantiles = quantiles_by_coverage(shortfalls(_odds(logits, _written(temperature)), right))
    calibration = Calibration(
        model=model.encoders.digest,
        model_name=model.checkpoint.id,
        images=len(truth.paths),
        question=question_digest(truth.label_set, model.templates_for(truth.label_set, templates), shown_to(compare)),
        temperature=None if temperature is None else _written(temperature),
        quantiles=quantiles,
        none_below=None if none is None else none.below,
    )
    label_set = _with_fits(truth.label_set, fits, calibration)
    if templates is not None:  # what was fitted holds for these
        label_set = replace(label_set, templates=model.templates_for(truth.label_set, templates), concept=None)
    return Calibrated(label_set, len(truth.paths), fits, temperature, quality, sets, none)


def _known(fit: TemperatureFit) -> TemperatureFit | None:
    return fit if fit.is_known else None


def _written(fit: TemperatureFit | None) -> float:
    """The temperature as it is written to the file, so that everything else is fitted with the same value; else 1."""
    return 1.0 if fit is None else round(fit.temperature, 4)


def _with_fits(label_set: LabelSet, fits: Sequence[Fit], calibration: Calibration) -> LabelSet:
    labels = tuple(
        label if fit.threshold is None else replace(label, threshold=fit.threshold)
        for label, fit in zip(label_set.labels, fits, strict=True)
    )
    return replace(label_set, labels=labels, calibration=calibration)


def _odds(logits: Floats, temperature: float) -> Floats:
    """Scores as `classify` prints them."""
    return scoring.scores(logits, "softmax", temperature=temperature)


def _thresholds(exam: Exam, truth: Truth, cosines: Floats) -> list[Fit]:
    """Thresholds fitted to all images; precision and recall are cross-fitted."""
    model, label_set = exam.model, truth.label_set
    background = model.encode_texts(background_of(label_set), warn_foreign=bool(label_set.background))
    scores = background_scores(cosines, exam.compared(truth, by_text(background)), model.logits)
    right = truth_matrix(truth.labels, len(label_set.labels))
    fits = fit_thresholds(label_set.names, scores, right)
    given = np.zeros_like(right)
    judged = False
    for fitted, held_out in folds(len(scores)):
        limits = [fit.threshold for fit in fit_thresholds(label_set.names, scores[fitted], right[fitted])]
        given[held_out] = scores[held_out] >= np.array(
            [DEFAULT_THRESHOLD if limit is None else limit for limit in limits], dtype=np.float32
        )
        judged = True
    return [_judged(fit, given[:, i], right[:, i]) for i, fit in enumerate(fits)] if judged else fits


def _judged(fit: Fit, given: NDArray[np.bool_], right: NDArray[np.bool_]) -> Fit:
    hits = int((given & right).sum())
    return replace(fit, precision=hits / max(int(given.sum()), 1), recall=hits / max(int(right.sum()), 1))


def _cross_fitted(logits: Floats, right: NDArray[np.intp]) -> tuple[Quality | None, SetQuality | None]:
    """Quality of temperature and sets on images that they were not fitted to."""
    odds = np.empty_like(logits)
    losses = np.empty(len(right))
    held, sizes = np.zeros(len(right), dtype=bool), np.zeros(len(right), dtype=np.intp)
    sets = True
    parts = list(folds(len(right)))
    for fitted, held_out in parts:
        temperature = _written(_known(fit_temperature(logits[fitted], right[fitted])))
        odds[held_out] = _odds(logits[held_out], temperature)
        losses[held_out] = log_losses(logits[held_out], right[held_out], temperature)
        known = shortfalls(_odds(logits[fitted], temperature), right[fitted])
        quantile = conformal_quantile(known, REPORTED_COVERAGE)
        sets = sets and quantile < np.inf
        chosen = prediction_sets(odds[held_out], quantile)
        held[held_out] = chosen[np.arange(len(held_out)), right[held_out]]
        sizes[held_out] = chosen.sum(axis=1)
    if not parts:
        return None, None
    quality = _quality(logits, odds, losses, right)
    if not sets:
        return quality, None
    coverage = metrics.wilson(int(held.sum()), len(held))
    return quality, SetQuality(REPORTED_COVERAGE, coverage, float(sizes.mean()), float(np.mean(sizes == 0)))


def _quality(logits: Floats, odds: Floats, losses: NDArray[np.float64], right: NDArray[np.intp]) -> Quality:
    before = _odds(logits, 1.0)

    def error(values: Floats) -> float:
        return metrics.expected_calibration_error(values.max(axis=1), values.argmax(axis=1) == right)

    return Quality(
        (metrics.negative_log_likelihood(logits, right), float(losses.mean())),
        (metrics.brier(before, right), metrics.brier(odds, right)),
        (error(before), error(odds)) if len(right) >= FEW_IMAGES else None,
    )
