"""An approximate index of a library: finds the rows that may be best without reading all of them. Needs usearch.

A graph of neighbors (HNSW, arXiv:1603.09320) over the rows in 8 bits names candidates; their cosines are then computed
from the matrix by the same product as in an exact search, so the way in which a row was found does not show in its
score. The graph covers the rows that were there when it was built; newer ones are all compared, and those that have
died since are left out. Whatever does not fit the library any more is refused with a sentence, never used.
"""

import io
import os
import shutil
import zlib
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipcli.answers.search import BLOCK_ROWS, Moments, Rows, Scan, products, standardized
from clipcli.errors import ClipError, UsageError
from clipcli.files import FileStamp, replacing
from clipcli.progress import Progress
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.library.index.store import Snapshot

FACTS_NAME = "approximate.npz"
# The graph's name holds its checksum, so that the facts always name the file that they are about.
PATTERNS = (FACTS_NAME, "approximate-*.usearch", "approximate-*.part")
# Wider searches find more. Texts lie far from all images: of 200,000 rows like CLIP's, a width of 500 found 96 % of the
# rows that fit a text best and one of 2,000 found 99 %, where both found all that fit an image.
_EDGES, _WIDTH_BUILDING, _WIDTH = 16, 128, 2000
_ROWS_AT_ONCE = 10_000
# What a row takes in the graph besides its bytes.
_EDGE_BYTES = 200
# A page of more hits than this, or too many rows that came later, is faster by comparing every row.
_MOST_CANDIDATES, _CANDIDATES_A_HIT = 10_000, 10
_LEAST_COVERED = 0.8
_BUILD = "build it again: clip library index"
_RECALL_TOP, _SAME_COSINE = 10, 1 - 1e-6


class NoIndex(ClipError):
    """There is no approximate index that can be used; the message says why."""


class AbsentIndex(NoIndex):
    """Nobody has built one."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an index.

    Attributes:
        generation: Of the matrix that it was built from.
        rows: How many rows of it are covered.
        dead: Rows among them that were dead already.
        moments: Of the rows that were not.
        graph: Size in bytes, time of change in nanoseconds, and CRC-32 of the graph's file.
        recall: The share of the 10 best rows that are found, for texts and for images.
    """

    generation: int
    rows: int
    dead: Rows
    moments: Moments
    graph: tuple[int, int, int]
    recall: tuple[float, float]


class Approximate:
    """An index that fits its library.

    Raises:
        NoIndex: There is none, or it does not fit.
        UsageError: usearch is not installed.
    """

    def __init__(self, folder: Path, snapshot: "Snapshot") -> None:
        self.facts = read_facts(folder)
        if self.facts.generation != snapshot.generation:
            raise NoIndex("the approximate index is of the library before it was compacted", hint=_BUILD)
        path = folder / graph_name(self.facts)
        _check_graph(path, self.facts.graph)
        index = _usearch()
        try:
            self._graph = index.restore(str(path), view=True)
        except Exception as error:  # whatever usearch raises: RuntimeError, ValueError
            raise NoIndex(f"the approximate index cannot be read: {error}", hint=_BUILD) from error
        if self._graph is None or len(self._graph) != self.facts.rows - len(self.facts.dead):
            raise NoIndex("the approximate index is damaged", hint=_BUILD)
        self._graph.expansion_search = _WIDTH

    def require_cover(self, rows: int) -> None:
        """Refuse an index that most searches would be faster without.

        Raises:
            NoIndex: Too many rows of the matrix are newer, or some are gone.
        """
        if not rows * _LEAST_COVERED <= self.facts.rows <= rows:
            raise NoIndex(f"the approximate index covers {self.facts.rows:,} of {rows:,} rows", hint=_BUILD)

    def candidates(self, query: Floats, wanted: int, snapshot: "Snapshot") -> Rows | None:
        """Rows of the matrix that may be the best: those of the graph, and all that came later. None: too many.

        Shapes: query (D,) -> ascending, living rows.
        """
        count = max(_WIDTH, wanted * _CANDIDATES_A_HIT)
        if count > _MOST_CANDIDATES:
            return None
        found = np.sort(nearest(self._graph, query, count))
        rows = np.concatenate([found, np.arange(self.facts.rows, len(snapshot.matrix))])
        return rows if snapshot.live is None else rows[snapshot.live[rows]]

    def scan(self, query: Floats, rows: Rows, snapshot: "Snapshot") -> Scan:
        """Compare candidates with a query, exactly; `z` is that over the whole library, up to rounding.

        Shapes: query (D,), rows (K,) -> (K,) and (K,).
        """
        covered = rows[rows < self.facts.rows]
        added = products(snapshot.matrix[self.facts.rows :], query)[rows[len(covered) :] - self.facts.rows]
        died = np.empty(0, dtype=np.intp)
        if snapshot.live is not None:
            died = np.setdiff1d(np.flatnonzero(~snapshot.live[: self.facts.rows]), self.facts.dead)
        removed = products(snapshot.matrix[died], query)
        mean, deviation = self.facts.moments.spread(query, added, removed)
        return standardized(np.concatenate([products(snapshot.matrix[covered], query), added]), mean, deviation)


