"""What is written beside images."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from clipcli.cli.options.panels import SIDECARS
from clipcli.errors import UsageError


class SidecarName(StrEnum):
    """What the sidecar of IMG.jpg is called."""

    stem = "stem"
    full = "full"


@dataclass(frozen=True, slots=True)
class SidecarOptions:
    """What is written beside images."""

    write_sidecars: Annotated[
        bool,
        typer.Option(
            "--write-sidecars", help="Write tags as keywords into XMP sidecar files.", rich_help_panel=SIDECARS
        ),
    ] = False
    remove_tags: Annotated[
        bool,
        typer.Option(
            "--remove-tags",
            help="Remove keywords that clip wrote from sidecar files; with --label-set, only those of that set.",
            rich_help_panel=SIDECARS,
        ),
    ] = False
    sidecar_name: Annotated[
        SidecarName,
        typer.Option(
            help="Name of the sidecar file of IMG.jpg: stem is IMG.xmp, full is IMG.jpg.xmp.", rich_help_panel=SIDECARS
        ),
    ] = SidecarName.stem
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help='Put TEXT before each keyword, such as "ai/".', rich_help_panel=SIDECARS)
    ] = ""

    def __post_init__(self) -> None:
        """Check the prefix.

        Raises:
            UsageError: It cannot be part of a keyword.
        """
        if any(not character.isprintable() for character in self.prefix):
            raise UsageError(
                f"--prefix {self.prefix!r} holds a line break or another control character", hint="leave it out"
            )
