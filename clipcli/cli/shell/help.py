"""Help pages as plain text: examples first, options in their groups, nothing cut short.

Typer can do this by itself with rich, whose Markdown reader alone takes as long to import as everything else that
`clip --help` needs. Imports neither rich nor any room.
"""

import inspect
import io
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from clipcli.cli.options.panels import EXPERT, LABELS
from clipcli.cli.output.destination import print_text
from clipcli.cli.shell.boundary import options_of, reported, say, tell
from clipcli.cli.shell.defaults import heed_what_is_typed, use_defaults
from clipcli.cli.shell.reading import read_quickly
from clipcli.errors import ClipError, ExitStatus

_ARGUMENTS, _OTHERS = "Arguments", "Options"
_MARK = "\b"
# What is wrong with the settings is their own report.
_TELL_OF_SETTINGS = ("config", "doctor")
_HELP_OPTIONS = frozenset(("-h", "--help"))
_HELP, _ALL, _EXPERT_TITLE = "help", "--help-all", "Expert options"
_VARIABLE = re.compile(r"  \[env var: [^];]*\]|(?<=\[)env var: [^];]*; ")
# For those who install completion by hand; the first page has no line to spare.
_UNSHOWN = ("show_completion",)
# Typer's words for what is wrong with arguments, and ours.
_WORDS = (
    (r"^No such", "no such"),
    (r"^Missing (argument|option) '(.+)'", r"\2 is missing"),
    (r"^Option '(.+)' requires an argument", r"\1 needs a value"),
    (r"^Option '(.+)' does not take a value", r"\1 takes no value"),
    (r"^Got unexpected extra argument\S* \((.*)\)", r"too many arguments: \1"),
    (r"^Input should be greater than or equal to", "must be at least"),
    (r"^Input should be less than or equal to", "must be at most"),
    (r"^Input should be a valid integer.*", "must be a whole number"),
    (r"^Input should be a valid number.*", "must be a number"),
    (r"^Input should be a valid boolean.*", "must be 1 or 0"),
)


def split_help(text: str | None) -> tuple[str, tuple[str, ...]]:
    r"""Split a command's docstring into its prose and its examples, the lines after a `\b`."""
    prose, _, examples = inspect.cleandoc(text or "").partition(_MARK)
    return prose.strip(), tuple(line for line in examples.splitlines() if line.strip())


def first_sentence(text: str | None) -> str:
    """Return what a docstring says a command does, on one line."""
    prose, _ = split_help(text)
    return re.split(r"(?<=\.)\s", " ".join(prose.split()), maxsplit=1)[0]


def option_groups(command: Any, ctx: Any) -> dict[str, list[Any]]:
    """Sort parameters under their `rich_help_panel`: arguments, labels, groups as they appear, what has none last."""
    groups: dict[str, list[Any]] = {}
    for parameter in command.get_params(ctx):
        if not parameter.hidden:
            others = _ARGUMENTS if parameter.param_type_name == "argument" else _OTHERS
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or others, []).append(parameter)
    order = sorted(groups, key=lambda title: (title != _ARGUMENTS, title != LABELS, title == _OTHERS))
    return {title: sorted(groups[title], key=_is_option) for title in order}


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


