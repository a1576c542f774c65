"""The output file of `clip tag` as a journal: it grows by whole batches, and an interrupted run goes on with it.

A line is one picture's row together with size and modification time of the file that it was made of, so the rows
alone say which pictures are finished. A small file beside them, `tags.jsonl.run.json`, holds the settings. Whatever
kills the run, at any moment:

- What is torn, or was not part of a whole batch, is cut off and done again.
- A batch of which every picture is finished is not computed again. The others are computed whole: the last digit of
  a number may depend on the batch that it was computed in, and the finished file shall equal, line for line, that of
  a run that was never disturbed.
- Rows of pictures that have changed or gone are dropped before anything is added, so no picture ever has two.

Takes about 150 bytes of memory a picture. Must not import numpy or torch.
"""

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from clipcli.cli.render.destination import open_destination
from clipcli.cli.render.json import as_json, dump
from clipcli.errors import ClipError, UsageError
from clipcli.images.find import ImageSource
from clipcli.results import TaggedImage

T = TypeVar("T")
Row = dict[str, Any]
Stamp = tuple[int, int]

SETTINGS_SUFFIX = ".run.json"
# Failures that lie in the picture, which fail again as long as it does not change. All others are tried again.
_LASTING_FAILURES = ("UnreadableImage", "ImageTooLarge")


