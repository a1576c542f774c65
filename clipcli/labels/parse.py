"""Labels given as text: `cat,dog` and `@file.txt`.

What is typed is the label, letter by letter: a slash is an ordinary character here, hierarchies are for label-set
files.
"""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipcli.errors import LabelSetError
from clipcli.labels.label_set import UNNAMED, Label, LabelSet, clean_text

# A quoted field, to be left alone, or one of the commas of Chinese and Japanese keyboards.
_QUOTED_OR_WIDE_COMMA = re.compile(r'"(?:[^"]|"")*"|[，、]')
_SETS = (".yaml", ".yml")
LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".list")


def parse_labels(values: Sequence[str]) -> LabelSet:
    """Build a label set from such texts.

    Each value is a line of CSV (`cat,"dog, puppy"`; `，` and `、` separate too), or `@` and the name of a file with
    one label per line, where blank lines and lines that begin with `#` are skipped. A label that begins with `@` is
    quoted: `'"@home"'`.

    Raises:
        LabelSetError: If a label is empty or repeated, the quoting is broken, or the file cannot be read.
    """
    labels: dict[str, str] = {}
    for text, place in (item for value in values for item in _items(value)):
        name = _clean(text, place)
        if name in labels:
            first = f"; first in {labels[name]}" if labels[name] != place else ""
            raise LabelSetError(f"{place}: label {name!r} is there twice{first}", hint="give each label once")
        labels[name] = place
    if not labels:
        raise LabelSetError(
            "labels holds no label", hint='write them with commas: `labels="cat,dog"`', parameter="labels"
        )
    return LabelSet(name=UNNAMED, labels=tuple(Label(name) for name in labels))


def _clean(text: str, place: str) -> str:
    try:
        return clean_text(text, "a label")
    except LabelSetError as error:
        hint = None if text.strip() else "two commas in a row, or one at the end?"
        raise LabelSetError(f"{place}: {error}", hint=hint) from error


def _items(value: str) -> Iterator[tuple[str, str]]:
    """Yield each label of one text with the place to name in an error."""
    if value.startswith("@"):
        yield from _read_lines(value[1:])
    elif Path(value).suffix.lower() in (*LIST_SUFFIXES, *_SETS) and os.path.isfile(value):
        is_set = Path(value).suffix.lower() in _SETS
        raise LabelSetError(
            f"labels {value}: this is a file, not a label",
            hint=f"use `label_set={value!r}`" if is_set else f"use `labels={'@' + value!r}` for the labels in it",
            parameter="labels",
            value=value,
        )
    else:
        for text in split_labels(value):
            yield text, f"`labels={value!r}`"


def split_labels(value: str) -> list[str]:
    """Split a line of labels at its commas; what is quoted stays together.

    Raises:
        LabelSetError: The quotes do not match, or there is a line break.
    """
    line = _QUOTED_OR_WIDE_COMMA.sub(lambda match: "," if match[0] in "，、" else match[0], value)
    if "\n" in line or "\r" in line:
        raise LabelSetError(
            "labels holds a line break",
            hint='put the labels in a file, one per line, and use `labels="@file.txt"`',
            parameter="labels",
            value=value,
        )
    try:
        fields = next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise LabelSetError(
            f"labels {value!r}: the quotes do not match ({error})",
            hint='quote a label that holds a comma: cat,"dog, puppy"; double a quote inside quotes: ""',
            parameter="labels",
            value=value,
        ) from error
    return fields or [""]


def _read_lines(name: str) -> Iterator[tuple[str, str]]:
    """Yield the labels of a text file, each with `file:line`."""
    if not name:
        raise LabelSetError(
            "labels @ needs a file name", hint='like this: `labels="@labels.txt"`', parameter="labels", value="@"
        )
    if Path(name).suffix.lower() in _SETS:
        raise LabelSetError(
            f"labels @{name}: this is a label-set file",
            hint=f"use `label_set={name!r}`",
            parameter="labels",
            value=f"@{name}",
        )
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise LabelSetError(
            f"labels @{name}: {error.strerror or error}",
            hint=f"""a label that begins with @ needs quotes inside the quotes: '"@{name}"'""",
            parameter="labels",
            value=f"@{name}",
        ) from error
    found = False
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise LabelSetError(f"{name}:{number}: not UTF-8 text", hint="save the file as UTF-8") from error
        if text and not text.startswith("#"):
            found = True
            yield text, f"{name}:{number}"
    if not found:
        raise LabelSetError(f"{name}: no label in this file", hint="write one label per line")
