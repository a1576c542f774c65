"""The boundary between library errors and the person at the terminal.

`reported` turns every `ClipError` into a message on stderr and the documented exit status, and the library's
parameters into this program's options. Bugs keep their traceback. Typer renders neither Click's exceptions nor
subclasses of its own, so every command runs inside it.
"""

import errno
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from clipcli.__main__ import CUT_SHORT
from clipcli.cli.output.destination import send_nowhere
from clipcli.cli.shell.terminal import Style, can_redraw, printable, styled, wants_colour
from clipcli.errors import ClipError, ClipWarning, ExitStatus
from clipcli.settings import config_file

F = TypeVar("F", bound=Callable[..., Any])

_DEBUG = "CLIPCLI_DEBUG"
_BEGINNINGS = {"clip: error:": Style.BOLD_RED, "clip: warning:": Style.YELLOW}
# `device` and `device="cpu"` in a message of the library.
_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


@contextmanager
def reported(ctx: typer.Context | None = None) -> Iterator[None]:
    """Report the user's mistakes as messages, and warnings as one line each unless the command is `--quiet`.

    Args:
        ctx: The command at hand; without it, parameters stay as the library spells them.

    Raises:
        typer.Exit: With the documented status, where the block raised what is not a bug.
    """
    with warnings.catch_warnings():
        quiet = ctx is not None and ctx.params.get("quiet")
        warnings.simplefilter("ignore" if quiet else "always", ClipWarning)
        warnings.showwarning = lambda message, category, *_, **__: _show_warning(message, category, ctx)
        try:
            yield
        except ClipError as error:
            message, hint = worded(error, ctx)
            say(f"error: {message}", hint, _variables_behind(error, ctx))
            if os.environ.get(_DEBUG):
                tell(traceback.format_exc().splitlines())
            raise typer.Exit(error.exit_status) from error
        except BrokenPipeError:
            # The reader has gone (`clip ... | head -1`) and has what it wanted.
            raise typer.Exit(ExitStatus.OK) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(ExitStatus.INTERRUPTED) from None
        except (MemoryError, OSError, RuntimeError, EOFError) as error:
            lacking = _lacking(error)
            if lacking is None:
                raise
            say(f"error: {lacking[0]}", lacking[1])
            raise typer.Exit(ExitStatus.FAILED) from error


def say(message: str, hint: str | None = None, details: Iterable[str] = ()) -> None:
    """Say one thing to the user, with what to do next: an error in red, what is beside it dim, where colors are."""
    lines = [f"clip: {message}", *([f"  hint: {hint}"] if hint else []), *(f"  {detail}" for detail in details)]
    told = [_wrapped(printable(line)) for line in lines]
    begin = next((begin for begin in _BEGINNINGS if told[0].startswith(begin)), None)
    if begin is not None and wants_colour(sys.stderr):
        first, *others = told
        told = [styled(begin, _BEGINNINGS[begin]) + first.removeprefix(begin)]
        told += [styled(line, Style.DIM) for line in others]
    _write("".join(f"{line}\n" for line in told))


def tell(lines: Iterable[str]) -> None:
    """Talk to the user on stderr, in lines that hold no control characters; data goes to stdout only."""
    _write("".join(f"{printable(line)}\n" for line in lines))


def _write(text: str) -> None:
    if sys.stderr is None:  # closed by whoever started us
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # nobody listens, which changes nothing about what is done
        send_nowhere(sys.stderr)


def _wrapped(line: str) -> str:
    """A line broken between words where a terminal would break it anywhere; names of files stay whole."""
    if not can_redraw(sys.stderr):
        return line
    import textwrap

    columns, indent = shutil.get_terminal_size().columns, "  " if line.startswith("  ") else ""
    return textwrap.fill(line, columns, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)


def _lacking(error: Exception) -> tuple[str, str] | None:
    """What this machine lacks, and what to do about it, where that is the cause; torch has no class for it."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or "allocate memory" in str(error):
        return "this machine has too little memory left", "try a smaller model, or --batch-size 1 --workers 1"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open", "`ulimit -n 4096` allows more"
    if isinstance(error, EOFError) and "marshal" in str(error):
        return CUT_SHORT
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return "the working folder was removed", "change into one that exists"
    return None


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def worded(error: ClipError, ctx: typer.Context | None) -> tuple[str, str | None]:
    """The message and the hint of an error, with the program's options in place of parameters."""
    return _in_options(_marked(error), ctx), error.hint and _in_options(error.hint, ctx)


def _marked(error: ClipError) -> str:
    """The message, the parameter that it begins with in backticks as others are."""
    text = str(error)
    if error.parameter and text.startswith(f"{error.parameter} "):
        return f"`{error.parameter}`{text.removeprefix(error.parameter)}"
    return text


def options_of(command: Any, path: str = "clip") -> Iterator[tuple[str, Any]]:
    """Every option of a command and of those below it, each with the command's words."""
    yield from ((path, parameter) for parameter in command.params if parameter.param_type_name == "option")
    for name, child in getattr(command, "commands", {}).items():
        yield from options_of(child, f"{path} {name}")


def _options(ctx: typer.Context | None) -> dict[str, str]:
    """Every option of the program by the name of its parameter; an option is spelled the same in every command.

    This imports every command, so ask only where something is said.
    """
    if ctx is None:
        return {}
    return {option.name: max(option.opts, key=len) for _, option in options_of(ctx.find_root().command)}


def _in_options(text: str, ctx: typer.Context | None) -> str:
    """Turn the parameters that stand in backticks into options, as one would type them."""
    options = _options(ctx) if _PARAMETER.search(text) else {}
    return _PARAMETER.sub(lambda match: _typed(match[1], match[2], options) or match[0], text)


def _typed(name: str, value: str | None, options: Mapping[str, str]) -> str | None:
    """One option with its value; None if the command does not have the option."""
    import ast
    import shlex

    try:
        given = ast.literal_eval(value or "None")
    except (ValueError, SyntaxError):  # a word that stands for a value: FOLDER
        given = value
    if given is False:
        return options.get(f"no_{name}")
    if name not in options or given is None or given is True:
        return options.get(name)
    return f"{options[name]} {shlex.quote(','.join(given) if isinstance(given, list) else str(given))}"


def _variables_behind(error: ClipError, ctx: typer.Context | None) -> Iterator[str]:
    """Name the variables and settings that gave an error's parameters their values: nobody need have typed those."""
    options = _options(ctx)
    names = {error.parameter, *(match[1] for match in _PARAMETER.finditer(_marked(error)))}
    for parameter in () if ctx is None else ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "") if ctx and parameter.name in names else None
        if source is not None and source.name == "ENVIRONMENT":
            variable = str(parameter.envvar)
            yield f"{variable}={os.environ[variable]} is set, which stands for {options[str(parameter.name)]}"
        elif source is not None and source.name == "DEFAULT_MAP":
            yield f"{options[str(parameter.name)]} is set in {config_file()}; `clip config` shows all of it"


def _show_warning(message: Warning | str, category: type[Warning], ctx: typer.Context | None) -> None:
    if issubclass(category, ClipWarning):
        say(f"warning: {_in_options(str(message), ctx)}")
