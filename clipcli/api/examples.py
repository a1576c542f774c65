"""Labels taught by example images: find, encode and check the images, and combine them with the texts.

label_set = clipcli.find_label_set("dogs.yaml")            # labels with examples
lesson = learn(model, label_set)
lesson.taught.cosines(model.encode_images(["photo.jpg"]))  # (1, C)
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.classify import LabelCosines
from clipcli.answers.judged import row_blocks
from clipcli.answers.metrics import Interval, wilson
from clipcli.answers.taught import Rows, Taught, copies, fewer, same_images, teach
from clipcli.api.evaluation.truth import read_labelling
from clipcli.api.inputs import refuse_single
from clipcli.errors import ClipError, ImageError, LabelSetError, UsageError, warn
from clipcli.features.digests import file_digest
from clipcli.features.reader import Encoded, Failed
from clipcli.images.find import FindOptions, ImageSource, find_images, images_of
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.truth import paths_by_name, with_examples
from clipcli.labels.truth.folders import metadata_file, subfolders
from clipcli.progress import Progress, unobserved
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.api.evaluation.evaluate import ImageModel


ExampleImages: TypeAlias = Mapping[str, Iterable["str | os.PathLike[str]"]]
"""Images that show labels, by label: files, folders and globs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effect of examples on one label.

    Attributes:
        label: Its name.
        examples: How many could be read.
        used: How many are used: copies are left out, and of thousands only the most typical ones are kept.
        before: Share of these that get the label from the texts alone; None for a label without text.
        after: Share that get the label from texts and examples, by leave-one-out. Both are None for a single example.
    """

    label: str
    examples: int
    used: int
    before: float | None
    after: float | None

    @property
    def is_worse(self) -> bool:
        """Whether the label is found less often with its examples."""
        return self.before is not None and self.after is not None and self.after < self.before


@dataclass(frozen=True, slots=True)
class Lesson:
    """Labels taught by example, and how each example was used.

    Attributes:
        label_set: The labels.
        taught: Compares images with the labels.
        paths: The example of each row of `taught`.
        files: All examples that could be read, by label.
        copies: Examples that are nearly the same as an earlier one of their label, and that one; each pair counts once.
        failures: Examples that could not be read.
        shown: Digest of the contents of the example files, independent of their paths. 16 hexadecimal digits.
    """

    label_set: LabelSet
    taught: Taught
    paths: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    copies: tuple[tuple[str, str], ...]
    failures: tuple[ImageError, ...]
    shown: str

    @property
    def outcomes(self) -> list[Outcome]:
        """One outcome per label that has examples."""
        before, after, judged = self.taught.right_before(), self.taught.right_after(), self.taught.judged()
        found = []
        for index in self.taught.columns.tolist():
            label, own = self.label_set.labels[index], self.taught.owners == index
            shares = [float(right[own].mean()) if judged[own].all() else None for right in (before, after)]
            found.append(
                Outcome(
                    label.name,
                    len(self.files[index]),
                    int(own.sum()),
                    None if label.wordless else shares[0],
                    shares[1],
                )
            )
        return found

    @property
    def judged(self) -> int:
        """How many examples `before` and `after` cover: those of labels with two or more."""
        return int(self.taught.judged().sum())

    @property
    def before(self) -> Interval | None:
        """Share of examples that get their own label from the texts alone; None if a label has no text."""
        if any(label.wordless for label in self.label_set.labels):
            return None
        return self._share(self.taught.right_before())

    @property
    def after(self) -> Interval | None:
        """The same with texts and examples, by leave-one-out; None if no label has two examples."""
        return self._share(self.taught.right_after())

    def _share(self, right: NDArray[np.bool_]) -> Interval | None:
        judged = self.taught.judged()
        return wilson(int(right[judged].sum()), int(judged.sum())) if judged.any() else None


class ByExample:
    """Compares images with labels by text and example, and warns of an image that is an example itself.

    Args:
        lesson: The taught labels.
    """

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self._warned = False

    def __call__(self, image_features: Floats) -> Floats:
        """Cosines. Shapes: (N, P) unit length -> (N, C)."""
        if not self._warned:
            found = np.flatnonzero(self.are_examples(image_features))
            if len(found):
                self._warned = True
                row = int((self.lesson.taught.examples @ image_features[found[0]]).argmax())
                warn(
                    f"{self.lesson.paths[row]} is an example and also among the images: its answer does not tell how "
                    "good answers are for other images"
                )
        return self.lesson.taught.cosines(image_features)

    def are_examples(self, image_features: Floats) -> NDArray[np.bool_]:
        """Which images are examples. Shapes: (N, P) -> (N,)."""
        blocks = [self.lesson.taught.is_example(image_features[rows]) for rows in row_blocks(len(image_features))]
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.bool_)


def read_examples(folder: str, label_set: LabelSet | None, find: FindOptions | None = None) -> LabelSet:
    """Add the images of a folder with one folder per label (or of a table of path and label) to labels.

    Args:
        folder: The folder, or the table.
        label_set: The labels; None to use the folders' names as labels.
        find: Which images of a folder are taken.

    Raises:
        UsageError: It cannot be read, or a label's folder contains no images.
        LabelSetError: An image has several labels.
    """
    labelling = read_labelling(folder, find=find)
    if os.path.isdir(folder) and metadata_file(folder) is None:
        _refuse_empty_folders(folder, [image.path for image in labelling.images])
    if labelling.unlabelled:
        warn(f"{folder}: {labelling.unlabelled:,} images are in no folder of a label, and are left out")
    paths = {name: [os.path.abspath(path) for path in found] for name, found in paths_by_name(labelling).items()}
    return with_examples(label_set, paths)


def _refuse_empty_folders(folder: str, images: Sequence[str]) -> None:
    for name in subfolders(folder):
        place = os.path.join(folder, name)
        if not any(path.startswith(os.path.join(place, "")) for path in images):
            raise UsageError(f"{place}: no image in it", hint="put examples into it, or remove the folder")


def _path(image: object, name: str) -> str:
    if not isinstance(image, str | os.PathLike):
        raise TypeError(f"examples of {name!r} must be paths of files or folders, or globs, not {type(image).__name__}")
    return os.path.abspath(os.path.expanduser(os.fspath(image)))


def add_examples(label_set: LabelSet | None, examples: ExampleImages) -> LabelSet:
    """Add the `examples` argument of the Python API to labels.

    Raises:
        UsageError: The images of a label are a single image instead of a list.
        TypeError: They are not paths.
    """
    paths: dict[str, list[str]] = {}
    for name, images in examples.items():
        refuse_single(images, f"examples of {name!r}")
        paths[name] = [_path(image, name) for image in images]
    return with_examples(label_set, paths)


def by_example(model: "ImageModel", label_set: LabelSet, templates: Sequence[str] | None = None) -> LabelCosines:
    """Compare images with labels by their texts and their examples; see `learn`."""
    lesson = learn(model, label_set, templates)
    if lesson.failures:
        more = f" (and {len(lesson.failures) - 1:,} more)" if len(lesson.failures) > 1 else ""
        warn(f"an example is left out: {lesson.failures[0]}{more}")
    elif label_set.teaching is not None:
        label_set.teaching.warn_if_changed(lesson.shown, label_set.name)
    return ByExample(lesson)


def shown_to(compare: LabelCosines) -> str | None:
    """Digest of the examples that images are compared with, see `Lesson.shown`; None where there are none."""
    return compare.lesson.shown if isinstance(compare, ByExample) else None


def learn(
    model: "ImageModel",
    label_set: LabelSet,
    templates: Sequence[str] | None = None,
    on_progress: Progress = unobserved,
    *,
    again: bool = False,
) -> Lesson:
    """Join the texts and the examples of labels.

    Args:
        model: The model.
        label_set: The labels; two of them or more have examples.
        templates: Replace the label set's own.
        on_progress: Called with the number of examples done and the total.
        again: Accept a set that was taught with another model, and teach it again.

    Raises:
        LabelSetError: The set was taught with another model, none of a label's examples can be used, or one image is an
            example of two labels.
        UsageError: Only one label has examples, or the checkpoint has a classification head.
    """
    if model.class_names is not None:
        raise UsageError(
            f"{model.checkpoint.id} has classes of its own and cannot be taught others",
            hint="use a checkpoint with both towers",
        )
    if label_set.teaching is not None and not again:
        label_set.teaching.check_model(model.encoders.digest, model.checkpoint.id, label_set.name)
    taught = [index for index, label in enumerate(label_set.labels) if label.examples]
    if not taught:
        raise UsageError(f"label set {label_set.name!r} has no examples", hint="give images of two labels or more")
    if len(taught) < 2:
        raise UsageError(
            f"only {label_set.names[taught[0]]!r} has examples, and at least two labels need examples",
            hint="give examples of two labels or more; one may be called none, for whatever else the images show",
        )
    sources, owners = _found(label_set)
    features, used, digests, failures = _encoded(model, sources, on_progress)
    read = [sources[i].path for i in used]
    labels = np.array([owners[i] for i in used], dtype=np.intp)
    _refuse_empty(label_set, taught, labels, {owners[i]: error for i, error in failures.items()})
    _refuse_shared(label_set, features, labels, read)
    rows, same = copies(features, labels)
    rows = fewer(features, labels, rows)
    texts, wordless = model.encode_labels(label_set, templates), any(label.wordless for label in label_set.labels)
    return Lesson(
        label_set,
        teach(texts, features[rows], labels[rows], model.logits, wordless=wordless),
        tuple(read[i] for i in rows),
        tuple(tuple(read[i] for i in np.flatnonzero(labels == index)) for index in range(len(label_set.labels))),
        tuple((read[copy], read[first]) for copy, first in same),
        tuple(failures.values()),
        _shown(label_set, labels, digests),
    )


def _shown(label_set: LabelSet, labels: Rows, digests: Sequence[bytes]) -> str:
    """Digest of the contents of each label's examples, in any order."""
    digest = hashlib.blake2b(digest_size=8)
    for name, content in sorted(
        (label_set.names[label], content) for label, content in zip(labels, digests, strict=True)
    ):
        digest.update(f"{name}\n{content.hex()}\n".encode())
    return digest.hexdigest()


