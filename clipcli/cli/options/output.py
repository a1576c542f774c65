"""What is printed, and where."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from clipcli.cli.options.panels import OUTPUT
from clipcli.errors import UsageError


class Format(StrEnum):
    """How results are printed."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"


def decide_format(format: Format, output: str | None) -> Format:
    """What `auto` means: a table for people, JSON Lines for programs."""
    if format is not Format.auto:
        return format
    on_terminal = output in (None, "-") and sys.stdout is not None and sys.stdout.isatty()
    return Format.table if on_terminal else Format.jsonl


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """In which form results are printed, and where."""

    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="auto: table on a terminal, else jsonl.", rich_help_panel=OUTPUT),
    ] = Format.auto
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.", rich_help_panel=OUTPUT)] = False
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not stdout.", rich_help_panel=OUTPUT),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together, and where results shall go, before anything slow begins.

        Raises:
            UsageError: `--json` with another format.
            ClipError: `--output` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        if self.json and self.format not in (Format.auto, Format.json):
            raise UsageError(f"--json and --format {self.format} do not go together", hint="use one of them")
        check_destination(self.output)

    def chosen_format(self) -> Format:
        """The format, `auto` decided."""
        return Format.json if self.json else decide_format(self.format, self.output)


@dataclass(frozen=True, slots=True)
class OutputOptions(FormatOptions):
    """What is printed where, of a run over images."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=OUTPUT)] = (
        False
    )
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=OUTPUT)
    ] = False
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad image.", rich_help_panel=OUTPUT)
    ] = False
