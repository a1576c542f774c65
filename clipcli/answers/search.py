"""The images that fit a query best: query vectors, one exact scan, the best rows. numpy only.

A query consists of weighted texts and images, which are summed to one unit vector. All rows of the matrix are compared
with it by the same matrix product: a separate dot product differs in the last digit, which changes ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.errors import UsageError
from clipcli.scoring import Floats

PartKind = Literal["text", "image"]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Rows per product. The last block is padded to this size, because rounding depends on the size of the product.
BLOCK_ROWS = 4096
# Rows from which the spread of a kind of part is estimated: the standard error is then below one percent.
_SPREAD_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class QueryPart:
    """One term of a query.

    Attributes:
        kind: What the features were made of; texts and images lie in different parts of the space.
        features: (D,), unit length.
        weight: How much it counts; negative to subtract it.
    """

    kind: PartKind
    features: Floats = field(repr=False)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which rows are hits.

    Attributes:
        top: How many rows at most; 0 for all.
        offset: Rows to skip at the top, for paging.
        threshold: Least cosine.
        min_z: Least `z`.
        exact: Compare every row, even if there is an approximate index.
    """

    top: int = 20
    offset: int = 0
    threshold: float | None = None
    min_z: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A value is out of range.
        """
        for name, count in (("top", self.top), ("offset", self.offset)):
            if count < 0:
                raise UsageError(f"{name} must be 0 or more, not {count}", parameter=name)
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise UsageError(f"threshold must be between -1 and 1, not {self.threshold:g}", parameter="threshold")


@dataclass(frozen=True, slots=True)
class Scan:
    """Every row compared with one query.

    Attributes:
        cosines: (N,).
        z: (N,), the cosines standardized over the live rows: how unusual a row is for this query.
    """

    cosines: Floats
    z: Floats


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over rows, from which the mean and the spread of their cosines with any query are computed.

    For rows x, the sum of x @ q is (sum of x) @ q, and that of (x @ q)^2 is q @ (sum of x x^T) @ q.

    Attributes:
        count: The number of rows.
        total: (D,), their sum, float64.
        products: (D, D), the sum of their outer products, float64.
    """

    count: int
    total: NDArray[np.float64] = field(repr=False)
    products: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, matrix: Floats, rows: Rows) -> "Moments":
        """Add up some rows of a matrix.

        Shapes: matrix (N, D).
        """
        total = np.zeros(matrix.shape[1])
        products = np.zeros((matrix.shape[1], matrix.shape[1]))
        for begin in range(0, len(rows), BLOCK_ROWS):
            block = matrix[rows[begin : begin + BLOCK_ROWS]].astype(np.float64)
            total += block.sum(axis=0)
            products += block.T @ block
        return cls(len(rows), total, products)

    def spread(self, query: Floats, added: Floats, removed: Floats) -> tuple[float, float]:
        """The mean and the standard deviation of the cosines with a query.

        Shapes: query (D,).

        Args:
            query: Unit length.
            added: Cosines of rows that were added later.
            removed: Cosines of rows that were removed since.
        """
        q = query.astype(np.float64)
        count = self.count + added.size - removed.size
        if count < 1:
            return 0.0, 0.0
        more, less = added.astype(np.float64), removed.astype(np.float64)
        mean = float(self.total @ q + more.sum() - less.sum()) / count
        square = float(q @ self.products @ q + more @ more - less @ less) / count
        return mean, float(np.sqrt(max(0.0, square - mean * mean)))


def query_vector(
    parts: Sequence[QueryPart], matrix: Floats, live: Mask | None = None, *, balanced: bool = True
) -> Floats:
    """Combine the parts of a query into one vector: their weighted sum, scaled to unit length.

    Cosines between texts and images have a smaller spread than those between images, so that an image would dominate
    the sum. If both kinds occur, each part is therefore divided by the square root of the spread of its kind over the
    library, unless `balanced` is false. That is halfway to equal spreads. Measured with the bundled model, for which
    the spreads differ by only a third: changing the color of an emoji by "red" minus "blue" finds the right one first
    in 85 of 100 cases without balancing, in 82 with it, and in 78 with equal spreads.

    Shapes: parts (D,) each, matrix (N, D), live (N,) -> (D,) unit length.

    Raises:
        UsageError: The query has no parts, or they cancel each other out.
    """
    if not parts:
        raise UsageError("a query needs a text or an image")
    spreads: dict[PartKind, float] = _spreads(parts, matrix, live) if balanced else {"text": 1.0, "image": 1.0}
    total = sum(part.weight / spreads[part.kind] * part.features.astype(np.float64) for part in parts)
    length = np.linalg.norm(total)
    scale = max(abs(part.weight) / spreads[part.kind] for part in parts)
    if not length > 1e-6 * scale:
        raise UsageError("the parts of the query cancel each other out", hint="leave one out, or change a weight")
    return np.asarray(total / length, dtype=np.float32)


