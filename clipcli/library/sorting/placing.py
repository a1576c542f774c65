"""One file put into its place: a link, a copy, or a move. Nothing that exists is ever replaced."""

import errno
import filecmp
import os
import shutil
from contextlib import suppress

from clipcli.library.events import Way
from clipcli.library.sorting.manifest import Move

ERRORS = (OSError, shutil.Error)


def is_there(way: Way, source: str, target: str) -> bool:
    """Whether an earlier sorting, interrupted or not, has put this very image there."""
    if way == "link":
        return os.path.islink(target) and os.readlink(target) == source
    return os.path.isfile(target) and not os.path.islink(target) and filecmp.cmp(source, target, shallow=False)


def carry_out(move: Move) -> None:
    """Do one step.

    Raises:
        OSError: It cannot be done; nothing has changed.
    """
    match move.way:
        case "link":
            os.symlink(move.source, move.target)
        case "copy":
            _copy_verified(move.source, move.target)
        case "move":
            move_verified(move.source, move.target)


def move_verified(source: str, target: str) -> None:
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


def reason(error: Exception) -> str:
    """What to say of an error while a file was put into its place."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
