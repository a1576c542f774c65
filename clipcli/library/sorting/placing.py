"""One file put into its place: a link, a copy, or a move. Nothing that exists is ever replaced.

A file gets its place by a hard link, which fails where there is something already, however many programs write into
the folder; only then is its old name removed. Killed in between, the file has both names and is whole.
"""

import errno
import filecmp
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from clipcli.library.events import Way
from clipcli.library.sorting.manifest import Move

ERRORS = (OSError, shutil.Error)
_TEMPORARY_SUFFIX = ".clip-tmp"
# What file systems answer that have no hard links, and systems that do not let everybody make them.
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def carry_out(move: Move, root: str) -> None:
    """Do one step.

    Args:
        move: The step.
        root: The sorted folder: see `link_text`.

    Raises:
        FileExistsError: Something lies at the target already.
        OSError: It cannot be done; nothing has changed.
    """
    match move.way:
        case "link":
            os.symlink(link_text(move.source, move.target, root), move.target)
        case "copy":
            _copy_verified(move.source, move.target)
        case "move":
            move_verified(move.source, move.target)


def move_verified(source: str, target: str) -> None:
    """Rename within a file system; across, remove the source only after its copy has been read back and compared.

    Raises:
        FileExistsError: Something lies at the target already.
        OSError: It cannot be done; nothing has changed.
    """
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_verified(source, target)
        _remove_or_take_back(source, target)


def link_text(source: str, target: str, root: str) -> str:
    """What a link says: relative where the image lies beside the sorted folder or below, so that both move together.

    Args:
        source: The image; absolute.
        target: The link; absolute.
        root: The sorted folder; absolute.
    """
    image, folder = location(source), os.path.realpath(os.path.dirname(target))
    beside = os.path.dirname(os.path.realpath(root))
    if beside != os.path.dirname(beside) and image.startswith(beside + os.sep):
        return os.path.relpath(image, folder)
    return source


def location(path: str) -> str:
    """Where a name really lies; a link at the end is not followed."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def is_there(way: Way, source: str, target: str) -> bool:
    """Whether an earlier sorting, interrupted or not, has put this very image there."""
    if way == "link":
        if not os.path.islink(target):
            return False
        return location(os.path.join(os.path.dirname(target), os.readlink(target))) == location(source)
    return is_regular(target) and os.path.isfile(source) and _same_content(source, target)


def is_regular(path: str) -> bool:
    """Whether a name is that of a file; a link to one is not."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def temporaries_of(target: str) -> Iterator[str]:
    """What a killed copy to a target has left beside it."""
    folder, name = os.path.split(target)
    with suppress(OSError):
        for entry in os.listdir(folder):
            path = os.path.join(folder, entry)
            if entry.startswith(_temporary_prefix(name)) and entry.endswith(_TEMPORARY_SUFFIX) and is_regular(path):
                yield path


def is_beginning(part: str, whole: str) -> bool:
    """Whether a file holds nothing but what another one begins with.

    Raises:
        OSError: One of the two cannot be read.
    """
    if not is_regular(whole):
        return False
    with open(part, "rb") as one, open(whole, "rb") as other:
        while piece := one.read(2**20):
            if other.read(len(piece)) != piece:
                return False
    return True


def reason(error: Exception) -> str:
    """What to say of an error while a file was put into its place."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _rename(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_without_links(source, target)
    else:
        _remove_or_take_back(source, target)


def _rename_without_links(source: str, target: str) -> None:
    """Take the name with an empty file, which fails where there is something already, then put the file there."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        os.replace(source, target)
    except OSError:
        os.unlink(target)
        raise


def _remove_or_take_back(source: str, target: str) -> None:
    """Remove a file that has its new place; where that is not allowed, it gives its new place up."""
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise


def _copy_verified(source: str, target: str) -> None:
    folder, name = os.path.split(target)
    handle, temporary = tempfile.mkstemp(prefix=_temporary_prefix(name), suffix=_TEMPORARY_SUFFIX, dir=folder)
    try:
        with open(source, "rb") as original, os.fdopen(handle, "wb") as copy:
            shutil.copyfileobj(original, copy, 2**20)
            copy.flush()
            os.fsync(copy.fileno())
        shutil.copystat(source, temporary)
        if not _same_content(source, temporary):
            raise OSError(errno.EIO, "the copy differs from the original")
        _rename(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _temporary_prefix(name: str) -> str:
    return f".{name[:40]}."


def _same_content(one: str, other: str) -> bool:
    filecmp.clear_cache()  # it goes by size and time
    return filecmp.cmp(one, other, shallow=False)
