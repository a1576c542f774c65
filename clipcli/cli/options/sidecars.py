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
        bool, typer.Option("--write-sidecars", help="Write tags into XMP sidecars.", rich_help_panel=SIDECARS)
    ] = False
    remove_tags: Annotated[
        bool,
        typer.Option(
            "--remove-tags",
            help="Take the keywords that clip wrote out of sidecars again, or those of --label-set alone.",
            rich_help_panel=SIDECARS,
        ),
    ] = False
    sidecar_name: Annotated[
        SidecarName, typer.Option(help="stem: IMG.xmp; full: IMG.jpg.xmp.", rich_help_panel=SIDECARS)
    ] = SidecarName.stem
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help='Before each keyword: "ai/".', rich_help_panel=SIDECARS)
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
