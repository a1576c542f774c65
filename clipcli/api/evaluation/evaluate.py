"""`Model.evaluate`: run a model on labeled images and measure its answers.

exam = Exam.take(model, labelling.images)          # features, once
result = exam.evaluate(truth, templates)           # once per wording to compare
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.classify import LabelCosines
from clipcli.answers.evaluate import Evaluation, evaluate
from clipcli.answers.judged import LogitsOf, row_blocks
from clipcli.answers.metrics import RESAMPLES, McNemar, Retrieval, mcnemar, paired_difference, retrieval
from clipcli.answers.metrics.intervals import Interval
from clipcli.api.evaluation.calibration import calibration_of
from clipcli.api.evaluation.truth import read_truth
from clipcli.api.examples import ByExample
from clipcli.api.judges import label_cosines
from clipcli.api.questions import labels_of
from clipcli.errors import ClipError, ImageError, MissingFile, UsageError, warn
from clipcli.features.pipeline import Result
from clipcli.features.reader import Failed
from clipcli.images.find import ImageSource, Pause
from clipcli.labels.label_set import LabelSet
from clipcli.labels.truth import Captioned, Labelled, Labelling, Truth, label_set_of, match
from clipcli.progress import Progress, unobserved
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.compute.checkpoint import Checkpoint
    from clipcli.compute.encoders import Encoders
    from clipcli.scoring import Logits


class ImageModel(Protocol):
    """The part of `Model` that an evaluation uses."""

    checkpoint: "Checkpoint"
    encoders: "Encoders"

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a classification head, else None."""

    @property
    def logits(self) -> "Logits":
        """How cosines become logits."""

    def image_features(self, sources: Iterable[ImageSource | Pause]) -> Generator[list[Result], None, None]:
        """Features of images, a batch at a time."""

    def encode_labels(self, label_set: LabelSet, templates: Sequence[str] | None = None) -> Floats:
        """Features of labels (C, P)."""

    def templates_for(self, label_set: LabelSet, templates: Sequence[str] | None = None) -> tuple[str, ...]:
        """The templates that `encode_labels` fills in."""

    def encode_texts(self, texts: Iterable[str], *, warn_foreign: bool = True) -> Floats:
        """Features of texts (M, P)."""


