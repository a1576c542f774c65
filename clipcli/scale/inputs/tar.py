"""WebDataset: a tar whose files are samples.

The part of a file name before its first dot is the sample's key, the rest the field; the files of a sample are
adjacent. Python's `tarfile` silently treats a damaged header, a zeroed block and a truncated file as the end of an
archive, so this module reads the blocks itself: an incomplete archive is an error. Nothing in a tar is unpickled.

Source: https://github.com/webdataset/webdataset (naming); POSIX.1-1988 and pax headers through `tarfile.TarInfo`.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from clipcli.errors import ImageError, MissingFile, UnreadableImage
from clipcli.images.find import IMAGE_EXTENSIONS, MAX_FILE_BYTES
from clipcli.scale.inputs.shard import Columns, InputRow, Shard, ShardError, missing_column, row_of, text_of

if TYPE_CHECKING:
    import pyarrow as arrow

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_LONGEST_HEADER = 2**20
# GNU tar's largest usual record (-b 2048) has less padding.
_LONGEST_PADDING = 2**20 + _BLOCK
_LOOKED_AT = 100
_TEXT_FIELDS = ("txt", "text", "caption")
# The first bytes of compressed files, and the programs that unpack them.
_PACKED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
_SKIPPED = frozenset((tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))

Sample = dict[str, bytes | ImageError]


class TarRows:
    """An open tar of samples."""

    def __init__(self, stream: BinaryIO, shard: Shard, columns: Columns) -> None:
        self._stream, self._shard, self._columns = stream, shard, columns
        wanted = {"image_column": columns.image, "text_column": columns.text if columns.with_text else None}
        self._lacking = {what: name for what, name in wanted.items() if name is not None}
        self._fields = dict[str, None]()

    @property
    def kept_types(self) -> "Mapping[str, arrow.DataType]":
        """Always text, so that all shards have the same types."""
        import pyarrow as arrow

        return dict.fromkeys(self._columns.kept, arrow.string())

    def rows(self) -> Iterator[InputRow]:
        """Read its samples."""
        for key, sample in _samples(members(self._stream, self._shard), self._shard):
            said = _Said(sample)
            self._lacking = {what: name for what, name in self._lacking.items() if said.value(name) is None}
            self._fields.update(dict.fromkeys(sample))
            yield self._row(key, sample, said)
        self._refuse_lacking()

    def check_columns(self) -> None:
        """Check the first samples; fields that only later samples have count as missing."""
        for _ in islice(self.rows(), _LOOKED_AT):
            pass
        self._refuse_lacking()

    def _refuse_lacking(self) -> None:
        for what, name in self._lacking.items() if self._fields else ():
            raise missing_column(self._shard, what, name, list(self._fields))

    def _row(self, key: str, sample: Sample, said: "_Said") -> InputRow:
        columns = self._columns
        name = columns.image or next((field for field in sample if f".{field}" in IMAGE_EXTENSIONS), None)
        image = sample.get(name) if name is not None else None
        if image is None:
            lacking = f"field {columns.image}" if columns.image else "image"
            image = MissingFile(f"{key}: the sample has no {lacking}, but {', '.join(sample)}")
        text = None
        if columns.with_text:
            names = _TEXT_FIELDS if columns.text is None else (columns.text,)
            text = text_of(next((value for value in map(said.value, names) if value is not None), None), key)
        shown = key if columns.key is None else said.text(columns.key) or key
        return row_of(shown, image, text, {column: said.text(column) for column in columns.kept})


class _Said:
    """The metadata of a sample: in separate fields, or in the object of `.json`."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._json: Mapping[str, Any] | None = None

    def value(self, name: str) -> Any:
        """The value of a name; None if there is none."""
        found = self._sample.get(name)
        if isinstance(found, bytes):
            return found
        if self._json is None:
            self._json = _object(self._sample.get("json"))
        return self._json.get(name)

    def text(self, name: str) -> str | None:
        """The value as text: texts unchanged, other values as JSON."""
        value = self.value(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace").rstrip("\r\n")
        return json.dumps(value, ensure_ascii=False)


def _object(data: bytes | ImageError | None) -> Mapping[str, Any]:
    if not isinstance(data, bytes):
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _samples(files: Iterator[tuple[str, bytes | ImageError]], shard: Shard) -> Iterator[tuple[str, Sample]]:
    """Group the files of each sample."""
    seen: set[str] = set()
    current, sample = None, Sample()
    for name, data in files:
        folder, base = os.path.split(name)
        stem, dot, field = base.partition(".")
        # Files of operating systems (`.DS_Store`, `._cat.jpg`) are not samples either: their names begin with a dot.
        if not stem or not dot or (base.startswith("__") and base.endswith("__")):
            continue
        key, field = os.path.join(folder, stem), field.lower()
        if key != current:
            if current is not None:
                yield current, sample
            if key in seen:
                raise ShardError(
                    f"{shard.uri}: the files of {key} do not lie side by side, or the key is used twice",
                    hint="write the tar again with its files in the order of their names",
                ) from None
            seen.add(key)
            current, sample = key, Sample()
        if field in sample:
            raise ShardError(f"{shard.uri}: {name} is there twice", hint="write the tar again, each file once")
        sample[field] = data
    if current is not None:
        yield current, sample


def members(stream: BinaryIO, shard: Shard) -> Iterator[tuple[str, bytes | ImageError]]:
    """Read all files of a tar, and check its end.

    Yields:
        Names and contents; for a file too large for an image, the reason in place of the content.

    Raises:
        ShardError: A header is damaged, the archive is truncated, or data follows its end.
        OSError: The store returned less than the whole file.
    """
    blocks = _Blocks(stream, shard)
    long_name: str | None = None
    extended: Mapping[str, str] = {}
    while True:
        header = blocks.take(_BLOCK)
        if header == _ZEROS:
            blocks.finish()
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            blocks.refuse_packed(header)
            raise blocks.damaged(f"its header is damaged ({error})") from error
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            data = blocks.file(info.size, _LONGEST_HEADER)
            if isinstance(data, ImageError):
                raise blocks.damaged("its header is too long")
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XHDTYPE:
                extended = _pax(data, blocks)
            continue
        if info.type == tarfile.GNUTYPE_SPARSE or "GNU.sparse.major" in extended:
            raise blocks.damaged("it is a sparse file, which has no place in a shard")
        size = int(extended.get("size", info.size))
        name = extended.get("path") or long_name or info.name
        long_name, extended = None, {}
        if info.type in _SKIPPED:
            continue
        yield name, blocks.file(size, MAX_FILE_BYTES, name)


class _Blocks:
    """The blocks of an archive, and the reading position."""

    def __init__(self, stream: BinaryIO, shard: Shard) -> None:
        self._stream, self._shard, self._at = stream, shard, 0

    def take(self, size: int) -> bytes:
        """Read a number of bytes."""
        data = self._stream.read(size)
        self._at += len(data)
        if len(data) == size:
            return data
        if self._at < self._shard.size:
            raise OSError(f"{self._shard.uri}: {self._at:,} of {self._shard.size:,} bytes arrived")
        raise ShardError(
            f"{self._shard.uri} was cut: it ends at byte {self._at:,} without the two empty blocks of a whole tar",
            hint="copy or write it again; no row of it is in the output",
        )

    def file(self, size: int, largest: int, name: str = "") -> bytes | ImageError:
        """Read the content of a file and the padding of its last block."""
        if size < 0:
            raise self.damaged("it says that a file has less than nothing")
        filled = -(-size // _BLOCK) * _BLOCK
        if size <= largest:
            return self.take(filled)[:size]
        while filled:
            filled -= len(self.take(min(filled, 2**20)))
        return UnreadableImage(f"{name}: it has {size:,} bytes, too many for an image")

    def finish(self) -> None:
        """Read the rest after the first empty block: at least one more empty block, and nothing else."""
        end, rest = self._at, self.take(_BLOCK)
        while rest:
            if self._at - end > _LONGEST_PADDING:
                raise self.damaged("more zeros follow than fill a record, as in a file that was not copied to its end")
            if rest.strip(b"\0"):
                raise self.damaged("something follows the end of the archive, or a header was emptied")
            rest = self._stream.read(2**20)
            self._at += len(rest)
        if self._at < self._shard.size:
            raise OSError(f"{self._shard.uri}: {self._at:,} of {self._shard.size:,} bytes arrived")

    def refuse_packed(self, header: bytes) -> None:
        """Refuse a file that begins like a compressed one.

        Raises:
            ShardError: It is compressed.
        """
        program = next((program for magic, program in _PACKED.items() if header.startswith(magic)), None)
        if self._at == _BLOCK and program is not None:
            raise ShardError(
                f"{self._shard.uri} is compressed, and shards are read as they are",
                hint=f"unpack it: {program} -c < {os.path.basename(self._shard.uri)} > unpacked.tar",
            )

    def damaged(self, why: str) -> ShardError:
        """The error of a damaged tar."""
        return ShardError(
            f"{self._shard.uri} is damaged near byte {self._at:,}: {why}",
            hint="copy or write it again; no row of it is in the output",
        )


def _pax(data: bytes, blocks: _Blocks) -> dict[str, str]:
    """The records of an extended header: each is its length, a space, name=value, and a newline."""
    records: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data):
            raise blocks.damaged("its extended header cannot be read")
        name, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals:
            raise blocks.damaged("its extended header cannot be read")
        records[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    if not records.get("size", "0").isdigit():
        raise blocks.damaged("its extended header cannot be read")
    return records
