"""The manifest of a sorting: every step, written before it is carried out, so that it can be undone.

A manifest may come with a folder that somebody handed over, so what it says is checked before it is believed: see
`undo`.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from clipcli.errors import ClipError, UsageError
from clipcli.files import alone_in, dump, lock, open_regular, read_regular, replacing
from clipcli.library.events import Way

_NAME = re.compile(r"clip-manifest(?:-(\d{1,9}))?\.jsonl")
_HEADER = {"schema": "clipcli.sorted/1"}
_WAYS: dict[str, Way] = {"link": "link", "copy": "copy", "move": "move"}
WHICH = "a sorting leaves clip-manifest.jsonl in its folder"
# Five million images with paths of 200 characters.
_LARGEST_BYTES = 2_500_000_000
# Two paths of 4,096 bytes, each byte as an escape.
_LONGEST_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Move:
    """One file and where it goes; both paths are absolute."""

    way: Way
    source: str
    target: str


class Manifest:
    """The steps of a sorting, in a file that is made for the first of them and locked while it is written.

    Only one of the sortings into a folder is `claiming` at any time. So one that was killed has noted at most one step
    that it did not carry out: its last one, whose name nothing else may get, or two manifests would claim one file.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = 0
        self._number: int | None = None
        self._others: list[str] = []
        self._claimed: dict[str, Move] = {}
        self.path: str | None = None
        """Where it lies; None while there is no step."""

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Choose names, note steps and carry them out while no other sorting into the folder does.

        Raises:
            ClipError: The folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(alone_in(self._folder))
                self._look_at_others()
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def is_claimed(self, move: Move) -> bool:
        """Whether a sorting that was killed has noted another step to the same name, and may not have done it."""
        return self._claimed.get(move.target, move) != move

    def note(self, move: Move) -> None:
        """Write down a step that is about to be carried out; while `claiming`.

        Raises:
            ClipError: The folder or the manifest cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._create()
                self._write(_HEADER)
            self._write(asdict(move))
        except OSError as error:
            self._give_up()
            raise self._unwritable(error) from error

    def withdraw(self, move: Move) -> None:
        """Take the last step out again: it was not carried out."""
        if self._file is not None:
            self._end -= len(_line(asdict(move)))
            self._file.truncate(self._end)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _create(self) -> BinaryIO:
        number = self._number or 0
        while True:
            number += 1
            path = os.path.join(self._folder, _name(number))
            try:  # appended to, so that a line always follows what was cut off last
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            except FileExistsError:
                continue  # where folders cannot be locked, another run was quicker
            stream = os.fdopen(file, "ab", buffering=0)
            lock(stream)
            if not os.path.lexists(path):
                continue  # an undoing took the empty file for one that was left
            self._number, self.path = number, path
            return stream

    def _look_at_others(self) -> None:
        """Find the last steps of sortings that run no more; all those of running ones are carried out."""
        if self._number is None:
            found = list(_numbered(self._folder))
            self._others = [os.path.join(self._folder, name) for _, name in found]
            self._number = max((number for number, _ in found), default=0)
        while os.path.lexists(path := os.path.join(self._folder, _name(self._number + 1))):
            self._number += 1
            self._others.append(path)
        for path in self._others.copy():
            try:
                with open_regular(path) as stream:
                    lock(stream)
                    last = _last_step(stream)
            except BlockingIOError:
                continue
            except OSError:
                last = None  # taken back meanwhile
            self._others.remove(path)
            if last is not None and not os.path.lexists(last.target):
                self._claimed[last.target] = last

    def _unwritable(self, error: OSError) -> ClipError:
        return ClipError(
            f"{self._folder} cannot be sorted into: {error.strerror or error}",
            hint="make room, or name a folder that you may write to; what is done so far can be undone",
        )

    def _write(self, row: object) -> None:
        assert self._file is not None
        line = memoryview(_line(row))
        position = 0
        while position < len(line):
            position += self._file.write(line[position:])
        self._end += len(line)

    def _give_up(self) -> None:
        """Leave no torn line; and no manifest, where not one step was written."""
        if self._file is not None and self.path is not None:
            self._file.truncate(self._end)
            self.close()
        if self._end <= len(_line(_HEADER)):
            if self.path is not None:
                Path(self.path).unlink(missing_ok=True)
            self.path = None


def manifests_of(path: str) -> list[str]:
    """The manifests that a path stands for, the latest first: itself, or those in a folder.

    Raises:
        UsageError: The folder has none.
    """
    if not os.path.isdir(path):
        return [path]
    found = [os.path.join(path, name) for _, name in sorted(_numbered(path), reverse=True)]
    if not found:
        raise UsageError(f"{path}: this folder has no manifest of a sorting", hint=WHICH)
    return found


def read_manifest(path: str) -> list[Move]:
    """Read the steps of a sorting, first step first; none if it was killed before the first.

    Raises:
        UsageError: This is not a manifest, or it is damaged.
    """
    try:
        data = read_regular(path, _LARGEST_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", hint=WHICH) from error
    if _NAME.fullmatch(os.path.basename(path)) and _line(_HEADER).startswith(data):
        return []
    rows = list(_parsed(data.splitlines(keepends=True)))
    if not rows or rows[0] != _HEADER:
        raise UsageError(f"{path}: this is not the manifest of a sorting", hint=WHICH)
    moves = [_move(row) for row in rows[1:]]
    sound = [move for move in moves if move is not None]
    if len(sound) < len(moves):
        raise UsageError(f"{path}: this manifest is damaged", hint="nothing was undone; read it to see what was done")
    return sound


def write_manifest(path: Path, moves: Sequence[Move]) -> None:
    """Write a manifest anew."""
    with replacing(path) as stream:
        stream.write(_line(_HEADER))
        stream.writelines(_line(asdict(move)) for move in moves)


def _line(row: object) -> bytes:
    return (dump(row) + "\n").encode("utf-8", "backslashreplace")


def _name(number: int) -> str:
    return "clip-manifest.jsonl" if number == 1 else f"clip-manifest-{number}.jsonl"


def _last_step(stream: BinaryIO) -> Move | None:
    """The last step of a manifest, if it has one that is whole."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 2 * _LONGEST_LINE_BYTES))
    lines = list(_parsed(stream.read().splitlines(keepends=True)))
    return _move(lines[-1]) if lines else None


def _numbered(folder: str) -> Iterator[tuple[int, str]]:
    for name in os.listdir(folder):
        match = _NAME.fullmatch(name)
        if match:
            yield int(match[1] or 1), name


def _parsed(lines: Sequence[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.endswith(b"\n"):  # a torn last line was never carried out
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def _move(row: Any) -> Move | None:
    """A step, if that is what a row of the manifest is."""
    if not isinstance(row, dict) or set(row) != {"way", "source", "target"}:
        return None
    way, source, target = row["way"], row["source"], row["target"]
    if not all(isinstance(value, str) and "\0" not in value for value in (way, source, target)) or way not in _WAYS:
        return None
    return Move(_WAYS[way], source, target)
