"""Which labels apply to an image: several or none, each judged by itself. numpy only.

`classify` asks which label fits best, so its scores sum to 1 over the labels. Here every label is compared with the
background alone: prompts that fit any image. A score therefore does not change when labels are added or removed.
"""

from dataclasses import dataclass

import numpy as np

from clipcli import scoring
from clipcli.answers.classify import LabelCosines, by_text, shortest
from clipcli.errors import UsageError
from clipcli.labels.label_set import Label, LabelSet
from clipcli.results import Failure, Tag, TaggedImage
from clipcli.scoring import Floats, Logits

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class TagOptions:
    """Which labels an image is given.

    Attributes:
        threshold: Least score, in place of the labels' own thresholds; None for those, or `DEFAULT_THRESHOLD` for
            labels without one.
        top: How many labels an image gets at most; None for all that apply.
        exclusive: Groups from which an image gets only the best label.
    """

    threshold: float | None = None
    top: int | None = None
    exclusive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A value is out of range.
        """
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(
                f"threshold must be between 0 and 1, not {self.threshold:g}",
                parameter="threshold",
                value=self.threshold,
            )
        if self.top is not None and self.top < 1:
            raise UsageError(f"top must be 1 or more, not {self.top}", parameter="top", value=self.top)

    def threshold_of(self, label: Label) -> float:
        """The least score at which a label is given."""
        if self.threshold is not None:
            return self.threshold
        return DEFAULT_THRESHOLD if label.threshold is None else label.threshold

    def check_groups(self, label_set: LabelSet) -> None:
        """Check that a label set has the groups.

        Raises:
            UsageError: It lacks one; the message lists those it has.
        """
        groups = list(dict.fromkeys(label.group for label in label_set.labels if label.group is not None))
        for name in self.exclusive:
            if name not in groups:
                there = f"there are: {', '.join(groups)}" if groups else "groups are for label-set files: {group: ...}"
                raise UsageError(
                    f"exclusive {name}: label set {label_set.name!r} has no such group",
                    hint=there,
                    parameter="exclusive",
                    value=name,
                )


def background_scores(label_cosines: Floats, background_cosines: Floats, logits: Logits) -> Floats:
    """Compare each label with the background alone.

    The score is the label's share in the softmax over itself and all background prompts; a learned bias cancels out.

    Shapes: (N, C) and (N, B) -> (N, C). Units: in [0, 1], 1 / (B + 1) if the label fits as well as each background
    prompt; not a calibrated probability.
    Source: softmax over logits, arXiv:2103.00020, section 3.1.2, over a group of our own choice.
    """
    labels = label_cosines.astype(np.float64) * logits.scale
    background = background_cosines.astype(np.float64) * logits.scale
    highest = background.max(axis=1, keepdims=True)
    level = highest + np.log(np.exp(background - highest).sum(axis=1, keepdims=True))
    # exp(l) / (exp(l) + exp(level)), written so that nothing overflows.
    return np.asarray(np.exp(-np.logaddexp(0.0, level - labels)), dtype=np.float32)


class Tagger:
    """Judges each label of a set for images."""

    def __init__(
        self,
        label_set: LabelSet,
        labels: Floats | LabelCosines,
        background_features: Floats,
        logits: Logits,
        options: TagOptions,
    ) -> None:
        """Keep the labels.

        Args:
            label_set: C labels.
            labels: Their features, (C, P) unit length, or a function that compares images with them.
            background_features: (B, P) unit length.
            logits: How the checkpoint turns cosines into logits.
            options: Which labels an image is given.

        Raises:
            UsageError: The label set does not have one of the groups.
        """
        options.check_groups(label_set)
        self._labels = label_set.labels
        self._cosines = labels if callable(labels) else by_text(labels)
        self._background = background_features
        self._logits = logits
        self._options = options
        self._thresholds = np.array([options.threshold_of(label) for label in label_set.labels], dtype=np.float32)

    def scores(self, image_features: Floats) -> tuple[Floats, Floats]:
        """Scores and cosines of every label.

        Shapes: image_features (N, P) unit length -> (N, C) and (N, C).
        """
        cosines = self._cosines(image_features)
        background = scoring.cosines(image_features, self._background)
        return background_scores(cosines, background, self._logits), cosines

    def answer(self, path: str, image_features: Floats) -> TaggedImage:
        """Give one image the labels that apply, best first.

        Shapes: image_features (P,) unit length.
        """
        (scores,), (cosines,) = self.scores(image_features[None])
        tags: list[Tag] = []
        taken: set[str | None] = set()
        for i in scoring.best_first(scores):
            label = self._labels[i]
            if scores[i] < self._thresholds[i] or label.group in taken:
                continue
            if label.group in self._options.exclusive:
                taken.add(label.group)
            tags.append(Tag(label.name, shortest(scores[i]), shortest(cosines[i])))
        return TaggedImage(path, tuple(tags[: self._options.top]))

    def failed(self, path: str, error: Failure) -> TaggedImage:
        """The record of an image that could not be used."""
        return TaggedImage(path, error=error)
