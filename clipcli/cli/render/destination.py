"""Where results go: stdout, or a file that appears only when it is complete."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from clipcli.errors import ClipError


class Destination:
    r"""A stream of UTF-8 text. Bytes of names that are not UTF-8 are written as `\udcXX` escapes."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Write to a binary stream that errors call `name`."""
        self._stream = stream
        self._name = name

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking."""
        return self._stream.isatty()

    def write(self, text: str) -> None:
        """Write text.

        Raises:
            BrokenPipeError: The reader has gone.
            ClipError: Nothing more can be written, as on a full disk.
        """
        try:
            self._stream.write(text.encode("utf-8", "backslashreplace"))
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
        return ClipError(f"{self._name} cannot be written: {error.strerror}")


def send_nowhere(stream: IO[Any]) -> None:
    """Let a stream end in nothing, also what is still in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def open_destination(path: str | None) -> Iterator[Destination]:
    """Open stdout, or a file beside its final name that takes that name at the end.

    Links are followed; a device or a named pipe is written to as it is.

    Raises:
        ClipError: The file cannot be written.
    """
    if path is None or path == "-":
        if sys.stdout is None:
            raise ClipError("standard output is closed", hint="write to a file with --output")
        sys.stdout.flush()
        yield Destination(sys.stdout.buffer, "standard output")
        return
    target = Path(os.path.realpath(path))
    temporary: str | None = None
    try:
        if target.exists() and not target.is_file():
            handle = os.open(target, os.O_WRONLY)
        else:
            handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ClipError(
            f"--output {path}: {error.strerror}", hint="name a file in a folder you may write to"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            destination = Destination(stream, f"--output {path}")
            yield destination
            destination.flush()
        if temporary is not None:
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
