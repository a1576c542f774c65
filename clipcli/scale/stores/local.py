"""Local disks, and what is mounted like one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clipcli.errors import ClipError
from clipcli.scale.stores import PRIVATE, Status

# Nothing that is tried again helps against these.
_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR)
# File systems without hard links say so in one of these words.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)


class LocalStore:
    """Files; keys are absolute paths."""

    def read(self, key: str) -> bytes:
        """A whole file."""
        return Path(key).read_bytes()

    def open(self, key: str) -> BinaryIO:
        """A file to read from."""
        return open(key, "rb")

    def status(self, key: str) -> Status:
        """Size and modification time of a file."""
        status = os.stat(key)
        if os.path.isdir(key):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), key)
        return Status(status.st_size, str(status.st_mtime_ns))

    def find(self, prefix: str) -> Iterator[tuple[str, Status]]:
        """All files whose paths begin so, in the order of their names; temporary ones are left out."""
        folder = prefix if prefix.endswith("/") else os.path.dirname(prefix)
        for path in _walk(folder.rstrip("/") or "/"):
            if path.startswith(prefix) and not path.endswith(".tmp"):
                with suppress(FileNotFoundError):  # gone since it was listed
                    yield path, self.status(path)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that appears under its name whole, unless there is one."""
        with _writing(key) as temporary:
            _write(temporary, data)
            try:
                os.link(temporary, key)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if os.path.exists(key):
                    return False
                os.replace(temporary, key)
            _sync_folder(key)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write a file that appears under its name whole."""
        with _writing(key) as temporary:
            _write(temporary, data)
            os.replace(temporary, key)
            _sync_folder(key)

    def remove(self, key: str) -> None:
        """Remove a file."""
        Path(key).unlink(missing_ok=True)


def _walk(folder: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry.path


@contextmanager
def _writing(key: str) -> Iterator[str]:
    """The name of a temporary file on the disk of another, whose folder is made if need be.

    It lies among a run's books: what a killed worker leaves there is in nobody's way.

    Raises:
        ClipError: The disk is full, or the folder may not be written to.
    """
    temporary = None
    try:
        folder, name = os.path.split(key)
        os.makedirs(folder, exist_ok=True)
        books = (os.path.join(parent, PRIVATE) for parent in Path(key).parents)
        scratch = next((place for place in books if os.path.isdir(place)), folder)
        temporary = os.path.join(scratch, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
        yield temporary
    except OSError as error:
        if error.errno not in _LASTING:
            raise
        raise ClipError(f"{key} cannot be written: {error.strerror}", hint="make room, or write elsewhere") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(key: str) -> None:
    """Let the name of a file survive a power failure; where folders cannot be opened, nothing happens."""
    with suppress(OSError):
        handle = os.open(os.path.dirname(key), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
