"""How a run over shards reads, shares out and writes them.

Imports no room that needs numpy, PIL or torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import SHARDS
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.scale.inputs.shard import Columns

TextColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column (in a tar, field) with the caption, if it has no usual name.",
        rich_help_panel=SHARDS,
    ),
]


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """How a run over shards reads and shares them out."""

    shards: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Process share I of N of the shards, such as 1/8 on the first of 8 machines.",
            rich_help_panel=SHARDS,
        ),
    ] = None
    keep_columns: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Copy these columns of the input to the output.", rich_help_panel=SHARDS),
    ] = None
    image_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column (in a tar, field) with the image, if it has no usual name.",
            rich_help_panel=SHARDS,
        ),
    ] = None
    key_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column with the keys of rows, if not key, uid, id or the path.",
            rich_help_panel=SHARDS,
        ),
    ] = None
    rows_per_shard: Annotated[
        int,
        typer.Option(
            metavar="N", help="Number of table rows, or images of a folder, per shard.", rich_help_panel=SHARDS
        ),
    ] = 10_000
    tries: Annotated[
        int, typer.Option(metavar="N", help="Give up on a shard after this many attempts.", rich_help_panel=SHARDS)
    ] = 3
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry shards that were given up.", rich_help_panel=SHARDS)
    ] = False

    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on a Ray cluster: HOST:PORT, auto for the one running on this machine, or local for "
            "this machine alone.",
            rich_help_panel=SHARDS,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: `--ray` and `--shards`, which both share out.
        """
        if self.ray is not None and self.shards is not None:
            raise UsageError("--ray and --shards do not go together", hint="use one of them: both distribute shards")

    def columns(self, text_column: str | None = None) -> "Columns":
        """Which columns are read."""
        from clipcli.scale.inputs.shard import Columns

        kept = tuple(dict.fromkeys(name.strip() for name in (self.keep_columns or "").split(",") if name.strip()))
        return Columns(self.image_column, text_column, self.key_column, kept)

    @property
    def given(self) -> list[str]:
        """Options that mean something only for shards, as far as they were given."""
        options = {
            "--shards": self.shards is not None,
            "--keep-columns": self.keep_columns is not None,
            "--image-column": self.image_column is not None,
            "--key-column": self.key_column is not None,
            "--retry-failed": self.retry_failed,
            "--ray": self.ray is not None,
        }
        return [name for name, is_given in options.items() if is_given]
