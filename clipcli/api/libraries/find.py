"""Search a library by comparing every row, or only the rows that an approximate index returns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipcli.answers import search as answers
from clipcli.answers.classify import shortest
from clipcli.answers.search import QueryPart, Rows, Scan, SearchOptions
from clipcli.api.libraries.query import Filters
from clipcli.library.index.approximate import Approximate
from clipcli.library.index.store import Snapshot
from clipcli.library.index.table import ImageRow
from clipcli.results import Hit

# Hits to look up beyond those that were asked for: some may have vanished since the last update.
_SPARE = 64
# The share of candidates that must pass the filters.
_LEAST_ALLOWED = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """A query whose terms are encoded.

    Attributes:
        parts: What is added up.
        without: Leave out images that fit one of these better than the sum.
        digests: Contents to leave out.
        filters: Which images may be answers.
        options: How many hits, and their least cosine and `z`.
        balanced: Bring texts and images to the same spread.
    """

    parts: Sequence[QueryPart]
    without: Sequence[QueryPart]
    digests: Sequence[bytes]
    filters: Filters
    options: SearchOptions
    balanced: bool


@dataclass(frozen=True, slots=True)
class _Compared:
    """Rows of the matrix, ascending, compared with the query, and which of them may be answers."""

    rows: Rows
    scanned: Scan
    allowed: answers.Mask


def find(snapshot: Snapshot, asked: Asked, index: Approximate | None) -> list[Hit]:
    """The images that fit best, best first.

    Args:
        snapshot: The library.
        asked: What is looked for.
        index: Selects the rows to compare, unless too many hits are wanted or too few rows pass the filters; None
            compares all rows.

    Raises:
        UsageError: The parts of the query cancel each other out.
    """
    query = answers.query_vector(asked.parts, snapshot.matrix, snapshot.live, balanced=asked.balanced)
    others = [part.features for part in asked.without]
    options = asked.options
    rows = index.candidates(query, options.offset + options.top, snapshot) if index and options.top else None
    if index is not None and rows is not None:
        compared = _compared(snapshot, asked, rows, [index.scan(part, rows, snapshot) for part in (query, *others)])
        hits = _hits(snapshot, compared, options)
        if _suffice(compared, hits, options):
            return hits
    scans = [answers.scan(snapshot.matrix, part, snapshot.live) for part in (query, *others)]
    return _hits(snapshot, _compared(snapshot, asked, np.arange(len(snapshot.matrix)), scans), options)


def _suffice(compared: _Compared, hits: Sequence[Hit], options: SearchOptions) -> bool:
    """Whether the hits among candidates are those of the whole library.

    The index finds nearly all of the best candidates, but fewer of the hundreds that follow: if few pass the filters,
    all rows are compared.
    """
    if compared.allowed.sum() < _LEAST_ALLOWED * len(compared.rows):
        return False
    if len(hits) == options.top:
        return True
    # Candidates are sorted: after one that is not good enough, none is.
    good = answers.best(compared.scanned, None, SearchOptions(0, 0, options.threshold, options.min_z))
    return len(good) < len(compared.rows)


def _compared(snapshot: Snapshot, asked: Asked, rows: Rows, scans: Sequence[Scan]) -> _Compared:
    allowed = asked.filters.allowed(snapshot, (*asked.parts, *asked.without), asked.digests, rows)
    if asked.without:
        allowed &= ~answers.nearer_to(scans[0], scans[1:])
    return _Compared(rows, scans[0], allowed)


def _hits(snapshot: Snapshot, compared: _Compared, options: SearchOptions) -> list[Hit]:
    """The best rows whose files are still there."""
    scanned = compared.scanned
    wanted = options.offset + options.top if options.top else 0
    depth = wanted + _SPARE if wanted else 0
    while True:
        found = answers.best(scanned, compared.allowed, SearchOptions(depth, 0, options.threshold, options.min_z))
        images = snapshot.images(compared.rows[found].tolist())
        present = [(i, image) for i, image in zip(found, images, strict=True) if os.path.lexists(image.path)]
        if not depth or len(present) >= wanted or len(found) < depth:
            break
        depth *= 4
    shown = present[options.offset : wanted or None]
    return [_hit(rank, image, scanned, int(i)) for rank, (i, image) in enumerate(shown, start=options.offset + 1)]


def _hit(rank: int, image: ImageRow, scanned: Scan, i: int) -> Hit:
    return Hit(
        path=image.path,
        rank=rank,
        cosine=shortest(scanned.cosines[i]),
        z=shortest(scanned.z[i]),
        width=image.width,
        height=image.height,
        taken=image.taken,
        id=image.id,
    )
