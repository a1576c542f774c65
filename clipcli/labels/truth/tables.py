"""Tables of labeled or captioned images: CSV in its dialects, JSON Lines, and Parquet where pyarrow is installed."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError
from clipcli.labels.truth.folders import choose_split
from clipcli.labels.truth.labelling import Labelled, Labelling

PATH_COLUMNS = ("path", "file_name", "filename", "file", "image")
LABEL_COLUMNS = ("label", "labels", "class", "category")
CAPTION_COLUMNS = ("caption", "captions", "text")
_NO_SPLIT = "(empty)"
_DELIMITERS = ",;\t|"
_SHOWN_COLUMNS, _SHOWN_LETTERS = 8, 40


@dataclass(frozen=True, slots=True)
class Captioned:
    """One image with the captions that belong to it."""

    path: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a table: its cells by column, in lower case, and its place."""

    cells: Mapping[str, Any]
    place: str


def from_table(file: str, *, split: str | None = None, folder: str | None = None) -> Labelling:
    """Read a table with a column of paths and one of labels.

    An image has several labels if it has several rows, a list of them, or a cell such as `cat;dog`. Splits are never
    mixed, whether a column `split` names them or the first folder of each path: see `choose_split`.

    Args:
        file: The table; `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet`, any other name is looked into.
        split: Which rows, where there are splits.
        folder: What relative paths count from; by default the folder that the file is in.

    Raises:
        UsageError: It cannot be read, or lacks a column.
    """
    rows = _rows(file, (PATH_COLUMNS, LABEL_COLUMNS))
    rows = _of_split(rows, split, file)
    base = os.path.dirname(file) if folder is None else folder
    return Labelling.of(
        file, (Labelled(path, _names(_cell(row, LABEL_COLUMNS)), row.place) for row, path in _with_paths(rows, base))
    )


def captions_from_table(file: str, folder: str | None = None) -> list[Captioned]:
    """Read a table with a column of paths and one of captions; several rows or a list give an image several.

    Raises:
        UsageError: It cannot be read, lacks a column, or holds no caption.
    """
    rows = _rows(file, (PATH_COLUMNS, CAPTION_COLUMNS))
    base = os.path.dirname(file) if folder is None else folder
    found: dict[str, dict[str, None]] = {}
    for row, path in _with_paths(rows, base):
        value = _cell(row, CAPTION_COLUMNS)
        texts = value if isinstance(value, list | tuple) else [value]
        found.setdefault(path, {}).update(dict.fromkeys(text for text in map(_text, texts) if text))
    captioned = [Captioned(path, tuple(texts)) for path, texts in found.items() if texts]
    if not captioned:
        raise UsageError(f"{file}: no caption in it", hint="each row is a path and a caption of that image")
    return captioned


def _rows(file: str, wanted: Iterable[tuple[str, ...]]) -> list[_Row]:
    """Read all rows of a table and check its columns."""
    suffix = Path(file).suffix.lower()
    with _readable(file):
        if suffix == ".parquet":
            rows = list(_parquet_rows(file))
        elif suffix in (".jsonl", ".ndjson", ".json") or (suffix not in (".csv", ".tsv") and _looks_like_json(file)):
            rows = list(_json_rows(file))
        else:
            rows = list(_csv_rows(file))
    if not rows:
        raise UsageError(f"{file}: no row in it", hint="each row is the path of an image and its label")
    for columns in wanted:
        if not any(column in rows[0].cells for column in columns):
            raise _missing_column(file, rows[0].cells, columns)
    return rows


def _of_split(rows: list[_Row], split: str | None, file: str) -> list[_Row]:
    """The rows of one split; all of them where there are none."""
    is_column = "split" in rows[0].cells
    if is_column:
        splits = [_text(row.cells.get("split")) or _NO_SPLIT for row in rows]
    else:
        folders = [_local(_text(_cell(row, PATH_COLUMNS))).partition("/") for row in rows]
        splits = [folder if slash else "" for folder, slash, _ in folders]
        if not all(splits):
            splits = []
    chosen = choose_split(splits, split, file, are_splits=is_column)
    return rows if chosen is None else [row for row, name in zip(rows, splits, strict=True) if name == chosen]


