"""CSV and JSON Lines whose rows name images; a shard is a range of bytes that begins and ends between rows."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from clipcli.errors import ImageError, MissingFile, UnreadableImage
from clipcli.labels.truth.tables import CAPTION_COLUMNS, PATH_COLUMNS
from clipcli.scale.inputs.references import resolve
from clipcli.scale.inputs.shard import (
    Columns,
    InputRow,
    Shard,
    ShardError,
    missing_column,
    refuse_doubled,
    row_of,
    text_of,
)

if TYPE_CHECKING:
    import pyarrow as arrow

_DELIMITERS = ",;\t|"
_KEY_COLUMNS = ("key", "uid", "id")
# A file that is not a table can be a single line.
_LONGEST_LINE_BYTES = 64 * 2**20
# Key for the cells of a CSV row beyond the columns; column names are stripped, so none can equal it.
_BEYOND = "\n"


class TableRows:
    """Some rows of a table."""

    def __init__(self, stream: BinaryIO, shard: Shard, columns: Columns) -> None:
        self._stream, self._shard, self._columns = stream, shard, columns

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """Always text, so that all shards have the same types."""
        import pyarrow as arrow

        return dict.fromkeys(self._columns.kept, arrow.string())

    def rows(self) -> Iterator[InputRow]:
        """Read its rows."""
        shard = self._shard
        header = read_header(self._stream, shard) if shard.kind == "csv" else None
        self._stream.seek(max(shard.start, header[2] if header is not None else 0))
        names: _Names | None = None if header is None else _Names(self._columns, shard, header[1])
        for number, (cells, _) in enumerate(_parsed(self._stream, shard, header), start=shard.first_row):
            if names is None:  # JSON: a key that a later object lacks is null
                names = _Names(self._columns, shard, list(cells))
            yield self._row(cells, names, number)

    def check_columns(self) -> None:
        """Check the header, or the first object."""
        next(self.rows(), None)

    def _row(self, cells: Mapping[str, Any], names: "_Names", number: int) -> InputRow:
        path = cells.get(names.image)
        key = _text(cells.get(names.key)) if names.key is not None else None
        key = key or (path if isinstance(path, str) and path else str(number))
        kept = {name: _text(cells.get(name)) for name in self._columns.kept}
        if self._shard.kind == "csv" and _BEYOND in cells:  # an unquoted comma has shifted the cells
            error = UnreadableImage(f"{key}: the row has more cells than there are columns; quote those with commas")
            return row_of(key, error, error, kept)
        image: str | ImageError = MissingFile(f"{key}: the row names no image")
        if isinstance(path, str) and path:
            image = resolve(path, self._shard.uri)
        text = text_of(cells.get(names.text), key) if names.text is not None else None
        return row_of(key, image, text, kept)


class _Names:
    """The columns that are read."""

    def __init__(self, columns: Columns, shard: Shard, there: list[str]) -> None:
        def chosen(what: str, name: str | None, usual: Sequence[str]) -> str:
            found = name if name in there else None
            if name is None:
                found = next((column for column in usual if column in there), None)
            if found is None:
                raise missing_column(shard, what, name, there)
            return found

        self.image = chosen("image_column", columns.image, PATH_COLUMNS)
        self.text = chosen("text_column", columns.text, CAPTION_COLUMNS) if columns.with_text else None
        self.key = columns.key or next((name for name in _KEY_COLUMNS if name in there), None)
        if columns.key is not None:
            chosen("key_column", columns.key, ())
        for name in columns.kept:
            chosen("keep_columns", name, ())


Header = tuple[str, list[str], int]
"""The delimiter, the columns, and where the rows begin."""


def read_header(stream: BinaryIO, shard: Shard) -> Header:
    """Read the first row of a CSV file."""
    line = stream.readline(_LONGEST_LINE_BYTES)
    start = len(line)
    text = _decoded(line.removeprefix(codecs.BOM_UTF8), shard).rstrip("\r\n")
    delimiter = max(_DELIMITERS, key=text.count)
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=delimiter), [])]
    except csv.Error as error:
        raise ShardError(f"{shard.uri}, first row: {error}", hint="write it again as CSV") from error
    if not names:
        raise ShardError(f"{shard.uri} is empty", hint="its first row names the columns")
    refuse_doubled(shard, [name for name in names if name])
    return delimiter, names, start


def row_ends(stream: BinaryIO, shard: Shard) -> Iterator[int]:
    """The positions where rows of a table end, for dividing it; the first is where its rows begin."""
    header = read_header(stream, shard) if shard.kind == "csv" else None
    start = header[2] if header is not None else 0
    yield start
    stream.seek(start)
    for _, end in _parsed(stream, shard, header):
        yield end


def _parsed(stream: BinaryIO, shard: Shard, header: Header | None) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows from the stream's position to the shard's end, each with the position after it."""
    lines = _Lines(stream, shard)
    if header is None:
        for line in lines:
            if line.strip():
                yield _json_row(line, shard), lines.at
        return
    delimiter, names, _ = header
    try:
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            if cells:
                row: dict[str, Any] = dict(zip(names, cells, strict=False))
                if any(cells[len(names) :]):
                    row[_BEYOND] = cells[len(names) :]
                yield row, lines.at
    except csv.Error as error:
        raise ShardError(f"{shard.uri} near byte {lines.at:,}: {error}", hint="write it again as CSV") from error


class _Lines:
    """Lines of a stream as text, and the position where the last one ended."""

    def __init__(self, stream: BinaryIO, shard: Shard) -> None:
        self._stream, self._shard, self.at = stream, shard, stream.tell()

    def __iter__(self) -> Iterator[str]:
        while self._shard.stop is None or self.at < self._shard.stop:
            line = self._stream.readline(_LONGEST_LINE_BYTES)
            if not line:
                if self.at < self._shard.size:
                    raise OSError(f"{self._shard.uri}: {self.at:,} of {self._shard.size:,} bytes arrived")
                return
            self.at += len(line)
            yield _decoded(line, self._shard)


def _decoded(line: bytes, shard: Shard) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ShardError(f"{shard.uri} is not UTF-8 text: {error.reason}", hint="convert it with iconv") from error


def _json_row(line: str, shard: Shard) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{shard.uri} is not JSON Lines: {error}", hint="one object per line") from error
    if not isinstance(value, dict):
        raise ShardError(f"{shard.uri}: a line holds no object", hint="one object per line")
    return value


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
