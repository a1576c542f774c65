"""What is printed, and where."""

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

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


_BY_SUFFIX = {
    ".json": Format.json,
    ".jsonl": Format.jsonl,
    ".ndjson": Format.jsonl,
    ".csv": Format.csv,
    ".tsv": Format.tsv,
}


def names_format(path: str) -> bool:
    """Whether the suffix of a file names a format."""
    return os.path.splitext(path)[1].lower() in _BY_SUFFIX


def names_folder(output: str | None) -> bool:
    """Whether an output is a folder of a run over shards: it ends in a slash, or it is a URI."""
    return output is not None and (output.endswith("/") or "://" in output)


def decide_format(format: Format, output: str | None) -> Format:
    """What `auto` means: the format that the file's suffix names, a table for people, JSON Lines for programs."""
    if format is not Format.auto:
        return format
    named = _BY_SUFFIX.get(os.path.splitext(output or "")[1].lower())
    if named is not None:
        return named
    on_terminal = output in (None, "-") and sys.stdout is not None and sys.stdout.isatty()
    return Format.table if on_terminal else Format.jsonl


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """In which form results are printed, and where.

    Attributes:
        takes_folders: Whether `--output` may name a folder, for a run over shards.
    """

    takes_folders: ClassVar[bool] = False

    format: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="Output format; auto uses the suffix of --output, or else table on a terminal and jsonl elsewhere.",
            rich_help_panel=OUTPUT,
        ),
    ] = Format.auto
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.", rich_help_panel=OUTPUT)] = False
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this file instead of stdout.", rich_help_panel=OUTPUT
        ),
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
        if not (self.takes_folders and names_folder(self.output)):
            check_destination(self.output)

    def chosen_format(self) -> Format:
        """The format, `auto` decided."""
        return Format.json if self.json else decide_format(self.format, self.output)


@dataclass(frozen=True, slots=True)
class TalkOptions(FormatOptions):
    """What is printed where, and what is said beside it."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)] = False
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Do not show a progress bar.", rich_help_panel=OUTPUT)
    ] = False


@dataclass(frozen=True, slots=True)
class OutputOptions(TalkOptions):
    """What is printed where, of a run over images."""

    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that cannot be used.", rich_help_panel=OUTPUT)
    ] = False


@dataclass(frozen=True, slots=True)
class RunOutputOptions(OutputOptions):
    """What is printed where, of a run that can be resumed, and that ends with a report."""

    takes_folders: ClassVar[bool] = True

    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue --output where an earlier run stopped.", rich_help_panel=OUTPUT),
    ] = False
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write an HTML page that shows the images.", rich_help_panel=OUTPUT),
    ] = None
    spreadsheet: Annotated[
        bool,
        typer.Option("--spreadsheet", help="Write CSV or TSV that is safe to open in Excel.", rich_help_panel=OUTPUT),
    ] = False

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: `--resume` without a file of JSON Lines, or `--spreadsheet` with another format than CSV.
            ClipError: `--output` or `--report` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        OutputOptions.__post_init__(self)
        check_destination(self.report, "--report")
        if self.resume and not self.is_journal:
            raise UsageError(
                "--resume needs --output FILE in the format jsonl", hint="add --output results.jsonl, or leave it out"
            )
        if self.spreadsheet and self.chosen_format() not in (Format.csv, Format.tsv):
            raise UsageError(
                "--spreadsheet needs the format csv or tsv", hint="add --format csv, or --output results.csv"
            )

    @property
    def to_stdout(self) -> bool:
        """Whether results go to standard output."""
        return self.output is None or self.output == "-"

    @property
    def is_journal(self) -> bool:
        """Whether rows go to a file that a later run can continue: a pipe or a device cannot."""
        if self.output is None or self.to_stdout or self.chosen_format() is not Format.jsonl:
            return False
        return os.path.isfile(self.output) or not os.path.exists(self.output)


class TagFormat(StrEnum):
    """How tags are printed: everything in `Format`, and one more."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    exiftool = "exiftool"


@dataclass(frozen=True, slots=True)
class TagOutputOptions(RunOutputOptions):
    """What `clip tag` prints where."""

    format: Annotated[
        TagFormat,
        typer.Option(
            "--format",
            "-f",
            help="Output format; auto uses the suffix of --output, or else table on a terminal and jsonl elsewhere.",
            rich_help_panel=OUTPUT,
        ),
    ] = TagFormat.auto  # type: ignore[assignment] # the same words and one more; an enum cannot be extended

    def chosen_format(self) -> Format:
        """The format, `auto` decided. `exiftool` is not among them: see `is_exiftool`."""
        if self.json or self.is_exiftool:
            return Format.json
        return decide_format(Format(self.format.value), self.output)

    @property
    def is_exiftool(self) -> bool:
        """Whether ExifTool is to read the output."""
        return not self.json and self.format.value == TagFormat.exiftool.value


class HitFormat(StrEnum):
    """How hits are printed: everything in `Format`, and one more."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    paths = "paths"


@dataclass(frozen=True, slots=True)
class HitOutputOptions(TalkOptions):
    """What `clip search` prints where, and what else it does with its hits."""

    format: Annotated[
        HitFormat,
        typer.Option(
            "--format",
            "-f",
            help="Output format; auto is table on a terminal, else jsonl; paths is one path per line.",
            rich_help_panel=OUTPUT,
        ),
    ] = HitFormat.auto  # type: ignore[assignment] # the same words and one more; an enum cannot be extended
    print0: Annotated[
        bool, typer.Option("--print0", help="Print paths, each followed by NUL, for xargs -0.", rich_help_panel=OUTPUT)
    ] = False
    show: Annotated[bool, typer.Option("--show", help="Show the images in the terminal.", rich_help_panel=OUTPUT)] = (
        False
    )
    contact_sheet: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write an HTML page that shows the images.", rich_help_panel=OUTPUT),
    ] = None
    copy: Annotated[
        str | None, typer.Option(metavar="DIR", help="Copy the images into this folder.", rich_help_panel=OUTPUT)
    ] = None
    link: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Create links to the images in this folder.", rich_help_panel=OUTPUT),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together, and where things shall go, before anything slow begins.

        Raises:
            UsageError: Options that do not go together.
            ClipError: A file or folder cannot be written.
        """
        from clipcli.cli.output.destination import check_destination, check_folder

        TalkOptions.__post_init__(self)
        check_destination(self.contact_sheet, "--contact-sheet")
        check_folder(self.copy, "--copy")
        check_folder(self.link, "--link")
        if self.print0 and (self.json or self.format.value not in (HitFormat.auto, HitFormat.paths)):
            raise UsageError("--print0 prints paths, and does not go with another format", hint="use one of them")
        if self.copy and self.link:
            raise UsageError("--copy and --link do not go together", hint="use one of them")

    @property
    def prints_paths(self) -> bool:
        """Whether nothing but paths is printed."""
        return self.print0 or (not self.json and self.format.value == HitFormat.paths.value)

    def chosen_format(self) -> Format:
        """The format, `auto` decided; see `prints_paths` for the one that is not among them."""
        if self.json or self.prints_paths:
            return Format.json
        return decide_format(Format(self.format.value), self.output)
