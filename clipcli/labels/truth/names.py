"""Names of labeled images matched with the labels of a set: exactly, then with more and more good will."""

import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from clipcli.errors import LabelSetError, UsageError
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.truth.labelling import Labelling

NONE_NAMES = ("none", "none of these")
NONE = -1
_SEPARATORS = re.compile(r"[\s_\-]+")
_NUMBER = re.compile(r"-?\d+(\.0+)?")
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Truth:
    """Images and which labels of a set are right for each.

    Attributes:
        label_set: The labels.
        paths: N images.
        labels: For each the indices of its labels; empty for one that shows none of them (a folder named `none`).
        unlabelled: Images that were left out because they have no name.
        unknown: Names that are not in the label set, and how many images have them; they were left out.
    """

    label_set: LabelSet
    paths: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    unlabelled: int
    unknown: Mapping[str, int]

    @property
    def is_multi_label(self) -> bool:
        """Whether an image has several labels."""
        return any(len(found) > 1 for found in self.labels)

    def only(self, images: Sequence[int]) -> "Truth":
        """The same truth for some of the images, by their indices."""
        if len(images) == len(self.paths):
            return self
        return replace(self, paths=tuple(self.paths[i] for i in images), labels=tuple(self.labels[i] for i in images))

    @property
    def without_images(self) -> tuple[str, ...]:
        """Labels that no image has."""
        there = {index for found in self.labels for index in found}
        return tuple(name for i, name in enumerate(self.label_set.names) if i not in there)


def match(
    labelling: Labelling,
    label_set: LabelSet,
    *,
    mapping: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_unknown: bool = False,
) -> Truth:
    """Find the label of each name.

    In this order: the name itself; without regard to case, hyphens and underscores; one of a label's other wordings;
    its `id` (`n01440764`, or `n01440764_tench`). A folder inside folders may also be named by its last level alone.
    `none` stands for none of the labels, unless one is called so.

    Args:
        labelling: Images and names.
        label_set: The labels.
        mapping: Other names for names: of the labels, `none`, or empty to leave an image out.
        class_names: What numbers mean, from 0.
        ignore_unknown: Leave images with unknown names out, and count them.

    Raises:
        UsageError: A name is unknown, with the nearest ones; or a number, without class names; or no image is left.
    """
    matcher = Matcher(label_set, mapping, class_names)
    found = {name: matcher.find(name) for name in labelling.names}
    unknown = {name: count for name, count in labelling.names.items() if found[name] is None}
    left_out = {name for name in unknown if mapping and mapping.get(name) == ""}
    if set(unknown) - left_out and not ignore_unknown:
        raise _unknown_names(labelling, {n: c for n, c in unknown.items() if n not in left_out}, matcher)
    paths, labels = [], []
    for image in labelling.images:
        indices = [index for name in image.names if (index := found[name]) is not None]
        if indices:
            paths.append(image.path)
            labels.append(tuple(dict.fromkeys(index for index in indices if index != NONE)))
    if not paths:
        raise UsageError(f"{labelling.source}: no image in it has a label of label set {label_set.name!r}")
    return Truth(label_set, tuple(paths), tuple(labels), labelling.unlabelled, unknown)


def label_set_of(labelling: Labelling, class_names: Sequence[str] | None = None) -> LabelSet:
    """Make a label set of the names themselves, or of the class names that their numbers stand for.

    Raises:
        UsageError: They are numbers, and there are no class names.
        LabelSetError: They break the rules of labels.
    """
    names = list(class_names) if class_names else sorted(labelling.names, key=natural)
    names = [name for name in names if _folded(name) not in NONE_NAMES]
    if not class_names and names and all(_NUMBER.fullmatch(name) for name in names):
        raise _numbers(labelling)
    if not names:
        raise UsageError(
            f"{labelling.source}: no labeled image in it",
            hint="put images into one folder per label, like images/cat/1.jpg, or list them in a CSV of path,label",
        )
    return LabelSet("labels", tuple(label_of(name) for name in names))


