"""The file beside the output of a run that a later run needs to go on with it, and that keeps a second run away.

`tags.jsonl.run` begins with the settings and then holds, one a line, where each batch of rows ends. Who writes it has
locked it, until the process ends, however it ends. Where the system or its file system has no such locks, two runs at
the same time are not noticed.
"""

import json
import os
from array import array
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from clipcli.errors import ClipError, UsageError
from clipcli.files import lock, replacing

RUN_SUFFIX = ".run"
_SCHEMA, _EARLIER = "clipcli.run/2", "clipcli.tag-run/1"


class RunFile:
    """Settings and ends of batches, written by one process at a time."""

    def __init__(self, output: str) -> None:
        """Name the file by that of the rows; nothing is touched yet.

        Args:
            output: Where rows go.
        """
        self.output = output
        self.rows_path = Path(os.path.realpath(output))
        self._path = self.rows_path.with_name(self.rows_path.name + RUN_SUFFIX)
        self._claim: BinaryIO | None = None
        self._ends: BinaryIO | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        """Keep other runs away from the output.

        Raises:
            ClipError: Another run writes it, or the file cannot be written.
        """
        try:
            while self._claim is None:
                file = open(self._path, "ab")
                try:
                    lock(file)
                except OSError:
                    file.close()
                    raise
                if _is_still(self._path, file):
                    self._claim = file
                else:  # whoever had the lock before put another file in its place
                    file.close()
        except BlockingIOError as error:
            raise ClipError(
                f"{self.output} is being written by another run",
                hint="wait until it ends, or name another `output`",
            ) from error
        except OSError as error:
            raise self.error(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let others go on with the output; a run that wrote nothing, or is over, leaves nothing."""
        self.close()
        if self._claim is not None:
            is_empty = os.fstat(self._claim.fileno()).st_size == 0
            if (self._is_over or is_empty) and _is_still(self._path, self._claim):
                with suppress(OSError):
                    self._path.unlink()
            self._claim.close()
            self._claim = None

    def retire(self) -> None:
        """Nobody will go on with the output: the file goes when this run lets go of it."""
        self._is_over = True

    def read(self, settings: Mapping[str, Any]) -> "array[int]":
        """Where batches end, once the settings are found to be those of the earlier run.

        Raises:
            UsageError: They are others, or it is not known which.
        """
        again = "leave `resume` out to start over, or name another `output`"
        try:
            with open(self._path, "rb") as file:
                header = json.loads(file.readline())
                if header["schema"] == _EARLIER:
                    raise UsageError(
                        f"{self.output} was begun by clipcli 0.1, and this version cannot continue it", hint=again
                    )
                if header["schema"] != _SCHEMA:
                    raise ValueError(header["schema"])
                earlier = dict(header["settings"])
                ends = array("q", (int(line) for line in file if line.endswith(b"\n") and line.strip().isdigit()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self._path.name} is missing or damaged, so it is unknown how {self.output} was made",
                hint=f"{again}; to add images to a finished run later, give it `resume=True` from the start",
            ) from error
        differing = [key for key, value in settings.items() if value != earlier.get(key)]
        if differing:
            changes = "; ".join(_difference(key, earlier.get(key), settings[key]) for key in differing)
            raise UsageError(f"{self.output} was made with other settings: {changes}", hint=again)
        return ends

    def write(self, settings: Mapping[str, Any], ends: Iterable[int]) -> None:
        """Write the file anew, under the same lock: the new file has it before it takes the place of the old one.

        Raises:
            OSError: It cannot be written.
        """
        self.close()
        claim = None
        with replacing(self._path) as new:
            new.write(json.dumps({"schema": _SCHEMA, "settings": settings}).encode() + b"\n")
            new.writelines(b"%d\n" % end for end in ends)
            new.flush()
            if self._claim is not None:
                claim = os.fdopen(os.dup(new.fileno()), "ab")  # stays open, and locked, when the other is closed
                lock(claim)
        if self._claim is not None:
            self._claim.close()
            self._claim = claim

    def add(self, end: int) -> None:
        """Note where a batch ends.

        Raises:
            OSError: It cannot be written.
        """
        if self._ends is None:
            self._ends = open(self._path, "ab")
        self._ends.write(b"%d\n" % end)
        self._ends.flush()

    def close(self) -> None:
        """Close what `add` has opened."""
        if self._ends is not None:
            with suppress(OSError):  # every batch was flushed, and would have said so
                self._ends.close()
        self._ends = None

    def error(self, error: OSError) -> ClipError:
        """What to tell the user of a failure."""
        return ClipError(
            f"{self.output} cannot be written: {error.strerror or error}",
            hint="name a file in a folder you may write to",
        )


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _difference(key: str, earlier: object, now: object) -> str:
    simple = str | int | float | None
    if isinstance(earlier, simple) and isinstance(now, simple):
        return f"{key} was {_said(earlier)}, now {_said(now)}"
    return f"{key} changed"


def _said(value: object) -> str:
    if value is None or value is False:
        return "not given"
    return "given" if value is True else str(value)
