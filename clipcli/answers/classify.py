"""From image features to result records. numpy only, so that remembered features can be judged without a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.errors import UsageError
from clipcli.results import Classification, ImageTextScores, Prediction, TextScore
from clipcli.scoring import Floats, Scoring


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """How predictions are made of cosines.

    Attributes:
        top: Labels an image.
        scoring: What `score` is.
        threshold: Leave labels with a lower score out.
        temperature: Divides the logits before scoring.

    Raises:
        UsageError: A value is out of range.
    """

    top: int = 5
    scoring: Scoring = "softmax"
    threshold: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top < 1:
            raise UsageError(f"top must be 1 or more, not {self.top}", parameter="top", value=self.top)
        if not scoring.LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise UsageError(
                f"temperature must be a number from {scoring.LEAST_TEMPERATURE:g} up, not {self.temperature:g}",
                hint="1 changes nothing; above 1 flattens the scores, below 1 sharpens them",
                parameter="temperature",
                value=self.temperature,
            )
        if self.scoring not in scoring.SCORINGS:
            raise UsageError(
                f"scoring {self.scoring} is not known",
                hint=f"use {', '.join(scoring.SCORINGS)}",
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
        if self.scoring == "cosine" and self.temperature != 1:
            raise UsageError(
                "temperature does not change cosines",
                hint="leave it out, or use another `scoring`",
                parameter="temperature",
                value=self.temperature,
            )


@dataclass(frozen=True, slots=True)
class Groups:
    """Labels summed into the parents they share, at a depth.

    Attributes:
        names: One a parent.
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
        label_features: Floats,
        logit_scale: float,
        options: ClassifyOptions,
        *,
        none_label: str | None = None,
        groups: Groups | None = None,
    ) -> None:
        """Keep the labels.

        Args:
            names: One a row of `label_features`.
            label_features: (C, P) unit length.
            logit_scale: The checkpoint's scale, exp already taken.
            options: How to score.
            none_label: The label that stands for none of the others, if there is one.
            groups: Parents to sum the scores into.

        Raises:
            UsageError: A threshold is given for scores that mean nothing.
        """
        self._names = names
        self._features = label_features
        self._logit_scale = logit_scale
        self._options = options
        self._none_label = none_label
        self._groups = groups
        if options.threshold is not None and not self.has_scores:
            raise UsageError(
                "threshold needs scores, and softmax over one label has none",
                hint='add labels, `none_of_these=True` or `scoring="cosine"`',
                parameter="threshold",
                value=options.threshold,
            )

    @property
    def has_scores(self) -> bool:
        """False for softmax over a single label, which is 1 whatever the image shows."""
        count = len(self._names if self._groups is None else self._groups.names)
        return count > 1 or self._options.scoring != "softmax"

    @property
    def names(self) -> tuple[str, ...]:
        """The labels compared with."""
        return self._names

    def classify(self, path: str, image_features: Floats) -> Classification:
        """Rank the labels for one image.

        Shapes: image_features (P,) unit length.
        """
        cosines = scoring.cosines(image_features[None], self._features)[0]
        logits = cosines * np.float32(self._logit_scale)
        return self._record(path, logits, cosines)

    def classify_logits(self, path: str, logits: Floats) -> Classification:
        """Rank the classes of a classification head, which has logits and no cosines.

        Shapes: logits (C,).
        """
        return self._record(path, logits, None)

    def _record(self, path: str, logits: Floats, cosines: Floats | None) -> Classification:
        options, names = self._options, self._names
        scale = self._logit_scale
        scores = scoring.scores(logits[None], options.scoring, temperature=options.temperature, logit_scale=scale)[0]
        if self._groups is not None:
            best = _best_members(scores, self._groups)
            names, scores = self._groups.names, np.bincount(self._groups.owners, weights=scores).astype(np.float32)
            logits, cosines = logits[best], None if cosines is None else cosines[best]
        predictions = tuple(
            Prediction(
                label=names[i],
                score=shortest(scores[i]) if self.has_scores else None,
                cosine=None if cosines is None else shortest(cosines[i]),
                logit=shortest(logits[i]),
            )
            for i in scoring.best_first(scores, options.top)
            if options.threshold is None or scores[i] >= options.threshold
        )
        if not predictions or predictions[0].label == self._none_label:
            return Classification(path, predictions=predictions)
        return Classification(path, predictions[0].label, predictions[0].score, predictions)


def score_texts(
    path: str,
    texts: tuple[str, ...],
    image_features: Floats,
    text_features: Floats,
    logit_scale: float,
    options: ClassifyOptions,
) -> ImageTextScores:
    """Compare one image with texts, in the order given; a score needs two texts or more.

    Shapes: image_features (P,), text_features (M, P), unit length.
    """
    cosines = scoring.cosines(image_features[None], text_features)[0]
    logits = cosines * np.float32(logit_scale)
    scores = scoring.scores(logits[None], options.scoring, temperature=options.temperature, logit_scale=logit_scale)[0]
    compared = len(texts) > 1 or options.scoring != "softmax"
    return ImageTextScores(
        path,
        tuple(
            TextScore(text, shortest(cosine), shortest(logit), shortest(score) if compared else None)
            for text, cosine, logit, score in zip(texts, cosines, logits, scores, strict=True)
        ),
    )


def shortest(value: np.float32) -> float:
    """The float with the fewest digits that is this float32: full precision without the tail of a conversion."""
    return float(str(np.float32(value)))


def _best_members(scores: Floats, groups: Groups) -> NDArray[np.intp]:
    """Index of each parent's best label."""
    best = np.zeros(len(groups.names), dtype=np.intp)
    for i in np.argsort(scores, kind="stable"):
        best[groups.owners[i]] = i
    return best
