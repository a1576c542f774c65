"""A sorting taken back, from its manifest."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipcli.library.events import LeftAlone, TakenBack
from clipcli.library.sorting.manifest import Move, read_manifest, write_manifest
from clipcli.library.sorting.placing import ERRORS, is_there, move_verified, reason


def undo(manifest: str, *, dry_run: bool = False) -> Iterator[TakenBack | LeftAlone]:
    """Take a sorting back, last step first, and remove the manifest.

    What has changed since is left alone; the manifest then keeps those steps.

    Args:
        manifest: The file that the sorting has left in its folder.
        dry_run: Say what would be done, and do nothing.

    Raises:
        UsageError: This is not a manifest.
    """
    moves = read_manifest(manifest)
    left: list[Move] = []
    for move in reversed(moves):
        try:
            if dry_run or _take_back(move):
                yield TakenBack(move.way, move.source, move.target)
        except ERRORS as error:
            left.append(move)
            yield LeftAlone(move.target, reason(error))
    if dry_run:
        return
    _remove_empty_folders(moves, os.path.dirname(os.path.abspath(manifest)))
    if left:
        write_manifest(Path(manifest), left[::-1])
    else:
        os.unlink(manifest)


def _take_back(move: Move) -> bool:
    """Undo one step; False if it was never done, or is undone already."""
    if not os.path.lexists(move.target):
        return False
    if move.way == "move":
        os.makedirs(os.path.dirname(move.source), exist_ok=True)
        move_verified(move.target, move.source)
        return True
    if not is_there(move.way, move.source, move.target):
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
