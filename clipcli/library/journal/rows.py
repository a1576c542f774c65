"""The output file of a run as a journal: it grows by whole batches, and an interrupted run goes on with it.

A line is one image's row together with size and times of the file that it was made of. A file beside
them holds the settings and where each batch of rows ends, see `run_file`. Whatever kills the run, at any moment:

- Rows that are torn, or not part of a whole batch, are cut off and done again.
- Images that have changed are done again, together with those that shared their batch: the last digit of a number
  may depend on the company, and the finished file shall equal, line for line, that of a run never disturbed.
- What is to be done again is dropped before anything is added, so no image ever has two rows.

Takes about 150 bytes of memory an image.
"""

import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from clipcli.files import dump, replacing
from clipcli.images.find import ImageSource, Pause
from clipcli.library.journal.run_file import RunFile

Row = dict[str, Any]
# Size, modification time and change time: the last because tools that edit in place restore the one before.
Stamp = tuple[int, int, int]
_STAMP = ("size", "mtime_ns", "ctime_ns")

# Failures that lie in the image, which fails again as long as it does not change. All others are tried again.
_LASTING_FAILURES = ("UnreadableImage", "ImageTooLarge")


class Journal:
    """Rows in a file, in the end in the order of the sources."""

    def __init__(self, run_file: RunFile, settings: Mapping[str, Any]) -> None:
        """Nothing is touched yet.

        Args:
            run_file: Knows where rows go.
            settings: All that a row depends on besides the image, by the words that errors use.
        """
        self._run_file = run_file
        self._path = run_file.rows_path
        self._settings: Row = json.loads(dump(dict(settings)))  # as it comes back from the file: lists for tuples
        self._rows: BinaryIO | None = None
        self._kept: dict[int, int] = {}  # hash of the path -> where its row begins
        self._kept_rows = 0  # more, where an image was named twice
        self._stamps: list[Stamp | None] = []  # of the sources handed out, until their rows are written
        self._order = array("q")  # where the row of each source begins; -1 while it is yet to be written
        self._added = array("q")
        self._size = 0

    @property
    def kept(self) -> int:
        """Rows of images that were finished before."""
        return self._kept_rows

    def resume(self) -> None:
        """Keep what an earlier run finished, as far as its images have not changed since.

        Raises:
            UsageError: The earlier run had other settings, or it is not known which.
            ClipError: The file cannot be read or written.
        """
        if not self._path.exists() or self._path.stat().st_size == 0:
            return
        try:
            self._keep(self._run_file.read(self._settings))
        except OSError as error:
            raise self._run_file.error(error) from error

    def pending(self, sources: Iterable[ImageSource | Pause]) -> Iterator[ImageSource | Pause]:
        """Yield the sources that are left to do, and note what `write` will need."""
        for source in sources:
            if isinstance(source, Pause):  # no image, so there will be no row
                yield source
                continue
            offset = self._kept.get(hash(source.path))
            self._order.append(-1 if offset is None else offset)
            if offset is None:
                self._stamps.append(_stamp(source))
                yield source

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of the next pending sources: a batch, in one write.

        Raises:
            ClipError: The file cannot be written.
        """
        stamps, self._stamps = self._stamps[: len(rows)], self._stamps[len(rows) :]
        lines = []
        for row, stamp in zip(rows, stamps, strict=True):
            stamped = row if stamp is None else {**row, **dict(zip(_STAMP, stamp, strict=True))}
            lines.append((dump(stamped) + "\n").encode("utf-8", "backslashreplace"))
            self._added.append(self._size)
            self._size += len(lines[-1])
        try:
            if self._rows is None:
                self._rows = self._open()
            self._rows.write(b"".join(lines))
            self._rows.flush()
            self._run_file.add(self._size)
        except OSError as error:
            raise self._run_file.error(error) from error

    def finish(self) -> None:
        """Close the file and leave it as it is, for another run to go on."""
        if self._rows is not None:
            with suppress(OSError):  # every batch was flushed, and would have said so
                self._rows.close()
        self._rows = None
        self._run_file.close()

    def put_in_order(self) -> None:
        """Bring the rows of a complete run into the order of the sources, and drop those that are no source's.

        Raises:
            ClipError: The file cannot be written.
        """
        self.finish()
        added = iter(self._added)
        order = array("q", (offset if offset >= 0 else next(added) for offset in self._order))
        rows = self._kept_rows + len(self._added)
        if len(order) == rows and all(a < b for a, b in pairwise(order)):
            return
        try:
            self._rewrite(order, self._run_file.read(self._settings))
        except OSError as error:
            raise self._run_file.error(error) from error

    def retire(self) -> None:
        """Keep the rows alone: they are complete, and nobody will resume the run."""
        self._run_file.retire()

    def rows(self) -> Iterator[Row]:
        """Read all rows back."""
        with open(self._path, "rb") as file:
            yield from (json.loads(line) for line in file)

    def _keep(self, ends: "array[int]") -> None:
        kept = array("q")
        position = 0
        with open(self._path, "rb") as file:
            for _, batch in groupby(_lines(file, ends), key=lambda item: item[0]):
                rows = [(offset, line) for _, offset, line in batch]
                paths = [_path_if_done(line) for _, line in rows]
                if None not in paths:
                    self._kept.update((hash(path), offset) for path, (offset, _) in zip(paths, rows, strict=True))
                    kept.extend(offset for offset, _ in rows)
                    position += sum(len(line) for _, line in rows)
        if kept and position != _end_of_line(self._path, kept[-1]):  # something before the last is not kept
            self._rewrite(kept, ends)
            self._kept = _index(self._path)
        else:
            os.truncate(self._path, position)
            self._run_file.write(self._settings, (end for end in ends if end <= position))
        self._kept_rows = len(kept)
        self._size = position

    def _rewrite(self, offsets: Sequence[int], ends: Sequence[int]) -> None:
        """Make the file of the rows at some offsets, keeping together what was a batch."""
        new_ends: list[int] = []
        size = 0
        with open(self._path, "rb") as file, replacing(self._path) as new:
            for _, batch in groupby(offsets, key=lambda offset: bisect_right(ends, offset)):
                for offset in batch:
                    line = _line_at(file, offset)
                    new.write(line)
                    size += len(line)
                new_ends.append(size)
        self._run_file.write(self._settings, new_ends)

    def _open(self) -> BinaryIO:
        """Open for the first batch: at the end of what was kept, or anew."""
        if not self._kept:
            # Old rows go before the new settings come: those two must never be seen together.
            with replacing(self._path):
                pass
            self._run_file.write(self._settings, [])
        return open(self._path, "ab")


def _stamp(source: ImageSource) -> Stamp | None:
    """The file's stamp, which changes when the file does, taken before the image is read; None if it has no file."""
    if source.data is not None or source.error is not None:
        return None
    return _stamp_of(source.path)


def _stamp_of(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _lines(file: BinaryIO, ends: "array[int]") -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines of whole batches: number of the batch, where the line begins, the line."""
    offset = 0
    for line in file:
        batch = bisect_right(ends, offset)
        if batch == len(ends) or not line.endswith(b"\n"):
            return
        yield batch, offset, line
        offset += len(line)


def _path_if_done(line: bytes) -> str | None:
    """The path of a row that need not be done again, else None."""
    row = _parse(line)
    if row is None:
        return None
    error = row.get("error")
    if isinstance(error, dict) and error.get("type") not in _LASTING_FAILURES:
        return None
    path: str = row["path"]
    stamp = _stamp_of(path)
    return path if stamp is not None and stamp == tuple(row.get(key) for key in _STAMP) else None


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("path"), str) else None


def _index(path: Path) -> dict[int, int]:
    index: dict[int, int] = {}
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            index[hash(json.loads(line)["path"])] = offset
            offset += len(line)
    return index


def _line_at(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.readline()


def _end_of_line(path: Path, offset: int) -> int:
    with open(path, "rb") as file:
        return offset + len(_line_at(file, offset))
