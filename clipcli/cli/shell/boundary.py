"""The boundary between library errors and the person at the terminal.

`handles_errors` turns every `ClipError` into a message on stderr and the documented exit status. Bugs keep their
traceback. Typer renders neither Click's exceptions nor subclasses of its own, so this decorator does it.
"""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

import typer

from clipcli.cli.output.destination import send_nowhere
from clipcli.cli.shell.terminal import printable
from clipcli.errors import ClipError, ClipWarning, ExitStatus

P = ParamSpec("P")
R = TypeVar("R")


def handles_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command report the user's mistakes in words, and warnings as one line each, unless it is `--quiet`."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if kwargs.get("quiet") else "always", ClipWarning)
            warnings.showwarning = _show_warning
            try:
                return command(*args, **kwargs)
            except ClipError as error:
                say(f"error: {error}", error.hint, _variables_behind(str(error)))
                raise typer.Exit(error.exit_status) from error
            except BrokenPipeError:
                # The reader has gone (`clip ... | head -1`) and has what it wanted.
                raise typer.Exit(ExitStatus.OK) from None
            except KeyboardInterrupt:
                say("interrupted")
                raise typer.Exit(ExitStatus.INTERRUPTED) from None

    return guarded


def say(message: str, hint: str | None = None, details: Iterable[str] = ()) -> None:
    """Say one thing to the user, with what to do next."""
    tell([f"clip: {message}", *([f"  hint: {hint}"] if hint else []), *(f"  {detail}" for detail in details)])


def tell(lines: Iterable[str]) -> None:
    """Talk to the user on stderr, in lines that hold no control characters; data goes to stdout only."""
    if sys.stderr is None:  # closed by whoever started us
        return
    try:
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
        sys.stderr.flush()
    except OSError:  # nobody listens, which changes nothing about what is done
        send_nowhere(sys.stderr)


def _variables_behind(message: str) -> Iterator[str]:
    """Name the variables that may have given the options a message speaks of: nobody need have typed those."""
    for flag in dict.fromkeys(re.findall(r"--([a-z-]+[a-z])", message)):
        variable = f"CLIPCLI_{flag.upper().replace('-', '_')}"
        if os.environ.get(variable):
            yield f"{variable}={os.environ[variable]} is set, which stands for --{flag}"


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, ClipWarning):
        say(f"warning: {message}")
