"""From image features to result records. numpy only, so that cached features can be classified without a model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.answers.calibration.conformal import prediction_sets
from clipcli.errors import UsageError
from clipcli.results import Classification, Failure, ImageTextScores, Prediction, TextScore
from clipcli.scoring import Floats, Logits, Scoring

LabelCosines: TypeAlias = Callable[[Floats], Floats]
"""Compares images with labels: (N, P) unit length -> (N, C)."""


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """How predictions are computed from cosines.

    Attributes:
        top: Labels per image.
        scoring: How `score` is computed; `auto` is what the checkpoint was trained with (`scoring.Logits.scoring`), or
            softmax if the label set was calibrated.
        threshold: Leave out labels with a lower score.
        temperature: Divides the logits before scoring; None for that of a calibrated label set, or 1 without one.
        coverage: Return the set of labels that contains the right one in this share of cases, instead of the best
            labels; needs a calibrated label set.

    Raises:
        UsageError: A value is out of range.
    """

    top: int = 5
    scoring: Scoring | Literal["auto"] = "auto"
    threshold: float | None = None
    temperature: float | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top < 1:
            raise UsageError(f"top must be 1 or more, not {self.top}", parameter="top", value=self.top)
        if self.temperature is not None and not scoring.LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise UsageError(
                f"temperature must be a number from {scoring.LEAST_TEMPERATURE:g} up, not {self.temperature:g}",
                hint="1 changes nothing; above 1 flattens the scores, below 1 sharpens them",
                parameter="temperature",
                value=self.temperature,
            )
        if self.scoring not in ("auto", *scoring.SCORINGS):
            raise UsageError(
                f"scoring {self.scoring} is not known",
                hint=f"use {', '.join(('auto', *scoring.SCORINGS))}",
                parameter="scoring",
                value=self.scoring,
            )
        lowest = -1 if self.scoring == "cosine" else 0
        if self.threshold is not None and not lowest <= self.threshold <= 1:
            raise UsageError(
                f"threshold must be between {lowest} and 1 with `scoring={self.scoring!r}`, not {self.threshold:g}",
                parameter="threshold",
                value=self.threshold,
            )
        if self.scoring == "cosine" and self.temperature not in (None, 1):
            raise UsageError(
                "temperature does not change cosines",
                hint="leave it out, or use another `scoring`",
                parameter="temperature",
                value=self.temperature,
            )
        self._check_coverage()

    def scoring_for(self, logits: Logits, *, calibrated: bool = False) -> Scoring:
        """The scoring for a checkpoint with these logits; temperatures and prediction sets are fitted to softmax."""
        if self.scoring != "auto":
            return self.scoring
        return "softmax" if calibrated or self.coverage is not None else logits.scoring

    def _check_coverage(self) -> None:
        if self.coverage is None:
            return
        if not 0.5 <= self.coverage <= 0.99:
            raise UsageError(
                f"coverage must be between 0.5 and 0.99, not {self.coverage:g}",
                parameter="coverage",
                value=self.coverage,
            )
        given = [name for name in ("threshold", "temperature") if getattr(self, name) is not None]
        if self.scoring not in ("auto", "softmax"):
            given.append(f"scoring={self.scoring!r}")
        if given:
            raise UsageError(
                f"`coverage` and `{given[0]}` do not go together",
                hint="the limits of the sets were fitted to calibrated scores",
            )


@dataclass(frozen=True, slots=True)
class Learned:
    """The calibration of a question.

    Attributes:
        temperature: Divides the logits before softmax; None if none was fitted.
        quantile: The largest difference between 1 and the score of a label in a prediction set; None if no sets are
            requested.
        none_below: The limit of the best cosine below which an image shows none of the labels; None if it is not known.
    """

    temperature: float | None = None
    quantile: float | None = None
    none_below: float | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Labels whose scores are summed into common parents, at a depth.

    Attributes:
        names: One per parent.
        owners: Parent index of each label, shape (C,).
    """

    names: tuple[str, ...]
    owners: NDArray[np.intp]

    @classmethod
    def of_parents(cls, parents: Sequence[str]) -> "Groups":
        """Group labels by the parent of each, in the order in which parents first appear."""
        index = {name: i for i, name in enumerate(dict.fromkeys(parents))}
        return cls(tuple(index), np.array([index[name] for name in parents]))