@contextmanager
def _readable(file: str) -> Iterator[None]:
    """Say what is wrong with a file that is not a table."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file}: not UTF-8 text (byte {error.start:,})", hint="save the table as CSV or JSON Lines in UTF-8"
        ) from error
    except csv.Error as error:
        raise UsageError(f"{file} is not CSV: {error}", hint="the first line names the columns path,label") from error


def _csv_rows(file: str) -> Iterator[_Row]:
    with open(file, newline="", encoding="utf-8-sig") as stream:
        header = stream.readline(1 << 20)
        stream.seek(0)
        reader = csv.DictReader(stream, delimiter=_delimiter(header))
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        for row in reader:
            if any(row.pop(reader.restkey, ())):  # an unquoted comma would cut the label short
                raise UsageError(
                    f"{file}, line {reader.line_num}: more cells than columns",
                    hint='put a cell with a delimiter in it into quotes: a.jpg,"fish, large"',
                )
            yield _Row(row, f"line {reader.line_num}")
        if not reader.line_num or reader.line_num == 1:
            yield from _header_alone(reader.fieldnames)


def _header_alone(columns: Iterable[str]) -> Iterator[_Row]:
    """Nothing, if the columns are right: the table is empty. Else a row to complain of."""
    columns = list(columns)
    if columns and not any(column in PATH_COLUMNS for column in columns):
        yield _Row(dict.fromkeys(columns), "line 1")


def _delimiter(header: str) -> str:
    """The delimiter that makes known columns of the first line."""

    def known(delimiter: str) -> int:
        cells = {cell.strip().lower() for cell in next(csv.reader([header], delimiter=delimiter), [])}
        return len(cells & {*PATH_COLUMNS, *LABEL_COLUMNS, *CAPTION_COLUMNS, "split"})

    return max(_DELIMITERS, key=lambda delimiter: (known(delimiter), header.count(delimiter)))


def _json_rows(file: str) -> Iterator[_Row]:
    with open(file, encoding="utf-8-sig") as stream:
        if _first_character(file) == "[":
            yield from _json_list(file, stream.read())
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _Row(_object(line, f"{file}, line {number}"), f"line {number}")


def _json_list(file: str, text: str) -> Iterator[_Row]:
    values = _parsed(text, file)
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise UsageError(f"{file}: entry {number} is not an object", hint='write {"path": ..., "label": ...}')
        yield _Row({key.lower(): item for key, item in value.items()}, f"entry {number}")


def _object(line: str, place: str) -> dict[str, Any]:
    value = _parsed(line, place)
    if not isinstance(value, dict):
        raise UsageError(f"{place} is not an object", hint='one per line: {"path": "a.jpg", "label": "cat"}')
    return {key.lower(): item for key, item in value.items()}


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"{place} is not JSON: {reason}") from error


def _looks_like_json(file: str) -> bool:
    return _first_character(file) in ("{", "[")


def _first_character(file: str) -> str:
    with open(file, "rb") as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return start.decode("latin-1")


def _parquet_rows(file: str) -> Iterator[_Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(
            f"{file}: Parquet needs pyarrow, which is not installed", hint="pip install 'clipcli[parquet]'"
        ) from error
    try:
        table = parquet.read_table(file)
    except ArrowException as error:
        raise UsageError(f"{file} is not Parquet: {str(error).splitlines()[0]}") from error
    wanted = {*PATH_COLUMNS, *LABEL_COLUMNS, *CAPTION_COLUMNS, "split"}
    names = [name for name in table.column_names if name.lower() in wanted]
    for number, row in enumerate(table.select(names).to_pylist(), 1):
        yield _Row({key.lower(): value for key, value in row.items()}, f"row {number}")


def _missing_column(file: str, cells: Mapping[str, Any], columns: tuple[str, ...]) -> UsageError:
    there = [str(name)[:_SHOWN_LETTERS] for name in list(cells)[:_SHOWN_COLUMNS] if name]
    more = ", ..." if len(cells) > _SHOWN_COLUMNS else ""
    return UsageError(
        f"{file}: no column {columns[0]} (or {', '.join(columns[1:])})",
        hint=f"its columns are {', '.join(there)}{more}" if there else "the first line names the columns",
    )


def _with_paths(rows: Iterable[_Row], folder: str) -> Iterator[tuple[_Row, str]]:
    """Each row with the path that it means, normalized so that two spellings are one image."""
    for row in rows:
        value = _cell(row, PATH_COLUMNS)
        if isinstance(value, Mapping):  # how the hub's Parquet files hold images
            value = value.get("path")
        if text := _text(value):
            yield row, os.path.normpath(os.path.join(folder, _local(text)))


def _local(path: str) -> str:
    r"""A path as this system writes it: `cats\1.jpg` was written on Windows."""
    return path.replace("\\", "/") if os.sep == "/" and "\\" in path and "/" not in path else path


def _cell(row: _Row, columns: tuple[str, ...]) -> Any:
    return next((row.cells[column] for column in columns if column in row.cells), None)


def _names(value: object) -> tuple[str, ...]:
    """The names in a cell: one, a list of them, or several with semicolons between."""
    if isinstance(value, list | tuple):
        texts = [_text(item) for item in value]
    else:
        texts = [part.strip() for part in _text(value).split(";")]
    return tuple(dict.fromkeys(text for text in texts if text))


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