LabelledImages: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | Sequence[str]] | Truth"
"""A folder of labeled images or a table of them, what `read_truth` returns, or labels by path."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One evaluation.

    Attributes:
        figures: The metrics.
        truth: The labels, the images that could be used, and the right labels of each.
        logits_of: Logits (n, C) of the images that have a label, in the order of `figures.judged`.
        labelled: The index in `truth.paths` of each of these images, (N,).
        none_best: The best cosine of each image that shows none of the labels, (M,).
        temperature: The logits were divided by it.
    """

    figures: Evaluation
    truth: Truth
    logits_of: LogitsOf
    labelled: NDArray[np.intp]
    none_best: Floats
    temperature: float

    @property
    def none_paths(self) -> tuple[str, ...]:
        """The images that show none of the labels, in the order of `none_best`."""
        return tuple(path for path, found in zip(self.truth.paths, self.truth.labels, strict=True) if not found)

    @property
    def labelled_paths(self) -> tuple[str, ...]:
        """The images that have a label, in the order of `figures.judged`."""
        return tuple(self.truth.paths[i] for i in self.labelled)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations on the same images.

    Attributes:
        images: How many images both have.
        difference: Accuracy of the second minus that of the first, on these images.
        test: McNemar's test of the difference.
    """

    images: int
    difference: Interval
    test: McNemar


@dataclass(frozen=True, slots=True)
class Exam:
    """The features of labeled images.

    Attributes:
        model: The model that encoded them.
        features: (M, P), one row per image that could be read.
        rows: The row of each image, by path.
        failures: Images that could not be read, and why.
    """

    model: "ImageModel"
    features: Floats
    rows: Mapping[str, int]
    failures: tuple[tuple[str, ImageError], ...]

    @classmethod
    def take(cls, model: "ImageModel", paths: Sequence[str], on_progress: Progress = unobserved) -> "Exam":
        """Encode images; features in the cache are not computed again.

        Args:
            model: The model.
            paths: Images.
            on_progress: Called with the number of images done and the total.

        Raises:
            ClipError: None of the images can be used.
        """
        features: Floats | None = None
        rows: dict[str, int] = {}
        failures: list[tuple[str, ImageError]] = []
        with closing(model.image_features(ImageSource(path) for path in paths)) as batches:
            for batch in batches:
                for item in batch:
                    if isinstance(item, Failed):
                        failures.append((item.source.path, item.error))
                        continue
                    if features is None:
                        features = np.empty((len(paths), len(item.features)), dtype=np.float32)
                    features[len(rows)] = item.features
                    rows[item.source.path] = len(rows)
                on_progress(len(rows) + len(failures), len(paths))
        if features is None:
            first = f"; the first one: {failures[0][1]}" if failures else ""
            missing = bool(failures) and isinstance(failures[0][1], MissingFile)
            hint = "relative paths in a table are relative to the table's folder" if missing else None
            raise ClipError(f"none of the {len(paths):,} images could be used{first}", hint=hint)
        return cls(model, features[: len(rows)], rows, tuple(failures))

    def usable(self, truth: Truth) -> Truth:
        """The same truth without the images that could not be read."""
        return truth.only([i for i, path in enumerate(truth.paths) if path in self.rows])

    def question(self, truth: Truth, templates: Sequence[str] | None) -> tuple[Truth, LabelCosines]:
        """A function that compares images with the labels, and the truth without images that are examples of them.

        For a classification head, the features are its logits already.

        Raises:
            UsageError: All images are examples.
        """
        if self.model.class_names is not None:
            return truth, lambda logits: logits
        compare = label_cosines(self.model, truth.label_set, templates)
        if not isinstance(compare, ByExample):
            return truth, compare
        known = compare.are_examples(self.features[[self.rows[path] for path in truth.paths]])
        if known.all():
            raise UsageError(
                "all images are examples of the labels",
                hint="remove some images from the examples, to evaluate with them",
            )
        if known.any():
            first = truth.paths[int(known.argmax())]
            warn(f"left out, examples of the labels themselves: {first} and {known.sum() - 1:,} more")
        return truth.only(np.flatnonzero(~known).tolist()), compare

    def compared(self, truth: Truth, compare: LabelCosines) -> Floats:
        """Cosines of all images of a truth. Shapes: -> (N, C)."""
        return compare(self.features[[self.rows[path] for path in truth.paths]])

    def evaluate(
        self,
        truth: Truth,
        templates: Sequence[str] | None = None,
        *,
        temperature: float | None = None,
        resamples: int = RESAMPLES,
    ) -> Evaluated:
        """Judge the images.

        Args:
            truth: The labels, and the right ones of each image.
            templates: Replace the label set's own.
            temperature: Divides the logits; None for that of the label set's calibration, or 1 without one.
            resamples: Bootstrap samples for the intervals.

        Raises:
            UsageError: There is only one label, or no image has a label.
            LabelSetError: The label set was calibrated for another model.
        """
        check_labels(truth.label_set)
        truth, compare = self.question(self.usable(truth), templates)
        labelled = np.array([i for i, found in enumerate(truth.labels) if found], dtype=np.intp)
        others = np.array([i for i, found in enumerate(truth.labels) if not found], dtype=np.intp)
        if not len(labelled):
            raise UsageError(
                "no image that could be used has a label", hint="images without any of the labels are not enough"
            )
        if temperature is None:
            calibration = calibration_of(self.model.encoders, truth.label_set)
            temperature = (calibration and calibration.temperature) or 1.0
        to_logits = (lambda values: values) if self.model.class_names else self.model.logits.of
        numbers = self._numbers(truth, compare)
        best = [numbers(others[part]).max(axis=1) for part in row_blocks(len(others))]
        none = np.concatenate(best) if best else np.empty(0, dtype=np.float32)

        def logits_of(part: slice) -> Floats:
            return to_logits(numbers(labelled[part]))

        figures = evaluate(
            truth.label_set.names,
            logits_of,
            [truth.labels[i] for i in labelled],
            none_logits=to_logits(none),
            temperature=temperature,
            resamples=resamples,
        )
        return Evaluated(figures, truth, logits_of, labelled, none, temperature)

    def _numbers(self, truth: Truth, compare: LabelCosines) -> Callable[[NDArray[np.intp]], Floats]:
        """A function from indices of a truth's images to cosines, or to logits if the checkpoint has a head."""
        rows = np.array([self.rows[path] for path in truth.paths], dtype=np.intp)
        return lambda which: compare(self.features[rows[which]])