class _Readable:
    """How help is laid out and mistakes are said, for commands and groups of commands alike."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` among them."""
        return read_quickly(super().get_params(ctx))  # type: ignore[misc]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the arguments. What is printed meanwhile is a page: help, the version, completion's script."""
        with _in_our_words(" ".join(filter(None, (parent and parent.command_path, info_name)))), _as_results_go():
            return super().make_context(info_name, args, parent=parent, **extra)  # type: ignore[misc]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the command does, then its examples as they are typed."""
        prose, examples = split_help(self.help)  # type: ignore[attr-defined]
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(prose)
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in examples))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group of options, and with --help-all those for experts last."""
        groups, expert = option_groups(self, ctx), []
        for title, parameters in groups.items():
            expert += [parameter for parameter in parameters if parameter.name in EXPERT]
            rows = [_row(each, ctx) for each in parameters if each.name not in (*_UNSHOWN, *EXPERT)]
            if title == _OTHERS and expert and not ctx.meta.get(_ALL):
                rows.append((_ALL, f"Show {len(expert)} more options and exit."))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if expert and ctx.meta.get(_ALL):
            with formatter.section(_EXPERT_TITLE):
                formatter.write_dl([_row(parameter, ctx) for parameter in expert])


class GroupedCommand(_Readable, TyperCommand):
    """A command whose help shows its examples, and lists each parameter under its `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; `--help-all` is `--help` with the options for experts."""
        if _ALL in args:
            ctx.meta[_ALL] = True
            args = ["--help"]
        if not ctx.resilient_parsing and not _HELP_OPTIONS.intersection(args):
            with reported(ctx):
                self._use_defaults(ctx)
        left = super().parse_args(ctx, args)
        heed_what_is_typed(ctx)
        return left

    def _use_defaults(self, ctx: Any) -> None:
        try:
            use_defaults(ctx)
        except ClipError:
            if self.name not in _TELL_OF_SETTINGS:
                raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and report the user's mistakes."""
        with reported(ctx):
            return super().invoke(ctx)


class CommandGroup(_Readable, TyperGroup):
    """A group of commands whose help lists them, each with the whole of its first sentence, before the options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; where there are none, show what there is. `clip help pull` is `clip pull --help`."""
        if args and args[0] == _HELP and _HELP not in self.commands:
            args = [*args[1:], "--help"]
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            tell(ctx.get_help().splitlines())
            raise typer.Exit(ExitStatus.USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is meant."""
        with _in_our_words(ctx.command_path, args[0]):
            return super().resolve_command(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(command.help)) for name, command in self.commands.items()])
        super().format_options(ctx, formatter)


class FrontPage(CommandGroup):
    """The program itself, whose help is one screen of 24 lines: every command on one line, by what it is for."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what the program does, and its first example."""
        prose, examples = split_help(self.help)
        formatter.write(f"\n  {prose}\n")
        formatter.write("".join(f"  {line}\n" for line in examples))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in their groups, then the options."""
        rows = [
            (str(getattr(command, "rich_help_panel", "")), name, first_sentence(command.help))
            for name, command in self.commands.items()
        ]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for i, (title, name, text) in enumerate(rows):
            shown = "" if i and rows[i - 1][0] == title else title
            formatter.write(f"{shown:<{widths[0]}}  {name:<{widths[1]}}  {text}\n")
        options = (parameter for parameter in self.get_params(ctx) if parameter.name not in _UNSHOWN)
        formatter.write(f"Options:  {'  '.join(', '.join(parameter.opts) for parameter in options)}\n")


def _row(parameter: Any, ctx: Any) -> tuple[str, str]:
    """What is typed, and what it means."""
    name, text = parameter.get_help_record(ctx)
    # Arguments come with their Python type ("IMAGE <list[str]>"), which tells a user nothing.
    text = _VARIABLE.sub("", text)  # the man pages name it
    return name.partition(" ")[0] if parameter.param_type_name == "argument" else re.sub("[<>]", "", name), text


@contextmanager
def _as_results_go() -> Iterator[None]:
    """Print Typer's output as results are printed: a full disk is reported as an error, a closed pipe is not."""
    page = io.StringIO()
    try:
        with redirect_stdout(page):
            yield
    finally:
        if page.getvalue():
            with reported():
                print_text(page.getvalue())


@contextmanager
def _in_our_words(command: str, word: str = "") -> Iterator[None]:
    """Say what Typer says of wrong arguments as other mistakes are said: what is wrong, then what to do.

    Args:
        command: As it is called.
        word: What stands where a command should.
    """
    try:
        yield
    except typer.TyperException as error:
        message, suggestion = _reworded(error)
        if word and (os.path.exists(word) or os.path.splitext(word)[1]):
            suggestion = f"to name what is on an image: clip classify {shlex.quote(word)} --labels cat,dog"
        say(f"error: {message}", hint=suggestion or f"`{command} -h` shows what can be given")
        raise typer.Exit(ExitStatus.USAGE) from None


def _reworded(error: Any) -> tuple[str, str | None]:
    """What is wrong, and the nearest thing that would be right."""
    message, _, nearest = error.format_message().partition(" Did you mean ")
    nearest = nearest.rstrip("?").replace("'", "")
    owners = _owners(error)
    if owners:
        return _in_house_style(error.message), f"{', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
    if isinstance(error, typer.BadParameter) and error.message:
        message, nearest = error.message.removeprefix("Value error, "), _nearest_choice(error.message)
    elif getattr(error, "possibilities", None):
        message, nearest = error.message, " or ".join(error.possibilities)
    message = _in_house_style(message)
    if isinstance(error, typer.BadParameter) and error.message:
        message = f"{_origin(error)}{'' if message.startswith('must') else ':'} {message}"
    return message.rstrip("."), f"did you mean {nearest}?" if nearest else None


def _in_house_style(message: str) -> str:
    for theirs, ours in _WORDS:
        message = re.sub(theirs, ours, message)
    return message


def _owners(error: Any) -> list[str]:
    """The commands that have the option which this one lacks."""
    if error.ctx is None or not hasattr(error, "option_name"):
        return []
    found = options_of(error.ctx.find_root().command)
    return [f"`{path}`" for path, option in found if error.option_name in option.opts]


def _origin(error: Any) -> str:
    """The option, argument or variable that a value came by."""
    source = error.ctx.get_parameter_source(error.param.name)
    if source is not None and source.name == "ENVIRONMENT":
        return str(error.param.envvar)
    return max(error.param.opts, key=len) if error.param.param_type_name == "option" else str(error.param.metavar)


def _nearest_choice(message: str) -> str:
    """The choice that is nearest to the value in Typer's "'jsn' is not one of 'auto', 'json'"."""
    value, refused, choices = message.partition(" is not one of ")
    nearest = get_close_matches(value.rpartition(" ")[2].strip("'"), re.findall(r"'([^']+)'", choices), n=1)
    return nearest[0] if refused and nearest else ""
