"""Where results go: stdout, or a file that appears only when it is complete."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clipcli.errors import ClipError


class Destination:
    r"""A stream of UTF-8 text. Bytes of names that are not UTF-8 are written as `\udcXX` escapes."""

    def __init__(self, stream: BinaryIO) -> None:
        """Write to a binary stream."""
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking."""
        return self._stream.isatty()

    def write(self, text: str) -> None:
        """Write text."""
        self._stream.write(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Hand everything on."""
        self._stream.flush()


@contextmanager
def open_destination(path: str | None) -> Iterator[Destination]:
    """Open stdout, or a file beside its final name that takes that name at the end.

    Raises:
        ClipError: The file cannot be written.
    """
    if path is None or path == "-":
        sys.stdout.flush()
        yield Destination(sys.stdout.buffer)
        return
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ClipError(
            f"--output {path}: {error.strerror}", hint="name a file in a folder you may write to"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield Destination(stream)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