class LabelClassifier:
    """Compares images with labels."""

    def __init__(
        self,
        names: tuple[str, ...],
        labels: Floats | LabelCosines,
        logits: Logits,
        options: ClassifyOptions,
        *,
        none_label: str | None = None,
        groups: Groups | None = None,
        learned: Learned | None = None,
    ) -> None:
        """Keep the labels.

        Args:
            names: C names.
            labels: Their features, (C, P) unit length, or a function that compares images with them.
            logits: How the checkpoint turns cosines into logits.
            options: How to score.
            none_label: The label for "none of these", if there is one.
            groups: Parents to sum the scores into.
            learned: The calibration; a temperature in `options` takes precedence over its own.

        Raises:
            UsageError: A threshold is given for scores without a meaning.
        """
        self._names = names
        self._cosines = labels if callable(labels) else by_text(labels)
        self._logits = logits
        self._options = options
        self._none_label = none_label
        self._groups = groups
        self._learned = learned or Learned()
        fitted = self._learned.temperature
        self.scoring = "softmax" if groups is not None else options.scoring_for(logits, calibrated=fitted is not None)
        self.temperature = options.temperature or (fitted if fitted and self.scoring == "softmax" else 1.0)
        if options.threshold is not None and not self.has_scores:
            raise UsageError(
                "threshold needs scores, and softmax over one label has none",
                hint='add labels, `none_of_these=True` or `scoring="cosine"`',
                parameter="threshold",
                value=options.threshold,
            )

    @property
    def has_scores(self) -> bool:
        """False for softmax over a single label, which is always 1."""
        count = len(self._names if self._groups is None else self._groups.names)
        return count > 1 or self.scoring != "softmax"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self._names

    def answer(self, path: str, image_features: Floats) -> Classification:
        """Rank the labels for one image.

        Shapes: image_features (P,) unit length.
        """
        options, names = self._options, self._names
        cosines = self._cosines(image_features[None])[0]
        logits = self._logits.of(cosines)
        scores = scoring.scores(logits[None], self.scoring, temperature=self.temperature, made_by=self._logits)[0]
        is_none = self._learned.none_below is not None and float(cosines.max()) < self._learned.none_below
        if self._groups is not None:
            best = _best_members(scores, self._groups)
            names, scores = self._groups.names, np.bincount(self._groups.owners, weights=scores).astype(np.float32)
            logits, cosines = logits[best], cosines[best]
        predictions = tuple(
            Prediction(
                names[i], shortest(scores[i]) if self.has_scores else None, shortest(cosines[i]), shortest(logits[i])
            )
            for i in (_shown(scores, options) if self._learned.quantile is None else self._set(scores))
        )
        if is_none:
            # Prediction sets are guaranteed also for images below the limit that show a label.
            return Classification(path, predictions=predictions, below_limit=self._learned.quantile is None)
        return _classification(path, predictions, self._none_label)

    def _set(self, scores: Floats) -> list[np.intp]:
        """Indices of the labels in an image's prediction set, best first; the set can be empty."""
        chosen = prediction_sets(scores[None], self._learned.quantile or 0.0)[0]
        return [i for i in scoring.best_first(scores) if chosen[i]]

    def failed(self, path: str, error: Failure) -> Classification:
        """The record of an image that could not be used."""
        return Classification(path, error=error)


class HeadClassifier:
    """Ranks the classes of a checkpoint with a classification head, which has logits but no cosines.

    Args:
        names: The classes.
        options: How to score the head's logits: softmax, or each class by itself.
    """

    def __init__(self, names: tuple[str, ...], options: ClassifyOptions) -> None:
        self.names = names
        self._options = options
        self.scoring: Scoring = "softmax" if options.scoring == "auto" else options.scoring
        self.temperature = options.temperature or 1.0
        self.has_scores = len(names) > 1 or self.scoring != "softmax"

    def answer(self, path: str, logits: Floats) -> Classification:
        """Rank the classes for one image.

        Shapes: logits (C,).
        """
        options = self._options
        scores = scoring.scores(logits[None], self.scoring, temperature=self.temperature)[0]
        predictions = tuple(
            Prediction(self.names[i], shortest(scores[i]) if self.has_scores else None, None, shortest(logits[i]))
            for i in _shown(scores, options)
        )
        return _classification(path, predictions, None)

    def failed(self, path: str, error: Failure) -> Classification:
        """The record of an image that could not be used."""
        return Classification(path, error=error)


class TextScorer:
    """Compares images with whole texts, in the order given; a score needs two texts or more.

    Args:
        texts: M texts.
        text_features: (M, P) unit length.
        logits: How the checkpoint turns cosines into logits.
        options: How to score.
    """

    def __init__(self, texts: tuple[str, ...], text_features: Floats, logits: Logits, options: ClassifyOptions) -> None:
        self._texts, self._features, self._logits, self._options = texts, text_features, logits, options
        self.scoring = options.scoring_for(logits)

    def answer(self, path: str, image_features: Floats) -> ImageTextScores:
        """Compare one image with the texts.

        Shapes: image_features (P,) unit length.
        """
        cosines = scoring.cosines(image_features[None], self._features)[0]
        logits, temperature = self._logits.of(cosines), self._options.temperature or 1.0
        scores = scoring.scores(logits[None], self.scoring, temperature=temperature, made_by=self._logits)[0]
        compared = len(self._texts) > 1 or self.scoring != "softmax"
        return ImageTextScores(
            path,
            tuple(
                TextScore(text, shortest(cosine), shortest(logit), shortest(score) if compared else None)
                for text, cosine, logit, score in zip(self._texts, cosines, logits, scores, strict=True)
            ),
        )

    def failed(self, path: str, error: Failure) -> ImageTextScores:
        """The record of an image that could not be used."""
        return ImageTextScores(path, error=error)


def by_text(label_features: Floats) -> LabelCosines:
    """Compare images with the texts of labels. Shapes: (C, P) unit length."""
    return lambda image_features: scoring.cosines(image_features, label_features)


def shortest(value: np.float32) -> float:
    """The float with the fewest digits that rounds to this float32: no spurious digits from the conversion."""
    return float(str(np.float32(value)))


def _shown(scores: Floats, options: ClassifyOptions) -> list[np.intp]:
    """Indices of the best labels, best first, without those below the threshold."""
    best = scoring.best_first(scores, options.top)
    return [i for i in best if options.threshold is None or scores[i] >= options.threshold]


def _classification(path: str, predictions: tuple[Prediction, ...], none_label: str | None) -> Classification:
    if not predictions or predictions[0].label == none_label:
        return Classification(path, predictions=predictions)
    return Classification(path, predictions[0].label, predictions[0].score, predictions)


def _best_members(scores: Floats, groups: Groups) -> NDArray[np.intp]:
    """Index of each parent's best label."""
    best = np.zeros(len(groups.names), dtype=np.intp)
    for i in np.argsort(scores, kind="stable"):
        best[groups.owners[i]] = i
    return best
