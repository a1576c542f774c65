"""Options that only `clip tag` has, in groups. Imports no room that needs numpy, PIL or torch."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from clipcli.cli.options import OUTPUT, SCORING, Format, OutputOptions, decide_format
from clipcli.errors import UsageError
from clipcli.library.events import Way

SIDECARS, SORTING, CALIBRATION = "Sidecars", "Sorting", "Calibration"


class TagFormat(StrEnum):
    """How tags are printed: everything in `Format`, and one more."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    exiftool = "exiftool"


class SidecarName(StrEnum):
    """What the sidecar of IMG.jpg is called."""

    stem = "stem"
    full = "full"


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """Which labels an image is given."""

    threshold: Annotated[
        float | None,
        typer.Option(metavar="X", help="Least score; labels may have their own. Default 0.5.", rich_help_panel=SCORING),
    ] = None
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", metavar="N", help="At most N labels an image.", rich_help_panel=SCORING),
    ] = None
    exclusive: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Only the best label of a group. Repeatable.", rich_help_panel=SCORING),
    ] = None


@dataclass(frozen=True, slots=True)
class SidecarOptions:
    """What is written beside images."""

    write_sidecars: Annotated[
        bool, typer.Option("--write-sidecars", help="Write tags into XMP sidecars.", rich_help_panel=SIDECARS)
    ] = False
    sidecar_name: Annotated[
        SidecarName, typer.Option(help="stem: IMG.xmp; full: IMG.jpg.xmp.", rich_help_panel=SIDECARS)
    ] = SidecarName.stem
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help='Before each keyword: "ai/".', rich_help_panel=SIDECARS)
    ] = ""
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what sidecars and sorting would change.", rich_help_panel=SIDECARS),
    ] = False

    def __post_init__(self) -> None:
        """Check the prefix.

        Raises:
            UsageError: It cannot be part of a keyword.
        """
        if any(not character.isprintable() for character in self.prefix):
            raise UsageError(
                f"--prefix {self.prefix!r} holds a line break or another control character", hint="leave it out"
            )


@dataclass(frozen=True, slots=True)
class SortOptions:
    """Where images go by their best label."""

    sort_into: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="One folder a label, by best label.", rich_help_panel=SORTING),
    ] = None
    link: Annotated[bool, typer.Option("--link", help="Sort by links (default).", rich_help_panel=SORTING)] = False
    copy: Annotated[bool, typer.Option("--copy", help="Sort copies.", rich_help_panel=SORTING)] = False
    move: Annotated[bool, typer.Option("--move", help="Move the images.", rich_help_panel=SORTING)] = False
    undo: Annotated[
        str | None,
        typer.Option(metavar="DIR|MANIFEST", help="Take sortings into DIR back.", rich_help_panel=SORTING),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: More than one way to sort, or one without a folder.
            ClipError: `--sort-into` cannot be written.
        """
        from clipcli.cli.output.destination import check_folder

        ways = [name for name in ("link", "copy", "move") if getattr(self, name)]
        if len(ways) > 1:
            raise UsageError(f"--{ways[0]} and --{ways[1]} do not go together", hint="use one of them")
        if ways and self.sort_into is None:
            raise UsageError(f"--{ways[0]} needs --sort-into DIR", hint="name the folder that gets one folder a label")
        check_folder(self.sort_into, "--sort-into")

    @property
    def way(self) -> Way:
        """How images get into their folders."""
        return "copy" if self.copy else "move" if self.move else "link"


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """Thresholds from images whose labels are known."""

    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|CSV",
            help="Fit thresholds to FOLDER/label/image.jpg, or a CSV of path,label.",
            rich_help_panel=CALIBRATION,
        ),
    ] = None
    calibrate_into: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a label set with them.", rich_help_panel=CALIBRATION),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: One of the two without the other.
            ClipError: `--calibrate-into` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        if (self.calibrate is None) != (self.calibrate_into is None):
            raise UsageError(
                "--calibrate and --calibrate-into go together",
                hint="clip tag --label-set pets --calibrate labelled/ --calibrate-into my-pets.yaml",
            )
        check_destination(self.calibrate_into, "--calibrate-into")


@dataclass(frozen=True, slots=True)
class TagOutputOptions(OutputOptions):
    """What is printed where."""

    format: Annotated[
        TagFormat,
        typer.Option("--format", "-f", help="auto: table on a terminal, else jsonl.", rich_help_panel=OUTPUT),
    ] = TagFormat.auto  # type: ignore[assignment] # the same words and one more; an enum cannot be extended
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with --output where a run stopped.", rich_help_panel=OUTPUT),
    ] = False
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write a page to look at.", rich_help_panel=OUTPUT),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: `--resume` without a file of JSON Lines.
            ClipError: `--output` or `--report` cannot be written.
        """
        from clipcli.cli.output.destination import check_destination

        OutputOptions.__post_init__(self)
        check_destination(self.report, "--report")
        if self.resume and not self.is_journal:
            raise UsageError(
                "--resume needs --output FILE in the format jsonl", hint="clip tag ... --output tags.jsonl --resume"
            )

    @property
    def is_journal(self) -> bool:
        """Whether rows go to a file that a later run can go on with: a pipe or a device is none."""
        if self.output in (None, "-") or self.chosen_format() is not Format.jsonl:
            return False
        return os.path.isfile(self.output) or not os.path.exists(self.output)

    def chosen_format(self) -> Format:
        """The format, `auto` decided. `exiftool` is not among them: see `is_exiftool`."""
        if self.json or self.is_exiftool:
            return Format.json
        return decide_format(Format(self.format.value), self.output)

    @property
    def is_exiftool(self) -> bool:
        """Whether ExifTool is to read the output."""
        return not self.json and self.format.value == TagFormat.exiftool.value