class Journal:
    """Rows in a file, in the order of the sources."""

    def __init__(self, path: str, settings: Mapping[str, Any], *, batch_size: int) -> None:
        """Name the file; nothing is touched yet.

        Args:
            path: Where rows go.
            settings: All that a row depends on besides the picture, by the words that errors use.
            batch_size: Pictures a batch.
        """
        self._path = Path(os.path.realpath(path))
        self._name = path
        # As it comes back from the file: lists for tuples.
        self._settings: dict[str, Any] = json.loads(dump(dict(settings)))
        self._batch_size = batch_size
        self._stream: BinaryIO | None = None
        self._kept: dict[int, int] = {}  # hash of the path -> where its row is
        self._stamps: list[Stamp | None] = []  # of the sources handed out, until their rows are written
        self._order = array("q")  # where the row of each source is; -1 for rows that are yet to be written
        self._added = array("q")
        self._size = 0

    @property
    def kept(self) -> int:
        """Pictures that were finished before."""
        return len(self._kept)

    def resume(self, sources: Iterable[ImageSource]) -> None:
        """Keep what an earlier run finished of these sources, and nothing else.

        Raises:
            UsageError: The earlier run had other settings, or it is not known which.
            ClipError: The file cannot be read or written.
        """
        if not self._path.exists() or self._path.stat().st_size == 0:
            return
        self._check_settings()
        try:
            self._compact(sources)
        except OSError as error:
            raise self._error(error) from error

    def pending(self, sources: Iterable[ImageSource]) -> Iterator[ImageSource]:
        """Yield the sources that are left to do, in whole batches, and note what `write` will need."""
        for batch in _batched(sources, self._batch_size):
            offsets = [self._kept.get(hash(source.path)) for source in batch]
            if None not in offsets:
                self._order.extend(offset for offset in offsets if offset is not None)
                continue
            self._order.extend([-1] * len(batch))
            self._stamps.extend(_stamp(source) for source in batch)
            yield from batch

    def write(self, records: Sequence[TaggedImage]) -> None:
        """Add the rows of the next pending sources, all in one write.

        Raises:
            ClipError: The file cannot be written.
        """
        stamps, self._stamps = self._stamps[: len(records)], self._stamps[len(records) :]
        lines = []
        for record, stamp in zip(records, stamps, strict=True):
            row = as_json(record)
            if stamp is not None:
                row["size"], row["mtime_ns"] = stamp
            lines.append((dump(row) + "\n").encode("utf-8", "backslashreplace"))
            self._added.append(self._size)
            self._size += len(lines[-1])
        try:
            stream = self._stream or self._open()
            stream.write(b"".join(lines))
            stream.flush()
        except OSError as error:
            raise self._error(error) from error

    def finish(self) -> None:
        """Bring the rows into the order of the sources, where changed pictures were done after their neighbours."""
        try:
            self._close()
            added = iter(self._added)
            order = array("q", (offset if offset >= 0 else next(added) for offset in self._order))
            rows = len(self._kept) + len(self._added)
            if len(order) == rows and all(a < b for a, b in pairwise(order)):
                return
            with open(self._path, "rb") as file:
                _replace_file(self._path, (_line_at(file, offset) for offset in order))
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Leave the file as it is, for another run to go on."""
        with suppress(OSError):
            self._close()

    def rows(self) -> Iterator[Row]:
        """Read all rows back."""
        with open(self._path, "rb") as file:
            yield from (json.loads(line) for line in file)

    def _check_settings(self) -> None:
        again = "leave --resume out to start anew, or give another --output"
        try:
            document = json.loads(self._settings_path.read_text(encoding="utf-8"))
            earlier = dict(document["settings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"--resume: {self._name}{SETTINGS_SUFFIX} is missing or damaged, so nothing tells how "
                f"{self._name} was made",
                hint=again,
            ) from error
        differing = [key for key in self._settings if self._settings[key] != earlier.get(key)]
        if differing:
            changes = "; ".join(_difference(key, earlier.get(key), self._settings[key]) for key in differing)
            raise UsageError(f"--resume: {self._name} was made with other settings: {changes}", hint=again)

    def _compact(self, sources: Iterable[ImageSource]) -> None:
        found = _index(self._path)
        kept = array("q")
        with open(self._path, "rb") as file:
            for batch in _batched(sources, self._batch_size):
                offsets = [found.get(hash(source.path)) for source in batch]
                finished = [o for o, s in zip(offsets, batch, strict=True) if o is not None and _is_done(file, o, s)]
                if len(finished) == len(batch):
                    kept.extend(finished)
            end = _end_of_prefix(file, kept)
            if end is None:
                _replace_file(self._path, (_line_at(file, offset) for offset in kept))
            else:
                os.truncate(self._path, end)
        self._kept = _index(self._path)
        self._size = self._path.stat().st_size

    @property
    def _settings_path(self) -> Path:
        return self._path.with_name(self._path.name + SETTINGS_SUFFIX)

    def _open(self) -> BinaryIO:
        """Open for the first row: at the end of what was kept, or anew."""
        if not self._kept:
            # Old rows go before the new settings come: those two must never be seen together.
            _replace_file(self._path, [])
            settings = json.dumps({"schema": "clipcli.tag-run/1", "settings": self._settings}, indent=1)
            _replace_file(self._settings_path, [settings.encode() + b"\n"])
        self._stream = open(self._path, "ab")
        return self._stream

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def _error(self, error: OSError) -> ClipError:
        return ClipError(
            f"--output {self._name}: {error.strerror or error}", hint="name a file in a folder you may write to"
        )


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _stamp(source: ImageSource) -> Stamp | None:
    """Size and modification time, before the picture is read; None where there is no file to look at."""
    if source.data is not None or source.error is not None:
        return None
    try:
        status = os.stat(source.path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _index(path: Path) -> dict[int, int]:
    """Where the row of each path is, by the hash of the path. A torn last line counts for nothing."""
    index: dict[int, int] = {}
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            row = _parse(line)
            if row is not None:
                index[hash(row["path"])] = offset
            offset += len(line)
    return index


def _parse(line: bytes) -> Row | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("path"), str) else None


def _is_done(file: BinaryIO, offset: int, source: ImageSource) -> bool:
    row = _parse(_line_at(file, offset))
    if row is None or row["path"] != source.path:
        return False
    error = row.get("error")
    if isinstance(error, dict) and error.get("type") not in _LASTING_FAILURES:
        return False
    stamp = _stamp(source)
    return stamp is not None and stamp == (row.get("size"), row.get("mtime_ns"))


def _line_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.readline()


def _end_of_prefix(file: BinaryIO, offsets: Sequence[int]) -> int | None:
    """Where the rows at some offsets end if they are the first lines of the file, in order, else None."""
    end = 0
    for offset in offsets:
        if offset != end:
            return None
        end += len(_line_at(file, offset))
    return end


def _difference(key: str, earlier: object, now: object) -> str:
    if isinstance(earlier, str | int | float | bool | None) and isinstance(now, str | int | float | bool | None):
        return f"{key} was {_said(earlier)}, now {_said(now)}"
    return f"{key} are others now"


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _replace_file(path: Path, lines: Iterable[bytes]) -> None:
    with open_destination(str(path)) as destination:
        for line in lines:
            destination.write(line.decode("utf-8"))