def build(
    folder: Path, generation: int, matrix: Floats, live: Rows, texts: Floats, on_progress: Progress
) -> tuple[Path, Facts]:
    """Build the graph of some rows and measure it; `publish` puts it in its place.

    Shapes: matrix (N, D), texts (T, D).

    Args:
        folder: The library's.
        generation: Of the matrix.
        matrix: The rows.
        live: Those that belong to an image.
        texts: Features of texts, to measure how many of the rows that fit them best are found.
        on_progress: Told how many rows are in the graph, and of how many.

    Raises:
        ClipError: There is no room for it, or it cannot be written.
        UsageError: usearch is not installed.
    """
    path = folder / f"approximate-{os.getpid()}.part"
    needed = len(live) * (matrix.shape[1] + _EDGE_BYTES)
    if shutil.disk_usage(folder).free < needed:
        raise ClipError(f"{folder}: the index needs {needed:,} bytes of free space", hint="make room")
    try:
        path.touch()  # before hours of work
        graph = _graph_of(matrix, live, on_progress)
        images = matrix[live[:: max(1, len(live) // max(1, len(texts)))][: len(texts)]]
        measured = (recall(graph, matrix, live, texts), recall(graph, matrix, live, images))
        _save(graph, path)
        stamp = _graph_stamp(path)
    except BaseException as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise ClipError(
                f"{folder}: the index cannot be written: {reason}",
                hint="check its permissions and the space on its disk",
            ) from error
        raise
    dead = np.setdiff1d(np.arange(len(matrix)), live)
    return path, Facts(generation, len(matrix), dead, Moments.of(matrix, live), stamp, measured)


def _graph_of(matrix: Floats, live: Rows, on_progress: Progress) -> Any:
    graph = _usearch()(
        ndim=matrix.shape[1],
        metric="cos",
        dtype="i8",
        connectivity=_EDGES,
        expansion_add=_WIDTH_BUILDING,
        expansion_search=_WIDTH,
        enable_key_lookups=False,
    )
    for begin in range(0, len(live), _ROWS_AT_ONCE):
        rows = live[begin : begin + _ROWS_AT_ONCE]
        graph.add(rows.astype(np.uint64), matrix[rows])
        on_progress(begin + len(rows), len(live))
    return graph


def _save(graph: Any, path: Path) -> None:
    """Write a graph, and wait for the disk.

    Raises:
        OSError: It cannot be written.
    """
    try:
        graph.save(str(path))
    except RuntimeError as error:  # usearch's only kind
        raise OSError(0, str(error)) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())


def publish(folder: Path, graph: Path, facts: Facts) -> None:
    """Put a graph that was built in the place of the one before.

    Raises:
        OSError: It cannot be written; the one before is then ignored, or stays.
    """
    os.replace(graph, folder / graph_name(facts))
    buffer = io.BytesIO()
    moments = facts.moments
    np.savez(
        buffer,
        numbers=np.array([facts.generation, facts.rows, moments.count, *facts.graph], dtype=np.int64),
        dead=facts.dead,
        total=moments.total,
        products=moments.products,
        recall=np.array(facts.recall),
    )
    with replacing(folder / FACTS_NAME) as stream:
        stream.write(buffer.getvalue())
    remove(folder, but={FACTS_NAME, graph_name(facts)})


def graph_name(facts: Facts) -> str:
    """The file of the graph."""
    return f"approximate-{facts.graph[2]:08x}.usearch"


def remove(folder: Path, *, but: Container[str] = ()) -> bool:
    """Delete the index of a library, and what a build that was interrupted has left; returns whether there was one.

    Raises:
        OSError: A file cannot be deleted.
    """
    files = [file for pattern in PATTERNS for file in folder.glob(pattern) if file.name not in but]
    for file in files:
        with suppress(FileNotFoundError):
            file.unlink()
    return bool(files)


def stamp(folder: Path) -> FileStamp:
    """What changes when the index is built again.

    Raises:
        NoIndex: There is none.
    """
    try:
        return FileStamp.of(folder / FACTS_NAME)
    except OSError:
        raise AbsentIndex("there is no approximate index", hint="build one: clip library index") from None


def read_facts(folder: Path) -> Facts:
    """What is known of the index of a library.

    Raises:
        NoIndex: There is none, or what is known of it is damaged.
    """
    import zipfile

    stamp(folder)
    try:
        with np.load(folder / FACTS_NAME, allow_pickle=False) as stored:
            generation, rows, count, *graph = (int(number) for number in stored["numbers"])
            moments = Moments(count, stored["total"], stored["products"])
            size, changed, crc = graph
            text, image = (float(share) for share in stored["recall"])
            return Facts(generation, rows, stored["dead"], moments, (size, changed, crc), (text, image))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise NoIndex(f"the approximate index is damaged: {error}", hint=_BUILD) from error


def check_graph(folder: Path) -> None:
    """Compare the whole graph with what was written.

    Raises:
        NoIndex: There is none, or it differs.
    """
    facts = read_facts(folder)
    _check_graph(folder / graph_name(facts), (facts.graph[0], -1, facts.graph[2]))


def nearest(graph: Any, query: Floats, count: int) -> Rows:
    """The rows of a graph that are closest to a query, in no certain order."""
    return np.asarray(graph.search(query, count, threads=1).keys).astype(np.intp)


def recall(graph: Any, matrix: Floats, live: Rows, queries: Floats) -> float:
    """The share of the 10 rows that fit each query best which is found; rows equal to the query do not count.

    Shapes: matrix (N, D), queries (Q, D).
    """
    top = min(_RECALL_TOP, len(live) - 1)
    if top < 1 or not len(queries):
        return 1.0
    exact = _best_of_all(matrix, live, queries, top)
    shares = []
    for query, right in zip(queries, exact, strict=True):
        rows = nearest(graph, query, _WIDTH)
        cosines = products(matrix[rows], query)
        cosines[cosines > _SAME_COSINE] = -1
        shares.append(len(np.intersect1d(right, rows[np.argsort(-cosines)[:top]])) / top)
    return float(np.mean(shares))


def _best_of_all(matrix: Floats, live: Rows, queries: Floats, top: int) -> Rows:
    """The rows that fit each query best, block by block for all queries at once.

    Shapes: queries (Q, D) -> (Q, top).
    """
    best = np.full((len(queries), top), -1.0, dtype=np.float32)
    rows = np.full((len(queries), top), -1, dtype=np.intp)
    for begin in range(0, len(live), BLOCK_ROWS):
        part = live[begin : begin + BLOCK_ROWS]
        cosines = queries @ matrix[part].T
        cosines[cosines > _SAME_COSINE] = -1
        values = np.concatenate([best, cosines], axis=1)
        names = np.concatenate([rows, np.broadcast_to(part, cosines.shape)], axis=1)
        chosen = np.argpartition(-values, top - 1, axis=1)[:, :top]
        best, rows = np.take_along_axis(values, chosen, 1), np.take_along_axis(names, chosen, 1)
    return rows


def _check_graph(path: Path, known: tuple[int, int, int]) -> None:
    """Refuse a file that is not the one that was written; one of the same size and time is taken for it.

    Raises:
        NoIndex: It is missing or differs.
    """
    size, changed, crc = known
    try:
        status = path.stat()
        same = status.st_size == size and (status.st_mtime_ns == changed or _crc(path) == crc)
    except OSError as error:
        raise NoIndex(f"the approximate index cannot be read: {error.strerror}", hint=_BUILD) from error
    if not same:
        raise NoIndex("the approximate index is damaged", hint=_BUILD)


def _graph_stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, _crc(path)


def _crc(path: Path) -> int:
    value = 0
    for part in _parts(path):
        value = zlib.crc32(part, value)
    return value


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(2**22):
            yield part


def _usearch() -> Any:
    """The class of graphs.

    Raises:
        UsageError: usearch is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise UsageError("an approximate index needs usearch", hint="pip install 'clipcli[index]'") from error
    return Index
