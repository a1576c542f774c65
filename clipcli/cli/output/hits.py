"""Hits of a search as rows, paths, and images."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.libraries import shown_as
from clipcli.cli.output.rows import Column, print_rows

if TYPE_CHECKING:
    from clipcli.api.library import Library
    from clipcli.api.query import Query
    from clipcli.cli.commands.search import HitOutputOptions
    from clipcli.results import Hit

SCHEMA = "clipcli.search/1"


def print_hits(
    library: "Library", query: "Query", hits: "Sequence[Hit]", folders: Sequence[str], output: "HitOutputOptions"
) -> None:
    """Print hits in the format that was asked for, and do what else the options ask for.

    Args:
        library: Where they were found.
        query: What was looked for.
        hits: The best first.
        folders: As the user wrote them; paths below them are shown so.
        output: Format and destination.
    """
    rows = [_row(hit, folders) for hit in hits]
    if output.prints_paths:
        end = "\0" if output.print0 else "\n"
        with open_destination(output.output) as destination:
            destination.write("".join(f"{row['path']}{end}" for row in rows), errors="surrogateescape")
    else:
        print_rows(
            SCHEMA, rows, _table(rows), output, head={"run": _run(library, query), "summary": _summary(library, rows)}
        )


def _row(hit: "Hit", folders: Sequence[str]) -> dict[str, Any]:
    row = asdict(hit)
    path = shown_as(row.pop("path"), folders)
    return {"path": path, "status": "ok", **row}


def _table(rows: Sequence[dict[str, Any]]) -> list[Column]:
    return [
        Column("#", [str(row["rank"]) for row in rows], right=True),
        Column("path", [row["path"] for row in rows]),
        Column("cosine", [f"{row['cosine']:.3f}" for row in rows], right=True),
        Column("z", [f"{row['z']:.1f}" for row in rows], right=True),
    ]


def _run(library: "Library", query: "Query") -> dict[str, Any]:
    terms = [{"kind": term.kind, "value": term.shown, "weight": term.weight} for term in query.terms]
    without = [{"kind": term.kind, "value": term.shown, "weight": 0} for term in query.without]
    return {**library.describe(), "query": [*terms, *without]}


def _summary(library: "Library", rows: Sequence[object]) -> dict[str, int]:
    counts = library.counts()
    return {"hits": len(rows), "searched": counts.images, "failed": counts.failed}
