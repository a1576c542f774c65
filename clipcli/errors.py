"""Exit statuses and the errors that carry them.

Every error that a user can cause is a `ClipError`: its message says what is wrong and with which file or value,
its hint says what to do next. Anything else that escapes is a bug and keeps its traceback. Imports nothing of the
project.

Parameters are spelled as in Python; the command line turns them into its options. A message may begin with the bare
name of its `parameter`; elsewhere in messages, hints and warnings names stand in backticks, alone or with a value:
`device`, `device="cpu"`.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

_LONG_QUOTES = (
    re.compile(r"'((?:[^'\\]|\\.){100})(?:[^'\\]|\\.){200,}+'", re.DOTALL),
    re.compile(r'"((?:[^"\\]|\\.){100})(?:[^"\\]|\\.){200,}+"', re.DOTALL),
)
_LONGEST = 5_000  # a path may have 4,096


class ExitStatus(IntEnum):
    """The documented exit statuses of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    MODEL = 4
    INTERRUPTED = 130


class ClipError(Exception):
    """Something the user can fix.

    Args:
        message: What is wrong, naming the file or value; one sentence, no full stop needed.
        hint: What to do next, shown on a line of its own.
        parameter: The name of the parameter that is wrong.
        value: What it was.
    """

    exit_status = ExitStatus.FAILED
    usual_hint: str | None = None
    """What to do next where no hint is given."""

    def __init__(
        self, message: str, hint: str | None = None, *, parameter: str | None = None, value: object = None
    ) -> None:
        super().__init__(shortened(message))
        self.hint = self.usual_hint if hint is None else hint
        self.parameter, self.value = parameter, value


class UsageError(ClipError):
    """A parameter is wrong (exit status 2)."""

    exit_status = ExitStatus.USAGE


class LabelSetError(UsageError):
    """A label, a template or a label-set file breaks the rules (exit status 2)."""


class ModelError(ClipError):
    """A model is missing, unsupported or damaged (exit status 4)."""

    exit_status = ExitStatus.MODEL


class ModelNotFoundError(ModelError):
    """No such model on this machine, and it could not be fetched."""


class UnsupportedModelError(ModelError):
    """The checkpoint is of a family, activation or layout that this program does not run."""

    usual_hint = "`clip models list` names models that are known to work"


class DamagedModelError(ModelError):
    """A file of the checkpoint is missing, truncated, or does not fit its own config."""

    usual_hint = "fetch or copy the model again; `clip models verify` tells which of its files are damaged"


class DeviceError(ClipError):
    """The device or dtype asked for is not available on this machine (exit status 1)."""


class ImageError(ClipError):
    """One image could not be used. Becomes an error row; never ends a run by itself.

    The class name is the `error.type` of the row.
    """


class MissingFile(ImageError):
    """The path does not exist, or vanished before it was read."""


class UnreadableImage(ImageError):
    """The file is not an image, is damaged, or its format is not supported."""


class PermissionDenied(ImageError):
    """The operating system does not let us read the file."""


class ImageTooLarge(ImageError):
    """The image claims more pixels than `max_megapixels` allows."""


class MissingExtra(ImageError):
    """The format needs an optional package that is not installed."""


class ClipWarning(UserWarning):
    """Something the user should know about a result that is nevertheless right. Commands print it to stderr."""


def shortened(message: str) -> str:
    """Cut what a message quotes down to a length that can be read: a label may have 10,000 characters."""
    for quote in _LONG_QUOTES:
        message = quote.sub(r"'\1...'", message)
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 4 :]}"


@contextmanager
def reading_checkpoint(name: object) -> Iterator[None]:
    """Name a checkpoint in whatever its files cause that nobody foresaw: a bug, but one that other files do not meet.

    Args:
        name: The checkpoint, or its folder.

    Raises:
        DamagedModelError: The block raised what is not an error of this program, nor one of this machine.
    """
    try:
        yield
    except (ClipError, ImportError, MemoryError, OSError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):  # torch's way to say MemoryError
            raise
        raise DamagedModelError(
            f"{name} cannot be read: its files hold what no such file should ({type(error).__name__})",
            hint="`clip models verify` checks the files; CLIPCLI_DEBUG=1 shows where it happened",
        ) from error


def warn(message: str) -> None:
    """Give a `ClipWarning` that points at the line which called this package, however deep inside it arises."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(shortened(message), ClipWarning, stacklevel=level)