def scan(matrix: Floats, query: Floats, live: Mask | None = None) -> Scan:
    """Compare every row with a query.

    Shapes: matrix (N, D), query (D,), live (N,) or None for all rows -> (N,) and (N,).
    Units: `z` has mean 0 and standard deviation 1 over the live rows; it is 0 if all are equal.
    """
    cosines = products(matrix, query)
    counted = cosines if live is None else cosines[live]
    if not counted.size:
        return Scan(cosines, np.zeros_like(cosines))
    return standardized(cosines, float(counted.mean(dtype=np.float64)), float(counted.std(dtype=np.float64)))


def standardized(cosines: Floats, mean: float, deviation: float) -> Scan:
    """Cosines and their `z`, by the mean and the standard deviation over the library.

    Shapes: (N,) -> (N,) and (N,).
    """
    z = (cosines - mean) / deviation if deviation > 1e-9 else np.zeros_like(cosines)
    return Scan(cosines, np.asarray(z, dtype=np.float32))


def products(matrix: Floats, query: Floats) -> Floats:
    """The cosine of every row with a query; equal rows have equal cosines at any position.

    Shapes: matrix (N, D) and query (D,), unit length -> (N,) in [-1, 1].
    """
    cosines = np.empty(len(matrix), dtype=np.float32)
    for begin in range(0, len(matrix), BLOCK_ROWS):
        block = matrix[begin : begin + BLOCK_ROWS]
        if len(block) == BLOCK_ROWS:
            cosines[begin : begin + BLOCK_ROWS] = block @ query
        else:
            padded = np.zeros((BLOCK_ROWS, matrix.shape[1]), dtype=np.float32)
            padded[: len(block)] = block
            cosines[begin:] = (padded @ query)[: len(block)]
    return np.clip(cosines, -1.0, 1.0, out=cosines)


def nearer_to(scanned: Scan, others: Sequence[Scan]) -> Mask:
    """Which rows fit one of the other queries better than this one, each measured by its own `z`.

    Shapes: N rows each -> (N,).
    """
    found = np.zeros(len(scanned.z), dtype=np.bool_)
    for other in others:
        found |= other.z > scanned.z
    return found


def best(scanned: Scan, allowed: Mask | None, options: SearchOptions) -> Rows:
    """The rows that fit best, best first; equal ones keep their order.

    Args:
        scanned: Every row compared with the query.
        allowed: (N,), which rows may be hits; None for all.
        options: How many hits, and their least cosine and `z`.
    """
    wanted = np.ones(len(scanned.cosines), dtype=np.bool_) if allowed is None else allowed.copy()
    if options.threshold is not None:
        wanted &= scanned.cosines >= options.threshold
    if options.min_z is not None:
        wanted &= scanned.z >= options.min_z
    rows = np.flatnonzero(wanted)
    end = options.offset + options.top if options.top else len(rows)
    if end < len(rows):
        # The best, and all that equal the last of them; among equal ones, the order decides.
        values = scanned.cosines[rows]
        least = np.partition(values, len(rows) - end)[len(rows) - end]
        rows = rows[values >= least]
    return rows[scoring.best_first(scanned.cosines[rows])][options.offset : end]


def _spreads(parts: Sequence[QueryPart], matrix: Floats, live: Mask | None) -> dict[PartKind, float]:
    """The divisor for the parts of each kind: the root of the spread of their cosines; 1 if there is only one kind."""
    kinds = {part.kind for part in parts}
    spreads: dict[PartKind, float] = dict.fromkeys(kinds, 1.0)
    if len(kinds) < 2:
        return spreads
    rows = np.arange(len(matrix)) if live is None else np.flatnonzero(live)
    sample = matrix[rows[:: max(1, len(rows) // _SPREAD_ROWS)]]
    if len(sample) < 2:
        return spreads
    for kind in kinds:
        features = np.stack([part.features for part in parts if part.kind == kind])
        spreads[kind] = max(float((sample @ features.T).std(axis=0).mean()), 1e-6) ** 0.5
    return spreads
