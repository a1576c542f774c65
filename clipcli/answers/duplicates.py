"""Which images are copies of each other or similar: distances, leader groups, clusters. numpy only.

Features alone cannot distinguish the images of a burst from copies, and hashes alone collide; copies agree in both.
Each group has a leader, the image to keep, and every member is close to it, so there are no chains of images. All pairs
are compared in blocks, so that memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.images.fingerprint import HASH_BYTES, Bytes, mirrored
from clipcli.scoring import Floats

COPY_DISTANCE = 0.7
"""Copies are at most this far apart: finds 98% of the copies of photos at precision 0.99 (`tests/bench/twins.py`)."""
SIMILAR_COSINE = 0.9

_LEAST_CONTRAST = 4.0
_BLOCK_ROWS = 2048
_CLUSTER_SAMPLE = 100_000
_ITERATIONS = 30
_SEED = 0

Rows = NDArray[np.intp]
Vectors = Callable[[Rows], Floats]
"""Rows to vectors, (M,) -> (M, V)."""
Distances = Callable[[int, Rows, Floats], Floats]
"""Of one row from others, whose products with it are given: (M,), (M,) -> (M,)."""


@dataclass(frozen=True, slots=True)
class Group:
    """Identical or similar images.

    Attributes:
        leader: The row to keep.
        members: The other rows.
        distances: The distance of each member from the leader.
    """

    leader: int
    members: tuple[int, ...]
    distances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """Features and fingerprints of the same images, and distances between them.

    The distance is the share of hash bits that differ, plus one minus the correlation of the thumbnails, plus one minus
    the cosine of the features, for the image or its mirror image, whichever is closer. It is infinite if one of the
    thumbnails has no contrast, because all plain images have the same hash.

    Shapes: features (N, D) unit length, fingerprints (N, FINGERPRINT_BYTES).
    Source: the difference hash is Krawetz' (hackerfactor.com, 2013); the sum was chosen on photos and drawings.
    """

    features: Floats
    fingerprints: Bytes

    def distances(self, row: int, others: Rows) -> Floats:
        """The distances of a row from others.

        Shapes: others (M,) -> (M,).
        """
        one, many = self.fingerprints[row : row + 1], self.fingerprints[others]
        pixels = np.minimum(_pixel_distances(one, many), _pixel_distances(mirrored(one), many))
        return np.asarray(pixels + (1 - self.features[others] @ self.features[row]), dtype=np.float32)

    def vectors(self, rows: Rows) -> Floats:
        """Hash and features as one vector; the product of two such vectors bounds their distance from below."""
        return self._joined(rows, self.fingerprints[rows])

    def mirrored_vectors(self, rows: Rows) -> Floats:
        """The same for mirror images."""
        return self._joined(rows, mirrored(self.fingerprints[rows]))

    @staticmethod
    def least_product(distance: float) -> float:
        """The least product of two vectors whose distance is at most this."""
        return 1.5 - distance

    def _joined(self, rows: Rows, fingerprints: Bytes) -> Floats:
        bits = np.unpackbits(fingerprints[:, :HASH_BYTES], axis=1).astype(np.float32)
        signs = (2 * bits - 1) * np.float32((2 * bits.shape[1]) ** -0.5)  # the product of two: half their agreement
        return np.concatenate([signs, self.features[rows]], axis=1)


def groups_of_copies(looks: Looks, order: Rows, limit: float = COPY_DISTANCE) -> Iterator[Group]:
    """Group copies, including mirrored ones; `order` ranks the images to keep."""

    def distances(row: int, others: Rows, products: Floats) -> Floats:
        return looks.distances(row, others)

    views = (looks.vectors, looks.mirrored_vectors)
    return leader_groups(order, views, looks.least_product(limit), distances, limit)


def groups_of_similar(features: Floats, order: Rows, least_cosine: float = SIMILAR_COSINE) -> Iterator[Group]:
    """Group images by their features alone; distances are one minus the cosine."""
    return leader_groups(
        order,
        (lambda rows: features[rows],),
        least_cosine,
        lambda row, others, products: np.asarray(1 - products, dtype=np.float32),
        1 - least_cosine + 1e-6,
    )


def leader_groups(
    order: Rows, views: Sequence[Vectors], least_product: float, distances: Distances, limit: float
) -> Iterator[Group]:
    """Group rows around leaders, the rows that come first in an order.

    A row joins the closest of the earlier leaders, or becomes a leader. Groups of one are not yielded.

    Args:
        order: (M,) row numbers, the best to keep first.
        views: First the vectors of the leaders; further arrays, if any, are other views of the rows to compare with
            them.
        least_product: The distance of a row and a leader is computed only if their product is at least this.
        distances: A function that returns the distances of a row from leaders.
        limit: The largest distance of a member from its leader.
    """
    leaders: list[int] = []
    found: dict[int, list[tuple[int, float]]] = {}
    for begin in range(0, len(order), _BLOCK_ROWS):
        rows = order[begin : begin + _BLOCK_ROWS]
        block = [view(rows) for view in views]
        earlier = _close_leaders(block, leaders, views[0], least_product)
        within = _products(block, block[0])
        leads = np.zeros(len(rows), dtype=np.bool_)
        for i, row in enumerate(rows):
            near = np.flatnonzero((within[i, :i] >= least_product) & leads[:i])
            candidates = np.concatenate([earlier[i][0], rows[near]])
            if not len(candidates):
                leads[i] = True
                continue
            apart = distances(int(row), candidates, np.concatenate([earlier[i][1], within[i, near]]))
            best = int(np.argmin(apart))
            leads[i] = not apart[best] <= limit
            if not leads[i]:
                found.setdefault(int(candidates[best]), []).append((int(row), float(apart[best])))
        leaders.extend(rows[leads].tolist())
    for leader in leaders:
        if leader in found:
            members, far = zip(*found[leader], strict=True)
            yield Group(leader, members, far)


def clusters(matrix: Floats, rows: NDArray[np.intp], count: int) -> list[tuple[int, NDArray[np.intp], Floats]]:
    """Divide rows into groups of similar ones, by spherical k-means with the seeding of k-means++.

    Shapes: matrix (N, D) unit length, rows (M,) row numbers.
    Source: Dhillon and Modha, Machine Learning 42, 2001 (spherical k-means); Arthur and Vassilvitskii, SODA 2007.

    Returns:
        Largest first: the medoid (the row closest to the center), the rows from the closest to the center outwards,
        and the center (D,), unit length. Fewer than `count` groups if there are fewer distinct rows.
    """
    sample = matrix[rows[:: max(1, -(-len(rows) // _CLUSTER_SAMPLE))]]
    centers = _seeds(sample, min(count, len(sample)))
    for _ in range(_ITERATIONS):
        owners = _nearest(sample, centers)[0]
        sums = np.zeros(centers.shape, dtype=np.float64)
        np.add.at(sums, owners, sample)
        moved = scoring.normalize(np.where(np.abs(sums).sum(axis=1, keepdims=True) > 0, sums, centers))
        if np.allclose(moved, centers, atol=1e-5):
            break
        centers = moved
    owners, cosines = _nearest(matrix, centers, rows)
    parts = []
    for k in range(len(centers)):
        members = np.flatnonzero(owners == k)
        if len(members):
            members = members[scoring.best_first(cosines[members])]
            parts.append((int(rows[members[0]]), rows[members], centers[k]))
    return sorted(parts, key=lambda part: -len(part[1]))


def _pixel_distances(one: Bytes, many: Bytes) -> Floats:
    """Share of differing bits, plus one minus the correlation of the thumbnails; (1, F) and (M, F) -> (M,)."""
    differing = np.unpackbits(many[:, :HASH_BYTES] ^ one[:, :HASH_BYTES], axis=1).mean(axis=1)
    first, others = _centered(one[:, HASH_BYTES:]), _centered(many[:, HASH_BYTES:])
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(first)
    distances = differing + 1 - (others @ first[0]) / np.maximum(lengths, 1e-6)
    return np.asarray(np.where(_are_plain(many) | _are_plain(one), np.inf, distances), dtype=np.float32)


def _are_plain(fingerprints: Bytes) -> NDArray[np.bool_]:
    """Which images show one color; (M, F) -> (M,)."""
    bands = fingerprints[:, HASH_BYTES:].reshape(len(fingerprints), -1, 3)
    return np.asarray(bands.std(axis=1).max(axis=1, initial=0) < _LEAST_CONTRAST)


def _centered(thumbnails: Bytes) -> Floats:
    values = thumbnails.astype(np.float32)
    return np.asarray(values - values.mean(axis=1, keepdims=True), dtype=np.float32)


def _products(views: Sequence[Floats], leaders: Floats) -> Floats:
    """The largest product of any view of each row with each leader; (M, V) each and (K, V) -> (M, K)."""
    products = views[0] @ leaders.T
    for view in views[1:]:
        np.maximum(products, view @ leaders.T, out=products)
    return products


def _close_leaders(
    views: Sequence[Floats], leaders: Sequence[int], vectors: Vectors, least_product: float
) -> list[tuple[Rows, Floats]]:
    """For each row of a block, the leaders that can be close to it, and their products with it."""
    found: list[list[tuple[Rows, Floats]]] = [[] for _ in views[0]]
    for begin in range(0, len(leaders), _BLOCK_ROWS):
        part = np.asarray(leaders[begin : begin + _BLOCK_ROWS], dtype=np.intp)
        products = _products(views, vectors(part))
        for i in np.flatnonzero(products.max(axis=1) >= least_product):
            near = np.flatnonzero(products[i] >= least_product)
            found[i].append((part[near], products[i, near]))
    nothing = (np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))
    return [
        (np.concatenate([r for r, _ in near]), np.concatenate([p for _, p in near])) if near else nothing
        for near in found
    ]


def _seeds(sample: Floats, count: int) -> Floats:
    """Draw seeds far from each other: with probabilities proportional to the squared distance from earlier seeds."""
    random = np.random.default_rng(_SEED)
    chosen = [int(random.integers(len(sample)))]
    distances = np.maximum(0, 1 - sample @ sample[chosen[0]]).astype(np.float64)
    while len(chosen) < count and distances.sum() > 1e-6:
        chosen.append(int(random.choice(len(sample), p=distances / distances.sum())))
        np.minimum(distances, np.maximum(0, 1 - sample @ sample[chosen[-1]]), out=distances)
    return sample[chosen]


def _nearest(matrix: Floats, centers: Floats, rows: NDArray[np.intp] | None = None) -> tuple[NDArray[np.intp], Floats]:
    count = len(matrix) if rows is None else len(rows)
    owners, best = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.float32)
    for begin in range(0, count, _BLOCK_ROWS):
        end = begin + _BLOCK_ROWS
        cosines = (matrix[begin:end] if rows is None else matrix[rows[begin:end]]) @ centers.T
        owners[begin:end] = cosines.argmax(axis=1)
        best[begin:end] = cosines.max(axis=1)
    return owners, best
