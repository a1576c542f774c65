"""The manifest of a sorting: every step, written before it is carried out, so that it can be taken back."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from clipcli.errors import ClipError, UsageError
from clipcli.files import dump, replacing
from clipcli.library.events import Way

MANIFEST_NAME = "clip-manifest"
_SCHEMA = "clipcli.sorted/1"
_WAYS: dict[str, Way] = {"link": "link", "copy": "copy", "move": "move"}
_WHICH = f"a sorting leaves {MANIFEST_NAME}.jsonl in its folder"


@dataclass(frozen=True, slots=True)
class Move:
    """One file and where it goes; both paths are absolute."""

    way: Way
    source: str
    target: str


class Manifest:
    """The steps of a sorting, in a file that is made for the first of them."""

    def __init__(self, folder: str) -> None:
        """Nothing is touched yet."""
        self._folder = folder
        self._file: IO[str] | None = None

    @property
    def path(self) -> str | None:
        """Where it lies; None while there is no step."""
        return None if self._file is None else self._file.name

    def note(self, move: Move) -> None:
        """Write down a step that is about to be carried out.

        Raises:
            ClipError: The folder or the manifest cannot be written.
        """
        if self._file is None:
            self._file = _new_manifest(self._folder)
        self._file.write(dump(asdict(move)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _new_manifest(folder: str) -> IO[str]:
    try:
        os.makedirs(folder, exist_ok=True)
        taken = {name for name in os.listdir(folder) if name.startswith(MANIFEST_NAME)}
        names = (f"{MANIFEST_NAME}{'' if number == 1 else f'-{number}'}.jsonl" for number in count(1))
        name = next(name for name in names if name not in taken)
        file = open(os.path.join(folder, name), "x", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ClipError(
            f"{folder} cannot be sorted into: {error.strerror or error}", hint="name a folder that you may write to"
        ) from error
    file.write(dump({"schema": _SCHEMA}) + "\n")
    return file


def write_manifest(path: Path, moves: Sequence[Move]) -> None:
    """Write a manifest anew."""
    lines = [dump({"schema": _SCHEMA}), *(dump(asdict(move)) for move in moves)]
    with replacing(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def read_manifest(manifest: str) -> list[Move]:
    """Read the steps of a sorting, first step first.

    Raises:
        UsageError: This is not a manifest, or it is damaged.
    """
    try:
        lines = Path(manifest).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"{manifest}: {error.strerror or error}", hint=_WHICH) from error
    rows = list(_parsed(lines))
    if not rows or rows[0] != {"schema": _SCHEMA}:
        raise UsageError(f"{manifest}: this is not the manifest of a sorting", hint=_WHICH)
    try:
        moves = [Move(_WAYS[row["way"]], str(row["source"]), str(row["target"])) for row in rows[1:]]
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{manifest}: this manifest is damaged", hint="nothing was taken back; its lines tell what was done"
        ) from error
    return moves


def _parsed(lines: Sequence[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.endswith(b"\n"):  # a torn last line was never carried out
            try:
                yield json.loads(line)
            except ValueError:
                yield None
