"""What `clip explain` asks, and what it writes."""

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.output import Format, RunOutputOptions, names_format
from clipcli.cli.options.panels import MAPS, OUTPUT
from clipcli.errors import ClipError, UsageError

if TYPE_CHECKING:
    from clipcli.answers.maps import ExplainOptions

_GLOB = "*?["


class MethodName(StrEnum):
    """How patches get features of their own."""

    keys = "keys"
    values = "values"
    parts = "parts"


class QualityName(StrEnum):
    """How closely the model looks."""

    fast = "fast"
    good = "good"
    best = "best"


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How maps are made."""

    method: Annotated[
        MethodName,
        typer.Option(
            help="How maps are computed: keys locates labels best, parts shows what adds to the cosine.",
            rich_help_panel=MAPS,
        ),
    ] = MethodName.keys
    quality: Annotated[
        QualityName,
        typer.Option(
            help="Size of the input: fast is the model's own, good 1.5 times as large, best four sizes.",
            rich_help_panel=MAPS,
        ),
    ] = QualityName.good
    top: Annotated[
        int,
        typer.Option(
            "--top", "-k", metavar="N", help="Draw maps of the N labels that match best.", rich_help_panel=MAPS
        ),
    ] = 12

    def options(self) -> "ExplainOptions":
        """How maps are made, as the library has it.

        Raises:
            UsageError: `--top` is below 1.
        """
        from clipcli.answers.maps import ExplainOptions

        return ExplainOptions(self.method.value, self.quality.value, self.top)


@dataclass(frozen=True, slots=True)
class MapOutputOptions:
    """Where maps go, and what is printed of them."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.png|DIR",
            help="Draw the maps into this PNG file, or into this folder for several images. A name such as maps.json "
            "is for the rows instead.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.html", help="Write an HTML page with the maps of all images.", rich_help_panel=OUTPUT
        ),
    ] = None
    npy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npy|DIR",
            help="Write the raw maps: cosines of shape labels x rows x columns.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    format: Annotated[
        Format,
        typer.Option(
            "--format", "-f", help="Output format; auto is table on a terminal, else jsonl.", rich_help_panel=OUTPUT
        ),
    ] = Format.auto
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.", rich_help_panel=OUTPUT)] = False
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="Also show the maps in the terminal.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    font: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Use this font for labels.", rich_help_panel=OUTPUT),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)] = False
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Do not show a progress bar.", rich_help_panel=OUTPUT)
    ] = False
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that cannot be used.", rich_help_panel=OUTPUT)
    ] = False

    def __post_init__(self) -> None:
        """Check what goes together, and where things shall go, before anything slow begins.

        Raises:
            UsageError: `--json` with another format, or a name whose ending says something else.
            ClipError: Something cannot be written, is an image of the user's, or the font cannot be read.
        """
        from clipcli.cli.output.destination import check_destination

        _ = self.rows
        check_destination(self.report, "--report")
        _check_target(self.drawings, ".png", "--output", "maps are drawn as PNG")
        _check_target(self.npy, ".npy", "--npy", "raw maps are written as .npy")
        _refuse_foreign(self.drawings)
        self._check_font()

    @property
    def rows(self) -> RunOutputOptions:
        """What is printed where, as other commands have it."""
        output = self.output if self._is_for_rows else None
        return RunOutputOptions(
            format=self.format,
            json=self.json,
            output=output,
            quiet=self.quiet,
            no_progress=self.no_progress,
            fail_fast=self.fail_fast,
        )

    @property
    def drawings(self) -> str | None:
        """The file or folder that maps are drawn into."""
        return None if self._is_for_rows else self.output

    @property
    def shows(self) -> bool:
        """Whether maps are shown where people see rows as a table."""
        return self.show or not (self.drawings or self.report or self.npy)

    def check_count(self, images: list[str] | None, from_file: str | None) -> None:
        """Refuse a file for the maps of several images.

        Raises:
            UsageError: There may be several.
        """
        named = images or []
        one = len(named) == 1 and from_file is None and not os.path.isdir(named[0])
        if one and (os.path.exists(named[0]) or not any(character in named[0] for character in _GLOB)):
            return
        for option, path in (("--output", self.drawings), ("--npy", self.npy)):
            if path is not None and not is_folder(path):
                raise UsageError(
                    f"{option} {path}: several images need a folder",
                    hint=f"name a folder: {option} {os.path.splitext(path)[0]}/; --report makes one page of all",
                )

    @property
    def _is_for_rows(self) -> bool:
        return self.output is not None and (self.output == "-" or names_format(self.output))

    def _check_font(self) -> None:
        if self.font is None:
            return
        from clipcli.library.report.panels import font_for

        try:
            font_for([], self.font)
        except OSError as error:
            raise ClipError(f"--font {self.font}: {error}", hint="name a TrueType or OpenType font file") from error


def is_folder(path: str) -> bool:
    """Whether a path is meant as a folder: it is one, or its name has no ending."""
    return os.path.isdir(path) or path.endswith(os.sep) or not os.path.splitext(path)[1]


def _check_target(path: str | None, suffix: str, option: str, what: str) -> None:
    from clipcli.cli.output.destination import check_destination, check_folder

    if path is None:
        return
    if is_folder(path):
        check_folder(path, option)
        return
    if os.path.splitext(path)[1].lower() != suffix:
        raise UsageError(f"{option} {path}: {what}", hint=f"name a file that ends in {suffix}, or a folder")
    check_destination(path, option, may_be_image=True)


def _refuse_foreign(path: str | None) -> None:
    """Refuse to write over an image that somebody else has made."""
    if path is None or not os.path.isfile(path):
        return
    from clipcli.library.report.panels import made_here

    if not made_here(path):
        raise UsageError(
            f"--output {path}: this image is not one of clip explain's, and images are never written over",
            hint="--output takes the next word as the file to write: give it another name",
        )
