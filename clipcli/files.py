"""What every room does with files: one atomic write, one stamp, JSON, the folders of cache and settings."""

import errno
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

from clipcli.errors import ClipError, DamagedModelError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The coarsest clock of a common file system (FAT): a file may change again within it and keep its time.
_CLOCK_NS = 2_000_000_000
# The largest published JSON file of a checkpoint, a tokenizer of 256,000 tokens, has 34 MB.
_LARGEST_JSON_BYTES = 512 * 2**20
_CONTROLS = re.compile("[\x7f-\x9f]")
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """The folder of what can be made again: `CLIPCLI_CACHE_DIR`, else the platform's; it need not exist."""
    override = os.environ.get("CLIPCLI_CACHE_DIR")
    if override:
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path("clipcli", appauthor=False)


def settings_folder() -> Path:
    """The folder of the user's settings and label sets: `CLIPCLI_CONFIG_DIR`, else the platform's."""
    override = os.environ.get("CLIPCLI_CONFIG_DIR")
    if override:
        return Path(override)
    from platformdirs import user_config_path

    return user_config_path("clipcli")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file does: size, times and inode.

    The change time is included because tools that edit in place restore the modification time on request.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Self:
        """Take the stamp, before reading the file.

        Raises:
            OSError: The file does not exist, or its status cannot be read.
        """
        status = os.stat(path)
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def settled(self) -> bool:
        """Whether a later change is sure to show: not so if the last one is as recent as the clock's tick."""
        return self.mtime_ns < time.time_ns() - _CLOCK_NS

    def to_bytes(self) -> bytes:
        """The stamp as it is stored."""
        return struct.pack("<4q", self.size, self.mtime_ns, self.ctime_ns, self.inode & (2**63 - 1))


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file that takes its name only when it is complete; until then the old one stays.

    Links are followed. An existing file keeps its permissions. The temporary file lies beside the target under a name
    that nobody can foresee, and is removed if the block raises.

    Raises:
        PermissionError: The file is read-only: replacing it would get around the protection that somebody gave it.
        OSError: It cannot be written.
    """
    target = Path(os.path.realpath(path))
    if is_read_only(target):
        raise PermissionError(0, "it is read-only")
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.chmod(temporary, _mode_of(target))
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def lock(stream: IO[Any]) -> None:
    """Lock an open file against other processes until it is closed; where there are no locks, nothing happens.

    Raises:
        BlockingIOError: Another process has locked it.
        OSError: It cannot be locked.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system without locks
            raise


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Wait until no other process is in a block of this kind for the same folder; where there are no locks, go ahead.

    Nothing is written for it, and a process that is killed is out of its block.

    Args:
        folder: The folder; made if it does not exist.

    Raises:
        OSError: The folder does not exist and cannot be created.
    """
    handle = _locked_folder(folder)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file that anyone may have put there for reading: never a device or a pipe.

    Raises:
        OSError: It is missing, unreadable, or not a regular file.
    """
    stream = open(path, "rb", opener=_open_without_waiting)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return stream


def read_regular(path: str | Path, largest_bytes: int) -> bytes:
    """Read a whole file that anyone may have put there: never a device or a pipe, never more than is sane.

    Raises:
        OSError: It is missing, unreadable, not a regular file, or larger.
    """
    with open_regular(path) as stream:
        is_sane = os.fstat(stream.fileno()).st_size <= largest_bytes
        data = stream.read(largest_bytes + 1) if is_sane else None
    if data is None or len(data) > largest_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {largest_bytes // 1_000_000} MB", str(path))
    return data


def is_read_only(path: Path) -> bool:
    """Whether a file exists that its owner has protected from writing."""
    return path.exists() and not (path.stat().st_mode & _WRITABLE and os.access(path, os.W_OK))


def bytes_under(folder: Path) -> int:
    """What the files below a folder take, those that links lead to left out."""
    files = (path for path in folder.rglob("*") if not path.is_dir() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it.

    Raises:
        ClipError: Something in it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ClipError(f"{error.filename or folder} cannot be removed: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a checkpoint.

    Raises:
        DamagedModelError: The file is missing, not a regular file, unreadable, too large, not JSON, or not an object.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedModelError(f"{path} is not a regular file")
            if status.st_size > _LARGEST_JSON_BYTES:
                raise DamagedModelError(f"{path} has {status.st_size:,} bytes, too many for JSON")
            value = json.loads(stream.read())
    except FileNotFoundError:
        raise DamagedModelError(
            f"{path.parent} has no {path.name}",
            hint="give a folder in the hub's layout (config.json, preprocessor_config.json or processor_config.json, "
            "tokenizer files, weights)",
        ) from None
    except OSError as error:
        raise DamagedModelError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DamagedModelError(f"{path} is not JSON: {reason}", hint="fetch the checkpoint again") from error
    if not isinstance(value, dict):
        raise DamagedModelError(f"{path} holds a JSON {type(value).__name__}, not an object")
    return value


def dump(value: object, indent: int | None = None) -> str:
    """Write JSON: letters of every script as themselves, and all control characters (JSON allows some) as escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _locked_folder(folder: str | Path) -> int | None:
    """Wait for the lock of a folder; None where folders cannot be opened."""
    while True:
        os.makedirs(folder, exist_ok=True)
        if fcntl is None:
            return None
        handle = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a network's file system may lock files, but not folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        os.close(handle)  # it was removed while this process waited


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe without a writer opens at once, so that it can be refused."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _mode_of(target: Path) -> int:
    """The permissions of an existing file, else those that a new one gets."""
    return stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
