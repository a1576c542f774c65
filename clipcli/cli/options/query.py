"""What `clip search` looks for, and where."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import LIBRARY, QUERY
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.answers.search import SearchOptions
    from clipcli.api.libraries.query import Filters, Query, Term, TermKind

LibraryName = Annotated[
    str | None,
    typer.Option(
        "--library",
        metavar="NAME|PATH",
        envvar="CLIPCLI_LIBRARY",
        help="Search this library; the default is that of the folder.",
        rich_help_panel=LIBRARY,
    ),
]
NoUpdate = Annotated[
    bool,
    typer.Option(
        "--no-update", help="Use the library as it is, without looking for changed images.", rich_help_panel=LIBRARY
    ),
]

_WEIGHT = re.compile(r"(?P<value>.*)(?<!\\)\^(?P<weight>[^^]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The parts of a query. A part may end in a weight: `--text "night^0.5"`; a backslash keeps a caret as it is."""

    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "--plus",
            "-t",
            metavar="TEXT",
            help="Add a text, optionally with a weight, as in night^0.5. Repeatable.",
            rich_help_panel=QUERY,
        ),
    ] = None
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Subtract a text. Repeatable.", rich_help_panel=QUERY),
    ] = None
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE", help="Add an image. Repeatable.", rich_help_panel=QUERY),
    ] = None
    unlike: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE", help="Subtract an image. Repeatable.", rich_help_panel=QUERY),
    ] = None
    vector: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.npy", help="Add a vector written by `clip embed`.", rich_help_panel=QUERY),
    ] = None
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Exclude images that match this text better. Repeatable.", rich_help_panel=QUERY
        ),
    ] = None
    raw_weights: Annotated[
        bool,
        typer.Option(
            "--raw-weights",
            help="Do not balance texts and images by the spread of their cosines.",
            rich_help_panel=QUERY,
        ),
    ] = False

    def read(self, text: str | None) -> "Query":
        """Make the query, with a text that was given without an option.

        Raises:
            UsageError: It has no part, or a weight is not a number.
        """
        from clipcli.api.libraries.library import as_query
        from clipcli.api.libraries.query import Query

        texts = [*([text] if text is not None else []), *(self.text or [])]
        terms = [
            *_terms("text", texts, 1),
            *_terms("image", self.like, 1),
            *_vectors(self.vector),
            *_terms("text", self.minus, -1),
            *_terms("image", self.unlike, -1),
        ]
        if not terms:
            raise UsageError("no query is given", hint='write it first: clip search "a dog on a beach" ~/photos')
        return as_query(Query(tuple(terms), tuple(_terms("text", self.without, 1)), balanced=not self.raw_weights))


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Which images may be answers, and how many are shown."""

    top: Annotated[
        int, typer.Option("--top", "-k", metavar="N", help="Show the N best images; 0 for all.", rich_help_panel=QUERY)
    ] = 20
    skip: Annotated[
        int, typer.Option(metavar="N", help="Skip the N best images, to see the next ones.", rich_help_panel=QUERY)
    ] = 0
    threshold: Annotated[
        float | None,
        typer.Option(metavar="X", help="Show only images with a cosine of at least X.", rich_help_panel=QUERY),
    ] = None
    min_z: Annotated[
        float | None,
        typer.Option(
            metavar="Z",
            help="Show only images with a z of at least Z: standard deviations above the average image.",
            rich_help_panel=QUERY,
        ),
    ] = None
    after: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", help="Show only images taken on this date or later, such as 2024-05.", rich_help_panel=QUERY
        ),
    ] = None
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Show only images taken on this date or earlier.", rich_help_panel=QUERY),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Show only images whose path matches. Repeatable.", rich_help_panel=QUERY),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Exclude images whose path matches. Repeatable.", rich_help_panel=QUERY),
    ] = None
    include_self: Annotated[
        bool,
        typer.Option("--include-self", help="Include the images of the query and their copies.", rich_help_panel=QUERY),
    ] = False

    exact: Annotated[
        bool,
        typer.Option("--exact", help="Compare every image, also where there is an index.", rich_help_panel=QUERY),
    ] = False

    def options(self) -> "SearchOptions":
        """How many images, and how good."""
        from clipcli.answers.search import SearchOptions

        return SearchOptions(self.top, self.skip, self.threshold, self.min_z, self.exact)

    def filters(self, under: Iterable[str]) -> "Filters":
        """Which images, those below some folders."""
        from clipcli.api.libraries.query import Filters

        lists = tuple(self.only or ()), tuple(self.exclude or ())
        return Filters(self.after, self.before, *lists, tuple(under), self.include_self)


def _terms(kind: "TermKind", values: Iterable[str] | None, sign: int) -> "Iterator[Term]":
    from clipcli.api.libraries.query import Term

    for given in values or ():
        value, weight = _weighted(given)
        yield Term(kind, value, sign * weight)


def _vectors(paths: Iterable[str] | None) -> "Iterator[Term]":
    import numpy as np

    from clipcli.api.libraries.query import Term

    for given in paths or ():
        path, weight = _weighted(given)
        try:
            vector = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(f"--vector {path}: it cannot be read: {error}", hint="give a .npy file") from error
        yield Term("vector", vector, weight)


def _weighted(given: str) -> tuple[str, float]:
    """Part a weight from what it belongs to."""
    match = _WEIGHT.fullmatch(given)
    if match is None:
        return given.replace(r"\^", "^"), 1.0
    try:
        weight = float(match["weight"])
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise UsageError(
            f"{given!r}: what follows ^ must be a weight above 0, not {match['weight']!r}",
            hint=r"write night^0.5, or \^ for a caret in a text",
        )
    return match["value"].replace(r"\^", "^"), weight
