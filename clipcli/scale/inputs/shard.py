"""Shards and their rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from clipcli.errors import ClipError, ImageError
from clipcli.scale.inputs.kinds import Kind

if TYPE_CHECKING:
    import pyarrow as arrow


class ShardError(ClipError):
    """A shard is damaged or not valid; trying again does not help."""


class ColumnError(ShardError):
    """A column is missing or has an unsupported type, most likely in all shards."""


class MissingText(ImageError):
    """An image has no caption to compare it with. Its row becomes an error row."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the input, processed into one part of the output.

    Attributes:
        id: Its number among all shards, in digits; it is part of the output's file name.
        uri: The path or URI of its file.
        kind: The format of the file.
        size: Size of the whole file in bytes when the run was planned.
        etag: State of the file when the run was planned; empty if the store has none.
        start: The first row group of a Parquet file, or the first byte of a table's rows.
        stop: Where the shard ends; None for the end of the file.
        first_row: The index in the file of the shard's first row.
    """

    id: str
    uri: str
    kind: Kind
    size: int
    etag: str = ""
    start: int = 0
    stop: int | None = None
    first_row: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The shard as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns (of a tar: fields of its samples) are read; None for the usual names.

    Attributes:
        image: The image: its bytes, or a path or URI.
        text: Its caption.
        key: The row's key.
        kept: Columns to copy to the output.
        with_text: Whether captions are required.
    """

    image: str | None = None
    text: str | None = None
    key: str | None = None
    kept: tuple[str, ...] = ()
    with_text: bool = False


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row of a shard.

    Attributes:
        key: Its key.
        image: Bytes of the image file, its path or URI, or why the row has none.
        text: Its caption; None if captions are not required.
        kept: Values of the columns to copy.
    """

    key: str
    image: bytes | str | ImageError
    text: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


class ShardRows(Protocol):
    """An open shard."""

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """Arrow types of the columns to copy, in their order."""

    def rows(self) -> Iterator[InputRow]:
        """Read its rows once, in their order.

        Raises:
            ShardError: It is damaged or not valid.
            OSError: It could not be read now.
        """

    def check_columns(self) -> None:
        """Read only its first rows, to check whether it has the columns.

        Raises:
            ShardError: It is damaged or not valid; a `ColumnError` for its columns.
            OSError: It could not be read now.
        """


def row_of(
    key: str, image: bytes | str | ImageError, caption: str | ImageError | None, kept: Mapping[str, Any]
) -> InputRow:
    """Make a row; if its caption cannot be used, its image is not read either."""
    if isinstance(caption, ImageError):
        return InputRow(key, caption, None, kept)
    return InputRow(key, image, caption, kept)


def text_of(value: object, key: str) -> str | ImageError:
    """The caption in a cell, or why the cell has none."""
    if isinstance(value, list | tuple):  # several captions: the first is the image's own
        value = value[0] if value else None
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return MissingText(f"{key}: its caption is not UTF-8 text")
    text = "" if value is None or value != value else str(value).strip()
    if any("\ud800" <= character <= "\udfff" for character in text):
        return MissingText(f"{key}: its caption is not UTF-8 text")
    return text or MissingText(f"{key}: its caption is empty")


def missing_column(shard: Shard, what: str, name: str | None, there: "list[str]") -> ColumnError:
    """The error of a shard without a required column; `what` is the parameter that names the column."""
    shown = ", ".join(there[:12]) or "none"
    if name is None:
        return ColumnError(
            f"{shard.uri}: no column of a usual name for its {what.partition('_')[0]}s",
            hint=f"name it with `{what}`; there are: {shown}",
            parameter=what,
        )
    return ColumnError(f"{shard.uri}: no column {name!r}", hint=f"there are: {shown}", parameter=what, value=name)


def refuse_doubled(shard: Shard, names: Sequence[str]) -> None:
    """Refuse a table with two columns of the same name.

    Raises:
        ShardError: Two columns have the same name.
    """
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ShardError(f"{shard.uri}: two columns are called {twice!r}", hint="rename or remove one of them")
