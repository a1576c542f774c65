"""Where images go by their best label."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import SORTING
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.library.events import Way

Undo = Annotated[
    str | None,
    typer.Option(metavar="DIR|MANIFEST", help="Undo the sortings into DIR.", rich_help_panel=SORTING),
]


@dataclass(frozen=True, slots=True)
class SortOptions:
    """Where images go by their best label."""

    sort_into: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Sort images into one folder per label, by their best label.", rich_help_panel=SORTING
        ),
    ] = None
    link: Annotated[bool, typer.Option("--link", help="Sort by creating links (default).", rich_help_panel=SORTING)] = (
        False
    )
    copy: Annotated[bool, typer.Option("--copy", help="Sort by copying.", rich_help_panel=SORTING)] = False
    move: Annotated[bool, typer.Option("--move", help="Sort by moving.", rich_help_panel=SORTING)] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be changed without changing it.", rich_help_panel=SORTING),
    ] = False

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
            raise UsageError(
                f"--{ways[0]} needs --sort-into DIR", hint="name the folder that gets one folder per label"
            )
        check_folder(self.sort_into, "--sort-into")

    @property
    def way(self) -> "Way":
        """How images get into their folders."""
        return "copy" if self.copy else "move" if self.move else "link"
