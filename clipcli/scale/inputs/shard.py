"""What shards and their rows are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from clipcli.errors import ClipError, ImageError
from clipcli.scale.inputs.kinds import Kind

if TYPE_CHECKING:
    import pyarrow as arrow


class ShardError(ClipError):
    """A shard is not what it should be, and reading it again would not help."""


class ColumnError(ShardError):
    """A column is missing, or holds what it cannot hold: most likely in all shards."""


class MissingText(ImageError):
    """An image has no caption that could be compared with it. Becomes an error row."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the input that becomes one part of the output.

    Attributes:
        id: Its number among all, in digits; outputs are named by it.
        uri: Where it lies.
        kind: What it is.
        size: Of the whole file in bytes, when the run was planned.
        etag: State of the file when the run was planned; empty where the store has none.
        start: The first row group of a Parquet file, or the first byte of a table's rows.
        stop: Where the shard ends; None for the end of the file.
        first_row: Which row of the file is the shard's first.
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
        key: What the row is called.
        kept: What is copied to the output.
        with_text: Whether captions are needed.
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
        key: What it is called.
        image: Bytes of the image file, the path or URI where they lie, or why there are none.
        text: Its caption; None where none is asked for.
        kept: Values of the columns to be copied.
    """

    key: str
    image: bytes | str | ImageError
    text: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


class ShardRows(Protocol):
    """An open shard."""

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """Arrow types of the columns to be copied, in their order."""

    def rows(self) -> Iterator[InputRow]:
        """Read its rows once, in their order.

        Raises:
            ShardError: It is not what it should be.
            OSError: It could not be read now.
        """

    def check_columns(self) -> None:
        """Look at its first rows instead, as far as that shows whether it has the columns.

        Raises:
            ShardError: It is not what it should be; a `ColumnError` for its columns.
            OSError: It could not be read now.
        """


def row_of(
    key: str, image: bytes | str | ImageError, caption: str | ImageError | None, kept: Mapping[str, Any]
) -> InputRow:
    """Make a row; one whose caption cannot be used has no image to be read either."""
    if isinstance(caption, ImageError):
        return InputRow(key, caption, None, kept)
    return InputRow(key, image, caption, kept)


def text_of(value: object, key: str) -> str | ImageError:
    """The caption in a cell, or why it is none."""
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
    """The error of a shard without a column that is needed; `what` is the parameter that names it."""
    shown = ", ".join(there[:12]) or "none"
    if name is None:
        return ColumnError(
            f"{shard.uri}: no column of a usual name for its {what.partition('_')[0]}s",
            hint=f"name it with `{what}`; there are: {shown}",
            parameter=what,
        )
    return ColumnError(f"{shard.uri}: no column {name!r}", hint=f"there are: {shown}", parameter=what, value=name)


def refuse_doubled(shard: Shard, names: Sequence[str]) -> None:
    """Refuse a table in which a name could mean either of two columns.

    Raises:
        ShardError: Two columns have one name.
    """
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ShardError(f"{shard.uri}: two columns are called {twice!r}", hint="rename or remove one of them")
