"""Parquet: images as bytes, as `struct<bytes, path>` (what `datasets` writes), or as paths and URIs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from clipcli.errors import MissingFile, UsageError
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

# A batch of rows holds as many images in memory.
_ROWS_AT_ONCE = 64
_KEY_COLUMNS = ("key", "uid", "__key__", "id")
_IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", *PATH_COLUMNS)


def open_parquet(stream: BinaryIO, name: str) -> Any:
    """Open a Parquet file.

    Raises:
        UsageError: pyarrow is not installed.
        ShardError: It is damaged.
        OSError: It could not be read now.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("a Parquet file needs pyarrow", hint="pip install 'clipcli[parquet]'") from error
    try:
        return parquet.ParquetFile(stream, page_checksum_verification=True)
    except arrow.ArrowInvalid as error:
        raise ShardError(f"{name} is not a whole Parquet file: {error}", hint="copy or write it again") from error


class ParquetRows:
    """Some row groups of a Parquet file."""

    def __init__(self, stream: BinaryIO, shard: Shard, columns: Columns) -> None:
        self._file = open_parquet(stream, shard.uri)
        self._shard, self._columns = shard, columns
        self._there: list[str] = self._file.schema_arrow.names
        refuse_doubled(shard, self._there)
        self._image = self._chosen("image_column", columns.image, _IMAGE_COLUMNS)
        self._text = self._chosen("text_column", columns.text, CAPTION_COLUMNS) if columns.with_text else None
        if columns.key is not None:
            self._chosen("key_column", columns.key, ())
        self._key = columns.key or next((name for name in _KEY_COLUMNS if name in self._there), None)
        for name in columns.kept:
            self._chosen("keep_columns", name, ())

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """Types as the file has them."""
        schema = self._file.schema_arrow
        return {name: schema.field(name).type for name in self._columns.kept}

    def rows(self) -> Iterator[InputRow]:
        """Read its rows."""
        import pyarrow as arrow

        wanted = [self._image, self._text, self._key, *self._columns.kept]
        names = list(dict.fromkeys(name for name in wanted if name is not None))
        groups = range(self._shard.start, self._shard.stop or self._file.num_row_groups)
        number = self._shard.first_row
        try:
            for batch in self._file.iter_batches(_ROWS_AT_ONCE, row_groups=list(groups), columns=names):
                for values in batch.to_pylist():
                    yield self._row(values, number)
                    number += 1
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
            raise ShardError(f"{self._shard.uri} is damaged: {error}", hint="copy or write it again") from error

    def _row(self, values: Mapping[str, Any], number: int) -> InputRow:
        key = _name(values.get(self._key)) if self._key is not None else None
        image, path = _image(values[self._image], self._shard)
        key = key or path or str(number)
        text = text_of(values[self._text], key) if self._text is not None else None
        missing = MissingFile(f"{key}: the row has no image")
        return row_of(
            key, missing if image is None else image, text, {name: values[name] for name in self._columns.kept}
        )

    def _chosen(self, what: str, name: str | None, usual: tuple[str, ...]) -> str:
        """The column that is named, or one of a usual name."""
        found = name if name in self._there else None
        if name is None:
            found = next((column for column in usual if column in self._there), None)
        if found is None:
            raise missing_column(self._shard, what, name, self._there)
        return found


def _image(value: object, shard: Shard) -> tuple[bytes | str | None, str | None]:
    """The image of a cell, and its path if it says one."""
    if isinstance(value, Mapping):
        path = value.get("path")
        data = value.get("bytes")
        if data is not None:
            return bytes(data), path
        value = path
    if isinstance(value, bytes):
        return value, None
    if isinstance(value, str) and value:
        return resolve(value, shard.uri), value
    return None, None


def _name(value: object) -> str | None:
    return None if value is None else str(value)
