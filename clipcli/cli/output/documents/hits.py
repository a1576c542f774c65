"""Hits of a search as rows, paths, and images."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clipcli.cli.options.output import Format
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.cli.output.documents.libraries import shown_as
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.terminal import printable
from clipcli.cli.shell.wording import counted

if TYPE_CHECKING:
    from clipcli.api.libraries.library import Library
    from clipcli.api.libraries.query import Query
    from clipcli.cli.options.output import HitOutputOptions
    from clipcli.results import Hit

_SHOWN_ROWS = 10
_SHOWN_PX = 240
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
    if output.show and output.chosen_format() is Format.table:
        with open_destination(output.output) as destination:
            if destination.can_redraw:
                _show(rows, [hit.path for hit in hits], destination)
                return
    if output.prints_paths:
        end = "\0" if output.print0 else "\n"
        with open_destination(output.output) as destination:
            destination.write("".join(f"{row['path']}{end}" for row in rows), errors="surrogateescape")
    else:
        print_rows(SCHEMA, rows, _table(rows), output, head=_head(library, query, rows, output))


def _head(library: "Library", query: "Query", rows: Sequence[object], output: "HitOutputOptions") -> dict[str, Any]:
    """What a JSON document says besides; counting takes time that the other formats need not take."""
    if output.chosen_format() is not Format.json:
        return {}
    return {"run": _run(library, query), "summary": _summary(library, rows)}


def act_on_hits(hits: "Sequence[Hit]", query: "Query", output: "HitOutputOptions") -> int:
    """Write the page, and copy or link the images; returns how many could not be."""
    if output.contact_sheet is not None:
        _write_sheet(output.contact_sheet, hits, query)
    folder = output.copy or output.link
    if folder is None:
        return 0
    from clipcli.cli.output.library_events import sort_images
    from clipcli.library.sorting.sorter import Sorter

    sorter = Sorter(folder, "copy" if output.copy else "link", {"": ()})
    rows = [{"path": hit.path, "tags": [{"label": ""}]} for hit in hits]
    return sort_images(rows, sorter, dry_run=False, quiet=output.quiet)


def _write_sheet(path: str, hits: "Sequence[Hit]", query: "Query") -> None:
    from clipcli.library.report.sheet import Picture, Section, sheet

    images = [Picture(hit.path, f"{hit.rank}. cosine {hit.cosine:.3f}, z {hit.z:.1f}") for hit in hits]
    title = ", ".join(f"{'not ' if term.weight < 0 else ''}{term.shown}" for term in query.terms)
    with open_destination(path, "--contact-sheet") as destination:
        pieces = sheet(title, counted(len(hits), "image"), [Section(None, images)], os.path.dirname(path) or ".")
        for piece in pieces:
            destination.write(piece)


def _show(rows: Sequence[dict[str, Any]], paths: Sequence[str], destination: Destination) -> None:
    """Draw each image above its row."""
    from clipcli.cli.shell.thumbnails import drawn
    from clipcli.errors import ImageError
    from clipcli.images.decode import DecodeOptions, decode
    from clipcli.images.find import ImageSource

    for row, path in zip(rows, paths, strict=True):
        try:
            image = decode(ImageSource(path), DecodeOptions(exact=False), (_SHOWN_PX, _SHOWN_PX))
            destination.write(drawn(image, _SHOWN_ROWS))
        except ImageError as error:
            destination.write(f"{printable(str(error))}\n")
        destination.write(f"{row['rank']}  {printable(row['path'])}  {row['cosine']:.3f}  {row['z']:.1f}\n")
        destination.flush()


def _row(hit: "Hit", folders: Sequence[str]) -> dict[str, Any]:
    row = asdict(hit)
    del row["id"]
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
    return {**library.describe(), "query": query.describe()}


def _summary(library: "Library", rows: Sequence[object]) -> dict[str, int]:
    counts = library.counts()
    return {"hits": len(rows), "searched": counts.images, "failed": counts.failed}
