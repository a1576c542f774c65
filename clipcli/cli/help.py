"""Help pages as plain text: examples first, options in their groups, nothing cut short.

Typer can do this by itself with rich, whose Markdown reader alone takes as long to import as everything else that
`clip --help` needs. Imports neither rich nor any room.
"""

import inspect
import re
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_ARGUMENTS, _OTHERS = "Arguments", "Options"
_MARK = "\b"


def split_help(text: str | None) -> tuple[str, tuple[str, ...]]:
    r"""Split a command's docstring into its prose and its examples, the lines after a `\b`."""
    prose, _, examples = inspect.cleandoc(text or "").partition(_MARK)
    return prose.strip(), tuple(line for line in examples.splitlines() if line.strip())


def first_sentence(text: str | None) -> str:
    """Return what a docstring says a command does, on one line."""
    prose, _ = split_help(text)
    return re.split(r"(?<=\.)\s", " ".join(prose.split()), maxsplit=1)[0]


def option_groups(command: Any, ctx: Any) -> dict[str, list[Any]]:
    """Sort parameters under their `rich_help_panel`: arguments, then groups as they appear, what has none last."""
    groups: dict[str, list[Any]] = {}
    for parameter in command.get_params(ctx):
        if not parameter.hidden:
            others = _ARGUMENTS if parameter.param_type_name == "argument" else _OTHERS
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or others, []).append(parameter)
    return {title: groups[title] for title in sorted(groups, key=lambda title: (title != _ARGUMENTS, title == _OTHERS))}


class _Readable:
    """How help is laid out, for commands and groups of commands alike."""

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
        """Write one section a group of options."""
        for title, parameters in option_groups(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl([_row(parameter, ctx) for parameter in parameters])


class GroupedCommand(_Readable, TyperCommand):
    """A command whose help shows its examples, and lists each parameter under its `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; a misspelt choice is told which one is near, as a misspelt command is."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _with_suggestion(error.message.removeprefix("Value error, "))
            raise


class CommandGroup(_Readable, TyperGroup):
    """A group of commands whose help lists them, each with the whole of its first sentence, before the options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(command.help)) for name, command in self.commands.items()])
        super().format_options(ctx, formatter)


def _row(parameter: Any, ctx: Any) -> tuple[str, str]:
    """What is typed, and what it means."""
    name, text = parameter.get_help_record(ctx)
    # Arguments come with their Python type ("IMAGE <list[str]>"), which tells a user nothing.
    return name.partition(" ")[0] if parameter.param_type_name == "argument" else re.sub("[<>]", "", name), text


def _with_suggestion(message: str) -> str:
    """Add the nearest choice to Typer's "'jsn' is not one of 'auto', 'json'"."""
    value, refused, choices = message.partition(" is not one of ")
    nearest = get_close_matches(value.strip("'"), re.findall(r"'([^']+)'", choices), n=1) if refused else []
    return f"{message.rstrip('.')}. Did you mean '{nearest[0]}'?" if nearest else message
