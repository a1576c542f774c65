"""Images into one folder a label, by links, copies or moves, and back again.

Every step is in a manifest before it is done, so whatever interrupts a sorting, `--undo` takes back what was done.
Nothing that exists is ever overwritten.
"""

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from clipcli.cli.output.json import dump
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.wording import counted
from clipcli.cli.tagging.options import Way
from clipcli.errors import ClipError, UsageError
from clipcli.files import replacing

MANIFEST_NAME = "clip-manifest"
_SCHEMA = "clipcli.sorted/1"
_WAYS: dict[str, Way] = {"link": "link", "copy": "copy", "move": "move"}
_WHICH = f"a sorting leaves {MANIFEST_NAME}.jsonl in its folder"
_ERRORS = (OSError, shutil.Error)
# What Windows does not allow in names; a slash is one on every system.
_FORBIDDEN = '<>:"/\\|?*'


@dataclass(frozen=True, slots=True)
class Move:
    """One file and where it goes; both paths are absolute."""

    way: Way
    source: str
    target: str


class Sorter:
    """Puts images into the folders of their best labels."""

    def __init__(
        self, folder: str, way: Way, levels: Mapping[str, Sequence[str]], *, dry_run: bool, quiet: bool
    ) -> None:
        """Choose where images go.

        Args:
            folder: Gets a folder for each label, levels of a hierarchy inside each other.
            way: How they get there.
            levels: The levels of each label.
            dry_run: Say what would be done, and do nothing.
            quiet: Say nothing but errors.
        """
        self._folder = os.path.abspath(folder)
        self._way = way
        self._levels = levels
        self._dry_run = dry_run
        self._quiet = quiet
        self._planned: set[str] = set()

    def sort(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Sort all images that have a tag.

        Returns:
            How many could not be sorted; each is said.

        Raises:
            ClipError: The folder or its manifest cannot be written.
        """
        done = there = failed = 0
        with closing(_Manifest(self._folder)) as manifest:
            for row in rows:
                if not row.get("tags"):
                    continue
                try:
                    sorted_now = self._sort_one(row["path"], row["tags"][0]["label"], manifest)
                    done += sorted_now
                    there += not sorted_now
                except _ERRORS as error:
                    failed += 1
                    say(f"{row['path']} could not be sorted: {_reason(error)}")
        if not self._quiet and not self._dry_run:
            hint = f"to take it back: clip tag --undo {manifest.path}" if done else None
            rest = f"; already there: {counted(there, 'image')}" if there else ""
            say(f"{counted(done, 'image')} sorted into {self._folder}{rest}", hint=hint)
        return failed

    def _sort_one(self, path: str, label: str, manifest: "_Manifest") -> bool:
        """Sort an image; False if it is in its place."""
        source = os.path.abspath(path)
        if not os.path.exists(source):
            raise FileNotFoundError(errno.ENOENT, "it has vanished")
        folder = os.path.join(self._folder, *(_folder_name(level) for level in self._levels[label]))
        moves = self._moves(source, folder)
        for move in moves:
            self._planned.add(move.target)
            if self._dry_run:
                say(f"would {move.way} {move.source} to {move.target}")
                continue
            manifest.note(move)
            os.makedirs(folder, exist_ok=True)
            _carry_out(move)
        return bool(moves)

    def _moves(self, source: str, folder: str) -> list[Move]:
        """The image and, unless it is linked, its sidecars, under the first number that is free for all of them."""
        if os.path.realpath(os.path.dirname(source)) == os.path.realpath(folder):
            return []
        stem, extension = os.path.splitext(os.path.basename(source))
        sidecars = _sidecars(source) if self._way != "link" else []
        number = 0
        while True:
            number += 1
            base = os.path.join(folder, stem if number == 1 else f"{stem}-{number}")
            if self._way != "move" and _is_there(self._way, source, base + extension):
                return []  # a sorting that is done again
            moves = [Move(self._way, source, base + extension)]
            moves += [Move(self._way, sidecar, base + ending) for sidecar, ending in sidecars]
            if not any(os.path.lexists(move.target) or move.target in self._planned for move in moves):
                return moves


def undo(manifest: str, *, dry_run: bool, quiet: bool) -> None:
    """Take a sorting back, last step first, and remove the manifest.

    What has changed since is left alone and said; the manifest then keeps those steps.

    Raises:
        UsageError: This is no manifest.
        ClipError: Something could not be taken back.
    """
    moves = _read_manifest(manifest)
    left: list[Move] = []
    done = 0
    for move in reversed(moves):
        if dry_run:
            say(
                f"would take {move.target} back to {move.source}"
                if move.way == "move"
                else f"would remove {move.target}"
            )
            continue
        try:
            done += _take_back(move)
        except _ERRORS as error:
            left.append(move)
            say(f"{move.target} is left alone: {_reason(error)}")
    if dry_run:
        return
    _remove_empty_folders(moves, os.path.dirname(os.path.abspath(manifest)))
    if left:
        _write_manifest(Path(manifest), left[::-1])
        raise ClipError(
            f"{len(left)} of {len(moves)} steps of {manifest} could not be taken back",
            hint="the lines above say why; mend that, and give the same command again",
        )
    os.unlink(manifest)
    if not quiet:
        say(f"{counted(done, 'file')} taken back")


def _folder_name(level: str) -> str:
    """A label as the name of a folder, on every system."""
    name = "".join("_" if character in _FORBIDDEN or not character.isprintable() else character for character in level)
    return name.strip(" .") or "_"


def _sidecars(source: str) -> list[tuple[str, str]]:
    """Sidecars that belong to an image alone, each with what follows the stem in its name."""
    stem, extension = os.path.splitext(source)
    found = [(f"{source}.xmp", f"{extension}.xmp")] if os.path.isfile(f"{source}.xmp") else []
    if os.path.isfile(f"{stem}.xmp"):
        name = os.path.basename(stem)
        namesakes = [entry for entry in os.listdir(os.path.dirname(source)) if os.path.splitext(entry)[0] == name]
        if len(namesakes) == 2:  # the image and the sidecar
            found.append((f"{stem}.xmp", ".xmp"))
    return found


def _is_there(way: Way, source: str, target: str) -> bool:
    """Whether an earlier sorting, interrupted or not, has put this very image there."""
    if way == "link":
        return os.path.islink(target) and os.readlink(target) == source
    return os.path.isfile(target) and not os.path.islink(target) and filecmp.cmp(source, target, shallow=False)


def _carry_out(move: Move) -> None:
    match move.way:
        case "link":
            os.symlink(move.source, move.target)
        case "copy":
            _copy_verified(move.source, move.target)
        case "move":
            _move_verified(move.source, move.target)


def _move_verified(source: str, target: str) -> None:
    """Rename within a file system; across, remove the source only after its copy has been read back and compared."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, f"{target} is there")
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_verified(source, target)
        os.unlink(source)


def _copy_verified(source: str, target: str) -> None:
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        shutil.copy2(source, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if not filecmp.cmp(source, temporary, shallow=False):
            raise OSError(errno.EIO, "the copy differs from the original")
        os.rename(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _take_back(move: Move) -> bool:
    """Undo one step; False if it was never done, or is undone already."""
    if not os.path.lexists(move.target):
        return False
    if move.way == "move":
        os.makedirs(os.path.dirname(move.source), exist_ok=True)
        _move_verified(move.target, move.source)
        return True
    if not _is_there(move.way, move.source, move.target):
        raise OSError(errno.EBUSY, "it has changed since, or its original is gone")
    os.unlink(move.target)
    return True


def _remove_empty_folders(moves: Sequence[Move], root: str) -> None:
    folders = {os.path.dirname(move.target) for move in moves}
    for folder in sorted(folders, key=len, reverse=True):
        while folder.startswith(root + os.sep):
            try:
                os.rmdir(folder)
            except OSError:
                break  # not empty, or gone
            folder = os.path.dirname(folder)


class _Manifest:
    """The steps of a sorting, in a file that is made for the first of them."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    @property
    def path(self) -> str | None:
        return None if self._file is None else self._file.name

    def note(self, move: Move) -> None:
        if self._file is None:
            self._file = _new_manifest(self._folder)
        self._file.write(dump(asdict(move)) + "\n")
        self._file.flush()

    def close(self) -> None:
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
            f"--sort-into {folder}: {error.strerror or error}", hint="name a folder that you may write to"
        ) from error
    file.write(dump({"schema": _SCHEMA}) + "\n")
    return file


def _write_manifest(path: Path, moves: Sequence[Move]) -> None:
    lines = [dump({"schema": _SCHEMA}), *(dump(asdict(move)) for move in moves)]
    with replacing(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _read_manifest(manifest: str) -> list[Move]:
    try:
        lines = Path(manifest).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"--undo {manifest}: {error.strerror or error}", hint=_WHICH) from error
    rows = list(_parsed(lines))
    if not rows or rows[0] != {"schema": _SCHEMA}:
        raise UsageError(f"--undo {manifest}: this is no manifest of clip tag --sort-into", hint=_WHICH)
    try:
        moves = [Move(_WAYS[row["way"]], str(row["source"]), str(row["target"])) for row in rows[1:]]
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"--undo {manifest}: this manifest is damaged", hint="nothing was taken back; its lines tell what was done"
        ) from error
    return moves


def _parsed(lines: Sequence[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.endswith(b"\n"):  # a torn last line was never carried out
            try:
                yield json.loads(line)
            except ValueError:
                yield None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
