"""`clip filter`: the best rows of a scored dataset."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import INPUTS, OUTPUT, SCORING
from clipcli.cli.shell.boundary import say
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.scale.filter import Kept, Scores


def filter_scores(
    scores: Annotated[
        list[str],
        typer.Argument(
            metavar="SCORES",
            help="Folders or URIs written by `clip score --pairs`, or Parquet files with a column of scores.",
            show_default=False,
            rich_help_panel=INPUTS,
        ),
    ],
    *,
    keep: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Keep this share of the rows, best first, such as 0.3.", rich_help_panel=SCORING
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option("--min", metavar="X", help="Keep rows with a score of X or more.", rich_help_panel=SCORING),
    ] = None,
    score_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column with the scores, if its name is not cosine or clipscore.",
            rich_help_panel=INPUTS,
        ),
    ] = None,
    key_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Column with the keys of rows, if its name is not uid or key.", rich_help_panel=INPUTS
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file: .npy for DataComp's resharder, .parquet, or a text file with one key per line.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)] = (False),
) -> None:
    """Select the best rows of a scored dataset.

    \b
    clip filter scores/ --keep 0.3 --output uids.npy
    clip filter scores/ --min 0.28 --output kept.parquet
    clip filter scores/ --min 0.28 > keys.txt
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.destination import check_destination
    from clipcli.scale.filter import Scores
    from clipcli.scale.layouts import require_pyarrow

    if (keep is None) == (least is None):
        raise UsageError("give either --keep or --min", hint="--keep 0.3 keeps the best 30%, --min 0.28 a score")
    if least is not None and math.isnan(least):
        raise UsageError("--min must be a number", hint="--min 0.28 keeps scores of 0.28 and above")
    check_destination(output)
    require_pyarrow()
    try:
        found = Scores(scores, score_column, key_column)
        kept = _write(found, found.least_of_best(keep) if keep is not None else least or 0.0, output)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or error}: no such file", hint="name the output of a run") from error
    if not quiet:
        share = kept.kept / kept.scored if kept.scored else 0
        say(f"kept {kept.kept:,} of {kept.scored:,} scored rows ({share:.1%}), from {found.score} {kept.least:.6g} up")
        if kept.scored < kept.rows:
            say(f"{kept.rows - kept.scored:,} rows have no score")


def _write(scores: "Scores", least: float, output: str | None) -> "Kept":
    """Write what is kept in the form that the file's suffix names."""
    from clipcli.cli.output.destination import open_destination
    from clipcli.files import replacing

    suffix = (output or "").rpartition(".")[2].lower()
    if output is not None and suffix == "parquet":
        import pyarrow.parquet as parquet

        with replacing(output) as stream, parquet.ParquetWriter(stream, scores.schema, compression="zstd") as writer:
            return scores.keep(least, writer.write_table)
    if output is not None and suffix == "npy":
        import numpy as np

        from clipcli.scale.filter import datacomp_pairs, datacomp_subset

        parts: list[np.typing.NDArray[np.void]] = []  # sixteen bytes per key
        kept = scores.keep(least, lambda table: parts.append(datacomp_pairs(scores.texts(table))))
        with replacing(output) as stream:
            np.save(stream, datacomp_subset(parts), allow_pickle=False)
        return kept
    with open_destination(output) as destination:
        kept = scores.keep(least, lambda table: destination.write("".join(f"{key}\n" for key in scores.texts(table))))
        destination.flush()
    return kept