def _found(label_set: LabelSet) -> tuple[list[ImageSource], list[int]]:
    """The examples and their labels; a file that is found twice counts once.

    Raises:
        LabelSetError: A file is an example of two labels, or a label has no examples.
    """
    sources: list[ImageSource] = []
    owners: list[int] = []
    known: dict[str, int] = {}
    for index, label in enumerate(label_set.labels):
        for source in _images(label) if label.examples else ():
            place = os.path.realpath(source.path)
            if place not in known:
                known[place] = index
                sources.append(source)
                owners.append(index)
            elif known[place] != index:
                names = label_set.names[known[place]], label.name
                raise LabelSetError(
                    f"{source.path} is an example of label {names[0]!r} and of {names[1]!r}",
                    hint="give each example one label",
                )
    return sources, owners


def _images(label: Label) -> Iterator[ImageSource]:
    try:
        yield from images_of(find_images(list(label.examples), FindOptions(follow_symlinks=True)))
    except ClipError as error:
        where = ", ".join(label.examples[:3])
        raise LabelSetError(f"label {label.name!r} has no example: no image in {where}", error.hint) from error


def _encoded(
    model: "ImageModel", sources: Sequence[ImageSource], on_progress: Progress
) -> tuple[Floats, list[int], list[bytes], dict[int, ImageError]]:
    """Features, paths and file digests of the examples that can be read, and why the others cannot."""
    features, used, digests = [], [], []
    failures: dict[int, ImageError] = {}
    done = 0
    with closing(model.image_features(sources)) as batches:
        for batch in batches:
            for item in batch:
                if isinstance(item, Failed):
                    failures[done] = item.error
                else:
                    features.append(item.features)
                    used.append(done)
                    digests.append(_digest(item))
                done += 1
            on_progress(done, len(sources))
    return np.array(features, dtype=np.float32), used, digests, failures


def _digest(item: Encoded) -> bytes:
    if item.mark is not None:
        return item.mark.digest
    try:
        return file_digest(item.source.path)
    except OSError:  # gone meanwhile, which is a change
        return b""


def _refuse_empty(label_set: LabelSet, taught: Sequence[int], labels: Rows, failures: Mapping[int, ImageError]) -> None:
    for index in taught:
        if index not in labels:
            raise LabelSetError(
                f"no example of label {label_set.names[index]!r} can be used; the last of them: {failures[index]}",
                hint="correct the paths of its examples, or teach the label set again with `clip labels teach`",
            )


def _refuse_shared(label_set: LabelSet, features: Floats, labels: Rows, paths: Sequence[str]) -> None:
    """Refuse one image under two labels, also under two file names."""
    for one, other in same_images(features):
        if labels[one] != labels[other]:
            names = label_set.names[labels[one]], label_set.names[labels[other]]
            raise LabelSetError(
                f"{paths[one]} and {paths[other]} are the same image, an example of {names[0]!r} and of {names[1]!r}",
                hint="give each example one label",
            )