def read_map(file: str) -> dict[str, str]:
    """Read what names mean: a JSON object, or a CSV of two columns, `name` and `label`.

    Raises:
        UsageError: It is neither.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            text = stream.read()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text", hint="save it as CSV or JSON in UTF-8") from error
    if text.lstrip().startswith("{"):
        return _json_map(file, text)
    delimiter = max(",;\t", key=text.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except csv.Error as error:
        raise UsageError(f"{file} is not CSV: {error}") from error
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 2), None)
    if wrong is not None or not rows:
        raise UsageError(f"{file}: line {wrong or 1} does not hold two columns", hint="write name,label on each line")
    return {name: label for name, label in rows if (name, label) != ("name", "label")}


def _json_map(file: str, text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    if not all(isinstance(label, str | None) for label in found.values()):
        raise UsageError(f"{file}: each name must stand for one label", hint='write {"n02123045": "tabby cat"}')
    return {name: label or "" for name, label in found.items()}


class Matcher:
    """Finds the index of a label by a name; see `match` for how.

    Args:
        label_set: The labels.
        mapping: Other names for names.
        class_names: What numbers mean, from 0.
    """

    def __init__(
        self, label_set: LabelSet, mapping: Mapping[str, str] | None = None, class_names: Sequence[str] | None = None
    ) -> None:
        self.mapping, self._class_names, self.names = mapping or {}, class_names, label_set.names
        labels = list(enumerate(label_set.labels))
        self._tables = (
            _unique((label.name, i) for i, label in labels),
            _unique((_folded(label.name), i) for i, label in labels),
            _unique((_folded(prompt), i) for i, label in labels for prompt in label.prompts),
            _unique((label.id, i) for i, label in labels if label.id is not None),
        )
        none = [*NONE_NAMES, *([label_set.none.name] if label_set.none else [])]
        self._none = {_folded(name) for name in none}

    @property
    def has_class_names(self) -> bool:
        """Whether it is known what numbers mean."""
        return self._class_names is not None

    def find(self, name: str) -> int | None:
        """Index of the label that a name means, `NONE` for none of them, None if it is unknown."""
        name = self.mapping.get(name, name)
        if self._class_names and _NUMBER.fullmatch(name) and 0 <= float(name) < len(self._class_names):
            name = self._class_names[int(float(name))]
        if not name:
            return None
        levels = name.rpartition("/")[2]
        for spelling in dict.fromkeys((name, levels)):
            found = self._find(spelling)
            if found is not None:
                return found
        return NONE if _folded(levels) in self._none else None

    def _find(self, name: str) -> int | None:
        exact, folded, wordings, ids = self._tables
        name = unicodedata.normalize("NFC", name)
        tries = ((exact, name), (folded, _folded(name)), (wordings, _folded(name)))
        found = next((table[key] for table, key in tries if table.get(key) is not None), None)
        if found is None:
            found = ids.get(name, ids.get(name.split("_")[0]))
        return found


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
    """A table of names; one that stands for two labels finds neither."""
    table: dict[str, int | None] = {}
    for name, index in pairs:
        table[name] = index if table.get(name, index) == index else None
    return table


def _folded(name: str) -> str:
    """A name without regard to case, accents' spelling, hyphens, underscores and runs of space."""
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _unknown_names(labelling: Labelling, unknown: Mapping[str, int], matcher: Matcher) -> UsageError:
    if all(_NUMBER.fullmatch(name) for name in unknown) and not matcher.has_class_names:
        return _numbers(labelling)
    by_fold = {_folded(name): name for name in matcher.names}
    shown = []
    for name in list(unknown)[:_SHOWN_NAMES]:
        meant = matcher.mapping.get(name, name)
        nearest = [by_fold[fold] for fold in get_close_matches(_folded(meant), by_fold, n=2, cutoff=0.6)]
        mapped = "" if meant == name else f", which `mapping` makes of {name!r}"
        shown.append(f"{meant!r}{mapped}" + (f" (did you mean {' or '.join(map(repr, nearest))}?)" if nearest else ""))
    more = f" and {len(unknown) - _SHOWN_NAMES} more" if len(unknown) > _SHOWN_NAMES else ""
    first = next(image for image in labelling.images if next(iter(unknown)) in image.names)
    return UsageError(
        f"{labelling.source}: not in the label set: {', '.join(shown)}{more}; the first one is {first.place}",
        hint="translate names with `mapping`, or leave them out with `ignore_unknown=True`",
    )


def _numbers(labelling: Labelling) -> UsageError:
    return UsageError(
        f"{labelling.source}: its labels are numbers, which mean nothing without the names of the classes",
        hint="say what they mean with `class_names`: the names in order",
    )


def label_of(name: str) -> Label:
    """A label of a name: `hot_dog` is worded "hot dog", `animal/cat` has two levels."""
    path = tuple(level for level in name.split("/") if level.strip())
    wording = path[-1].replace("_", " ").strip() if path else name
    try:
        return Label(name, (wording,) if wording else (), path)
    except LabelSetError as error:
        raise LabelSetError(f"{name!r} cannot be a label: {error}", hint=error.hint) from error


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts "2" before "10"."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def read_class_names(file: str) -> tuple[str, ...]:
    """Read names of classes, one per line, in the order of their numbers.

    Raises:
        UsageError: It cannot be read, or is empty.
    """
    try:
        with open(os.fspath(file), encoding="utf-8-sig") as stream:
            names = tuple(stream.read().rstrip().split("\n"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text", hint="one name per line, in UTF-8") from error
    names = tuple(name.strip() for name in names)
    if not any(names):
        raise UsageError(f"{file}: no name in it", hint="one name per line, in the order of their numbers")
    if "" in names:  # left out, it would give every later number another name
        raise UsageError(
            f"{file}: line {names.index('') + 1} is empty, so the numbers of the lines after it are ambiguous",
            hint="one name per line, in the order of their numbers",
        )
    return names
