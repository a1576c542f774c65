"""Opens the file behind a source, within bounds: whatever a name leads to, reading it ends and fits in memory."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO

from clipcli.errors import ImageError, ImageTooLarge, UnreadableImage
from clipcli.images.find import MAX_FILE_BYTES, ImageSource, file_error


class _HeldOpen(io.BufferedReader):
    """A file that stays open when one of Pillow's readers closes it: the next reader, and messages, still need it."""

    def close(self) -> None:
        """Leave it open; `finish` closes it."""

    def finish(self) -> None:
        """Close it."""
        super().close()


class _BytesHeldOpen(io.BytesIO):
    """The same for bytes, which need no closing."""

    def close(self) -> None:
        """Leave it open."""


@contextmanager
def open_source(source: ImageSource, max_bytes: int = MAX_FILE_BYTES) -> Iterator[IO[bytes]]:
    """Open a source for reading and seeking. What comes through a pipe is read into memory first.

    Args:
        source: A source with a path or data.
        max_bytes: Refuse what is larger; of a pipe, no more is read.

    Raises:
        ImageError: It cannot be opened, is a device, or is too large.
    """
    if source.data is not None:
        check_size(source.path, len(source.data), max_bytes)
        yield _BytesHeldOpen(source.data)
        return
    file = _HeldOpen(_open_file(source.path))
    try:
        status = os.fstat(file.fileno())
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise UnreadableImage(f"{source.path} is a device, not an image")
        check_size(source.path, status.st_size, max_bytes)
        yield file if file.seekable() else _read_pipe(file, source.path, max_bytes)
    finally:
        file.finish()


def check_size(path: str, size_bytes: int, max_bytes: int = MAX_FILE_BYTES) -> None:
    """Refuse a file that is too large to be an image.

    Raises:
        ImageTooLarge: It is.
    """
    if size_bytes > max_bytes:
        raise ImageTooLarge(
            f"{path} has {size_bytes / 1e9:.3g} GB; image files of more than {max_bytes / 1e9:g} GB are not read"
        )


def is_readable_file(path: str, max_bytes: int = MAX_FILE_BYTES) -> bool:
    """Whether a path leads to a regular file of a size that `open_source` takes; false where that cannot be known."""
    with suppress(OSError, ValueError):
        status = os.stat(path)
        return stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes
    return False


def held(source: ImageSource) -> ImageSource:
    """A source that can be read more than once: what comes through a pipe is read into memory."""
    with suppress(OSError, ValueError):
        if source.is_file and stat.S_ISFIFO(os.stat(source.path).st_mode):
            try:
                with open_source(source) as file:
                    return replace(source, data=file.read())
            except ImageError as error:
                return replace(source, error=error)
    return source


def size_of(file: IO[bytes]) -> int:
    """Bytes of an open file, which stays where it is."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)  # some readers continue where they were
    return size


def _open_file(path: str) -> io.FileIO:
    try:
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise file_error(path, error) from error


def _read_pipe(file: IO[bytes], path: str, max_bytes: int) -> IO[bytes]:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{path}: more than {max_bytes / 1e9:g} GB come through this pipe, too much for an image")
    return _BytesHeldOpen(data)
