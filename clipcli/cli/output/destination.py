"""Where results go: stdout, or a file that appears only when it is complete."""

import errno
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from clipcli.cli.shell.terminal import can_redraw, printable, wants_colour
from clipcli.errors import ClipError, UsageError
from clipcli.files import is_read_only, replacing


class Destination:
    r"""A stream of UTF-8 text. Bytes of names that are not UTF-8 are written as `\udcXX` escapes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking."""
        return self._stream.isatty()

    @property
    def can_redraw(self) -> bool:
        """Whether bars may be drawn."""
        return can_redraw(self._stream)

    @property
    def wants_colour(self) -> bool:
        """Whether to color."""
        return wants_colour(self._stream)

    def write(self, text: str, *, errors: str = "backslashreplace") -> None:
        """Write text.

        Args:
            text: What to write.
            errors: How bytes that are not UTF-8 are written; `surrogateescape` leaves them unchanged.

        Raises:
            BrokenPipeError: The reader has gone.
            ClipError: Nothing more can be written, as on a full disk.
        """
        try:
            self._stream.write(text.encode("utf-8", errors))
        except OSError as error:
            raise self._abandon(error) from error

    def flush(self) -> None:
        """Hand everything on. Raises as `write` does."""
        try:
            self._stream.flush()
        except OSError as error:
            raise self._abandon(error) from error

    def _abandon(self, error: OSError) -> Exception:
        """Give the stream up: what is still buffered would only fail a second time when it is closed."""
        send_nowhere(self._stream)
        if isinstance(error, BrokenPipeError):
            return error
        return ClipError(f"{self._name} cannot be written: {error.strerror}", hint="write to another place")


def send_nowhere(stream: IO[Any]) -> None:
    """Let a stream end in nothing, also what is still in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def open_destination(path: str | None, option: str = "--output") -> Iterator[Destination]:
    """Open stdout, or a file beside its final name that takes that name at the end.

    Links are followed; a device or a named pipe is written to as it is; a file that is there keeps its permissions.

    Args:
        path: The file; None or - for stdout.
        option: What errors call it.

    Raises:
        ClipError: The file cannot be written.
    """
    if path is None or path == "-":
        if sys.stdout is None:
            raise ClipError("standard output is closed", hint="send it to a file: > FILE")
        destination = Destination(sys.stdout.buffer, "standard output")
        yield destination
        destination.flush()
        return
    target = Path(os.path.realpath(path))
    with ExitStack() as stack:
        try:
            _refuse_read_only(target, option, path)
            is_special = _is_special(target)
            opened = os.fdopen(os.open(target, os.O_WRONLY), "wb") if is_special else replacing(target)
            stream = stack.enter_context(opened)
        except OSError as error:
            raise _unwritable(option, path, error) from error
        destination = Destination(stream, f"{option} {path}")
        yield destination
        destination.flush()


def print_text(text: str) -> None:
    """Print to stdout what is not a list of results.

    Raises:
        BrokenPipeError: The reader has gone.
        ClipError: It cannot be written.
    """
    with open_destination(None) as destination:
        destination.write(text)


def print_path(path: str | Path) -> None:
    """Print a path on a line: byte for byte, as `$(...)` needs it, or fit for a terminal; raises as above."""
    with open_destination(None) as destination:
        text = printable(str(path)) if destination.is_terminal else str(path)
        destination.write(f"{text}\n", errors="surrogateescape")


def check_destination(path: str | None, option: str = "--output", *, may_be_image: bool = False) -> None:
    """Find out, before anything slow begins, whether `open_destination` will succeed. Leaves nothing behind.

    Args:
        path: The file; None or - for stdout.
        option: What errors call it.
        may_be_image: Whether an image is to be written.

    Raises:
        UsageError: It has an image's name: a slip of the pen, or a glob right behind the option.
        ClipError: It will not succeed.
    """
    if path is None or path == "-":
        return
    target = Path(os.path.realpath(path))
    if not may_be_image:
        _refuse_image((Path(path), target), option)
    try:
        if not _is_special(target):
            _refuse_read_only(target, option, path)
            handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            os.close(handle)
            os.unlink(temporary)
        elif target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        elif not os.access(target, os.W_OK):  # it is not opened: a named pipe would wait for its reader
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(option, path, error) from error


def check_folder(path: str | None, option: str) -> None:
    """Find out whether a folder can be written to, or be made. Leaves nothing behind.

    Raises:
        ClipError: It cannot.
    """
    if path is None:
        return
    target = Path(os.path.abspath(path))
    existing = next(place for place in (target, *target.parents) if place.exists())
    number = errno.ENOTDIR if not existing.is_dir() else errno.EACCES if not os.access(existing, os.W_OK) else None
    if number is not None:
        raise ClipError(f"{option} {path}: {os.strerror(number)}", hint="name a folder that you may write to")


def _refuse_image(names: Iterable[Path], option: str) -> None:
    from clipcli.images.find import IMAGE_EXTENSIONS

    for name in names:
        if name.suffix.lower() in IMAGE_EXTENSIONS:
            raise UsageError(
                f"{option} {name}: this is an image's name, and images are never written over",
                hint=f"{option} takes the next word as the file to write: give it a name with another ending",
            )


def _refuse_read_only(target: Path, option: str, path: str) -> None:
    """Replacing a file would get around the protection that somebody gave it."""
    if target.is_file() and is_read_only(target):
        raise ClipError(
            f"{option} {path}: it is read-only",
            hint=f"name another file, or allow writing (chmod u+w {shlex.quote(path)})",
        )


def _is_special(target: Path) -> bool:
    """Whether this is there and no file: a device, a pipe, a folder."""
    return target.exists() and not target.is_file()


def _unwritable(option: str, path: str, error: OSError) -> ClipError:
    hint = "name a file in a folder you may write to"
    folder = os.path.dirname(path)
    if folder and not os.path.exists(folder):
        hint = f"make the folder first (mkdir -p {shlex.quote(folder)}), or name a file in another"
    return ClipError(f"{option} {path}: {error.strerror}", hint=hint)
