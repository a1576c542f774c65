"""Parquet: images as bytes, as `struct<bytes, path>` (what `datasets` writes), or as paths and URIs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from clipcli.errors import MissingFile, UsageError
from clipcli.labels.truth.tables import CAPTION_COLUMNS, PATH_COLUMNS
from clipcli.scale.inputs.references import resolve
from clipcli.scale.inputs.shard import (
    ColumnError,
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

# Rows per batch: how many images are in memory.
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
    except (arrow.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and "thrift" not in str(error):  # an error of the disk
            raise
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
        self._refuse_type()

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """The types in the file."""
        schema = self._file.schema_arrow
        return {name: schema.field(name).type for name in self._columns.kept}

    def rows(self) -> Iterator[InputRow]:
        """Read its rows."""
        import pyarrow as arrow

        named = (self._text, self._key, *self._columns.kept)
        names = [self._image, *dict.fromkeys(name for name in named if name is not None)]
        groups = range(self._shard.start, self._shard.stop or self._file.num_row_groups)
        number = self._shard.first_row
        try:
            for batch in self._file.iter_batches(_ROWS_AT_ONCE, row_groups=list(groups), columns=list(set(names))):
                others = batch.select(names[1:])
                for values, image in zip(others.to_pylist(), self._images(batch[self._image]), strict=True):
                    yield self._row(values, image, number)
                    number += 1
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
            raise ShardError(f"{self._shard.uri} is damaged: {error}", hint="copy or write it again") from error

    def check_columns(self) -> None:
        """Nothing to check: the schema was checked when the file was opened."""

    def _images(self, column: "arrow.Array") -> Iterable[object]:
        """The image cells as bytes; lists of uint8 are converted without a Python object per byte."""
        if not _is_list_of_bytes(column.type):
            return cast(Iterable[object], column.to_pylist())
        lists = (cell.values for cell in column)
        return (None if items is None or items.null_count else items.to_numpy().tobytes() for items in lists)

    def _refuse_type(self) -> None:
        """Refuse a column that cannot hold images.

        Raises:
            ColumnError: It cannot; the message shows its type.
        """
        type = self._file.schema_arrow.field(self._image).type
        if not (_is_list_of_bytes(type) or _may_hold_images(type)):
            raise ColumnError(
                f"{self._shard.uri}: column {self._image!r} holds {type}, and not images",
                hint="images are bytes, lists of 8-bit integers, structs of bytes and path, or paths; name another "
                "column with `image_column`",
                parameter="image_column",
                value=self._image,
            )

    def _row(self, values: Mapping[str, Any], cell: object, number: int) -> InputRow:
        key = _name(values.get(self._key)) if self._key is not None else None
        image, path = _image(cell, self._shard)
        key = key or path or str(number)
        text = text_of(values[self._text], key) if self._text is not None else None
        missing = MissingFile(f"{key}: the row has no image")
        return row_of(
            key, missing if image is None else image, text, {name: values[name] for name in self._columns.kept}
        )

    def _chosen(self, what: str, name: str | None, usual: tuple[str, ...]) -> str:
        """The named column, or one with a usual name."""
        found = name if name in self._there else None
        if name is None:
            found = next((column for column in usual if column in self._there), None)
        if found is None:
            raise missing_column(self._shard, what, name, self._there)
        return found


def _is_list_of_bytes(type: "arrow.DataType") -> bool:
    import pyarrow as arrow

    is_list = arrow.types.is_list(type) or arrow.types.is_large_list(type) or arrow.types.is_fixed_size_list(type)
    return is_list and type.value_type in (arrow.uint8(), arrow.int8())


def _may_hold_images(type: "arrow.DataType") -> bool:
    import pyarrow as arrow

    types = arrow.types
    if isinstance(type, arrow.BaseExtensionType):
        return _may_hold_images(type.storage_type)
    if types.is_dictionary(type):
        return _may_hold_images(type.value_type)
    if types.is_struct(type):
        return bool({field.name for field in type} & {"bytes", "path"})
    return not (types.is_primitive(type) or types.is_decimal(type) or types.is_nested(type))


def _image(value: object, shard: Shard) -> tuple[bytes | str | None, str | None]:
    """The image of a cell, and its path if it has one."""
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
