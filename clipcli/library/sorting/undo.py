"""A sorting taken back, from its manifest.

A manifest is a file like any other, and may come with a folder from somebody else. So a step is taken back only if it
can be one of a sorting into that folder, and only if no content is lost.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from clipcli.errors import ClipError, UsageError
from clipcli.files import alone_in, lock, open_regular
from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.library.events import LeftAlone, TakenBack
from clipcli.library.sorting.manifest import WHICH, Move, manifests_of, read_manifest, write_manifest
from clipcli.library.sorting.placing import (
    ERRORS,
    is_beginning,
    is_regular,
    is_there,
    location,
    move_verified,
    reason,
    temporaries_of,
)

SORTABLE = IMAGE_EXTENSIONS | {".xmp"}


def undo(path: str, *, dry_run: bool = False) -> Iterator[TakenBack | LeftAlone]:
    """Take a sorting back, last step first, and remove the manifest and the folders that are empty then.

    What has changed since, and what no sorting into this folder can have done, is left alone; the manifest then keeps
    those steps.

    Args:
        path: The manifest, or the folder that was sorted into: all sortings into it, the last one first.
        dry_run: Say what would be done, and do nothing.

    Raises:
        UsageError: This is not a manifest, or the folder has none.
        ClipError: A sorting into the folder is still running, or the manifest cannot be written.
    """
    with ExitStack() as stack:
        manifests: dict[str, list[Move]] = {}
        for manifest in manifests_of(path):
            if not dry_run:
                _keep_sortings_away(manifest, stack)  # before it is read, or steps could follow
            manifests[manifest] = read_manifest(manifest)
        for manifest, moves in manifests.items():
            yield from _undo_one(manifest, moves, dry_run=dry_run)


def _undo_one(manifest: str, moves: Sequence[Move], *, dry_run: bool) -> Iterator[TakenBack | LeftAlone]:
    root = os.path.realpath(os.path.dirname(os.path.abspath(manifest)))
    place = _place_before(moves, root)
    left: list[Move] = []
    for move in reversed(moves):
        try:
            _refuse_foreign(move, root, place)
            if _take_back(move, dry_run=dry_run):
                yield TakenBack(move.way, move.source, move.target)
        except ERRORS as error:
            left.append(move)
            yield LeftAlone(move.target, reason(error))
    if dry_run:
        return
    try:
        with alone_in(root):
            if left:
                write_manifest(Path(manifest), left[::-1])
            else:
                os.unlink(manifest)
            _remove_empty_folders(moves, root)
    except OSError as error:
        raise ClipError(
            f"{manifest} cannot be written: {reason(error)}", hint="allow writing, and undo again"
        ) from error


def _keep_sortings_away(manifest: str, stack: ExitStack) -> None:
    try:
        lock(stack.enter_context(open_regular(manifest)))
    except BlockingIOError as error:
        raise ClipError(f"{manifest} is being written by a running sorting", hint="wait until it ends") from error
    except OSError as error:
        raise UsageError(f"{manifest}: {reason(error)}", hint=WHICH) from error


def _place_before(moves: Sequence[Move], root: str) -> Path | None:
    """Where a folder was when it was sorted into, if it was moved since and nothing is there now."""
    targets = [move.target for move in moves if os.path.isabs(move.target)]
    if not targets or any(location(target).startswith(root + os.sep) for target in targets):
        return None
    nearest = Path(os.path.commonpath([os.path.dirname(target) for target in targets]))
    for place in (nearest, *nearest.parents):
        if any(os.path.lexists(os.path.join(root, os.path.relpath(target, place))) for target in targets):
            return None if os.path.lexists(place) else place
    return None


def _refuse_foreign(move: Move, root: str, place: Path | None) -> None:
    """Refuse what no sorting into a folder can have done.

    Args:
        move: The step.
        root: The folder.
        place: Where the folder was before it was moved, if it was.

    Raises:
        PermissionError: Saying why.
    """
    target = location(move.target)
    ending = os.path.splitext(move.target)[1].lower()
    if not (os.path.isabs(move.source) and os.path.isabs(move.target)):
        why = "its paths are not absolute"
    elif not target.startswith(root + os.sep):
        if place is not None:
            raise PermissionError(
                errno.EPERM, f"{root} was moved; move it back to {place}, or link it there, and undo {place}"
            )
        why = "it lies outside the sorted folder"
    elif target == location(move.source):
        why = "source and target are the same file"
    elif move.way == "move" and not (ending in SORTABLE and ending == os.path.splitext(move.source)[1].lower()):
        why = "it has no image's or sidecar's file name"
    elif move.way == "move" and os.path.lexists(target) and not is_regular(target):
        why = "it is not a file"
    else:
        return
    raise PermissionError(errno.EPERM, f"no sorting has done this: {why}")


def _take_back(move: Move, *, dry_run: bool) -> bool:
    """Undo one step; False if it was never done, or is undone already."""
    leftovers = [*temporaries_of(move.target), *_torn_copies_back(move)]
    if not dry_run:
        for temporary in leftovers:
            os.unlink(temporary)
    if not os.path.lexists(move.target):
        return bool(leftovers)
    if move.way == "move" and not os.path.lexists(move.source):
        if not dry_run:
            os.makedirs(os.path.dirname(move.source), exist_ok=True)
            move_verified(move.target, move.source)
        return True
    if move.way == "link":
        removable = is_there(move.way, move.source, move.target)
    else:
        removable = _has_twin(move)
    if not removable:
        raise OSError(errno.EBUSY, "it has changed since, or its original is gone or another")
    if not dry_run:
        os.unlink(move.target)
    return True


def _torn_copies_back(move: Move) -> list[str]:
    """What an undoing across file systems that was killed has left where an image comes from; copies, and no more."""
    whole = move.target if os.path.lexists(move.target) else move.source
    return [path for path in temporaries_of(move.source) if move.way == "move" and is_beginning(path, whole)]


def _has_twin(move: Move) -> bool:
    """Whether removing the target loses nothing: the source is another file with the same content.

    So it is after a copy, and after a move that was killed before its source was removed. A move within a file system
    then has given one file two names; where it has one name only, the two paths are the same name.
    """
    if not is_there(move.way, move.source, move.target):
        return False
    if os.path.samefile(move.source, move.target):
        return move.way == "move" and is_regular(move.source) and os.stat(move.target).st_nlink > 1
    return True


def _remove_empty_folders(moves: Sequence[Move], root: str) -> None:
    folders = {os.path.realpath(os.path.dirname(move.target)) for move in moves} | {root}
    for folder in sorted(folders, key=len, reverse=True):
        while folder == root or folder.startswith(root + os.sep):
            try:
                os.rmdir(folder)
            except OSError:
                break  # not empty, or gone
            folder = os.path.dirname(folder)