def check_labels(label_set: LabelSet) -> None:
    """Refuse a single label.

    Raises:
        UsageError: There is only one label.
    """
    if len(label_set.labels) < 2:
        raise UsageError(
            f"{label_set.names[0]!r} is the only label, and every answer among one label is right",
            hint="add what else the images may show",
        )


def compare(first: Evaluated, second: Evaluated) -> Comparison:
    """Compare two evaluations on the images that both have.

    Raises:
        UsageError: They have no image in common.
    """
    right = dict(zip(first.labelled_paths, first.figures.judged.right.tolist(), strict=True))
    pairs = [
        (right[path], other)
        for path, other in zip(second.labelled_paths, second.figures.judged.right.tolist(), strict=True)
        if path in right
    ]
    if not pairs:
        raise UsageError("the two evaluations have no image in common")
    one, other = np.array(pairs, dtype=bool).T
    return Comparison(len(pairs), paired_difference(one, other), mcnemar(one, other))


def evaluate_images(
    model: "ImageModel",
    images: LabelledImages,
    labels: Sequence[str] | LabelSet | None = None,
    *,
    templates: Sequence[str] | None = None,
    temperature: float | None = None,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_unknown: bool = False,
) -> Evaluated:
    """Judge a model on labeled images; see `Model.evaluate` for the arguments."""
    label_set = None if labels is None else labels_of(labels)
    if model.class_names is not None:
        if label_set is not None:
            raise UsageError(f"{model.checkpoint.id} has classes of its own and cannot take other labels")
        label_set = labels_of(model.class_names)
    if isinstance(images, Truth):
        truth = images if label_set is None else _with_labels(images, label_set)
    elif isinstance(images, Mapping):
        truth = _truth_of(images, label_set, mapping, class_names, ignore_unknown)
    else:
        truth = read_truth(
            os.fspath(images),
            label_set,
            split=split,
            mapping=mapping,
            class_names=class_names,
            ignore_unknown=ignore_unknown,
        )
    check_labels(truth.label_set)
    return Exam.take(model, truth.paths).evaluate(truth, templates, temperature=temperature)


def _with_labels(truth: Truth, label_set: LabelSet) -> Truth:
    """The same truth with another label set of the same names: other prompts, or a calibration."""
    if label_set.names != truth.label_set.names:
        raise UsageError("`labels` are not those that the images were matched with", hint="match them again")
    return replace(truth, label_set=label_set)


def _truth_of(
    images: Mapping[str, str | Sequence[str]],
    label_set: LabelSet | None,
    mapping: Mapping[str, str] | None,
    class_names: Sequence[str] | None,
    ignore_unknown: bool,
) -> Truth:
    rows = (
        Labelled(os.fspath(path), (names,) if isinstance(names, str) else tuple(names), os.fspath(path))
        for path, names in images.items()
    )
    labelling = Labelling.of("images", rows)
    label_set = label_set or label_set_of(labelling, class_names)
    return match(labelling, label_set, mapping=mapping, class_names=class_names, ignore_unknown=ignore_unknown)


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """Retrieval of captions by images, and of images by captions.

    Attributes:
        images: How many images could be used.
        captions: How many different captions they have.
        image_to_text: Retrieval of an image's captions among all captions.
        text_to_image: Retrieval of a caption's images among all images.
        failures: Images that could not be read, and why.
    """

    images: int
    captions: int
    image_to_text: Retrieval
    text_to_image: Retrieval
    failures: tuple[tuple[str, ImageError], ...]


def evaluate_captions(
    model: "ImageModel", captioned: Sequence[Captioned], on_progress: Progress = unobserved
) -> RetrievalResult:
    """Measure retrieval of captions by images and of images by captions, among all of them.

    A caption that several images have is one text with several right images.

    Raises:
        ClipError: None of the images can be used.
    """
    exam = Exam.take(model, [item.path for item in captioned], on_progress)
    usable = [item for item in captioned if item.path in exam.rows]
    texts = list(dict.fromkeys(text for item in usable for text in item.captions))
    index = {text: i for i, text in enumerate(texts)}
    of_image: list[list[int]] = [[] for _ in usable]
    of_text: list[list[int]] = [[] for _ in texts]
    for i, item in enumerate(usable):
        for text in item.captions:
            of_image[i].append(index[text])
            of_text[index[text]].append(i)
    images = exam.features[[exam.rows[item.path] for item in usable]]
    text_features = model.encode_texts(texts)
    return RetrievalResult(
        len(usable),
        len(texts),
        retrieval(images, text_features, of_image),
        retrieval(text_features, images, of_text),
        exam.failures,
    )
