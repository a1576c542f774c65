"""Which images are copies of each other or alike: pixel agreement, leader groups, clusters. numpy only.

Features alone cannot tell a burst's exposures from copies, and hashes alone collide; copies are close by both. Groups
have a leader, the image to keep, and every member is close to it: no chains of images that are alike in pairs only.
All pairs are compared in blocks, so that memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.images.fingerprint import HASH_BYTES, Bytes, mirrored
from clipcli.scoring import Floats

# How far fingerprints of different images spread, measured on photos: what each part of the distance is divided by.
_HASH_SPREAD = 0.07
_THUMBNAIL_SPREAD = 0.23
_LEAST_CONTRAST = 4.0

_BLOCK_ROWS = 2048
_CLUSTER_SAMPLE = 100_000
_ITERATIONS = 30
_SEED = 0

Agree = Callable[[int, NDArray[np.intp]], Floats]
"""Distance of one row to others; a group takes those within its limit."""


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are the same or alike.

    Attributes:
        leader: The row to keep.
        members: The other rows.
        cosines: Of each member with the leader.
        distances: Of each member's pixels from the leader's; empty where pixels were not compared.
    """

    leader: int
    members: tuple[int, ...]
    cosines: tuple[float, ...]
    distances: tuple[float, ...] = ()


def pixel_distances(fingerprint: Bytes, others: Bytes, *, mirror: bool = True) -> Floats:
    """How much the looks of one image differ from those of others.

    The share of differing hash bits and one minus the correlation of the thumbnails, each divided by its spread over
    pairs of different images. Infinite where one of the two has no contrast: all plain images have the same hash.

    Shapes: (FINGERPRINT_BYTES,) and (N, FINGERPRINT_BYTES) -> (N,), 0 for the same look.
    Source: difference hash after Krawetz, hackerfactor.com, 2013; the sum is this project's own, fitted on photos.

    Args:
        fingerprint: What `images.fingerprint` made.
        others: The same of others.
        mirror: Take the smaller distance of an image and its mirror image.
    """
    distances = _distances(fingerprint, others)
    return np.minimum(distances, _distances(fingerprint, mirrored(others))) if mirror else distances


def leader_groups(
    matrix: Floats, order: NDArray[np.intp], least_cosine: float, agree: Agree | None = None, limit: float = 0.0
) -> Iterator[Group]:
    """Group rows around leaders, those that come first in an order.

    A row joins the leader that is closest among the earlier ones, or becomes a leader. Groups of one are not yielded.

    Shapes: matrix (N, D) unit length, order (M,) row numbers, the best to keep first.

    Args:
        matrix: Features.
        order: The rows to group, in the order in which they are kept.
        least_cosine: How close a member is to its leader at least.
        agree: Compares the pixels of a row with those of others; None to leave that out.
        limit: The largest distance that `agree` may find.
    """
    leaders: list[int] = []
    found: dict[int, list[tuple[int, float, float]]] = {}
    for begin in range(0, len(order), _BLOCK_ROWS):
        rows = order[begin : begin + _BLOCK_ROWS]
        block = matrix[rows]
        earlier = _close_leaders(matrix, block, leaders, least_cosine)
        within = block @ block.T
        joined = np.zeros(len(rows), dtype=np.bool_)
        for i, row in enumerate(rows):
            near = np.flatnonzero((within[i, :i] >= least_cosine) & ~joined[:i])
            candidates = np.concatenate([earlier[i][0], rows[near]])
            cosines = np.concatenate([earlier[i][1], within[i, near]])
            chosen = _closest(int(row), candidates, cosines, agree, limit)
            if chosen is None:
                leaders.append(int(row))
            else:
                leader, cosine, distance = chosen
                joined[i] = True
                found.setdefault(leader, []).append((int(row), cosine, distance))
    for leader in leaders:
        if leader in found:
            members, member_cosines, distances = zip(*found[leader], strict=True)
            yield Group(leader, members, member_cosines, distances if agree is not None else ())


def clusters(matrix: Floats, rows: NDArray[np.intp], count: int) -> list[tuple[int, NDArray[np.intp], Floats]]:
    """Divide rows into groups of what is alike, by spherical k-means with the seeding of k-means++.

    Shapes: matrix (N, D) unit length, rows (M,) row numbers.
    Source: Dhillon and Modha, Machine Learning 42, 2001 (spherical k-means); Arthur and Vassilvitskii, SODA 2007.

    Returns:
        Largest first: the medoid (the row closest to the center), the rows from the closest to the center outwards,
        and the center (D,), unit length. Fewer than `count` where there are not so many different rows.
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


def _distances(fingerprint: Bytes, others: Bytes) -> Floats:
    differing = np.unpackbits(others[:, :HASH_BYTES] ^ fingerprint[:HASH_BYTES], axis=1).mean(axis=1)
    one, many = _centered(fingerprint[None, HASH_BYTES:]), _centered(others[:, HASH_BYTES:])
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    least = _LEAST_CONTRAST**2 * one.shape[1]
    correlation = (many @ one[0]) / np.maximum(lengths, 1e-6)
    distances = differing / _HASH_SPREAD + (1 - correlation) / _THUMBNAIL_SPREAD
    plain = (np.square(many).sum(axis=1) < least) | (float(np.square(one).sum()) < least)
    return np.asarray(np.where(plain, np.inf, distances), dtype=np.float32)


def _centered(thumbnails: Bytes) -> Floats:
    values = thumbnails.astype(np.float32)
    return np.asarray(values - values.mean(axis=1, keepdims=True), dtype=np.float32)


def _close_leaders(
    matrix: Floats, block: Floats, leaders: Sequence[int], least_cosine: float
) -> list[tuple[NDArray[np.intp], Floats]]:
    """For each row of a block, the leaders that are close to it, and their cosines."""
    found: list[list[tuple[NDArray[np.intp], Floats]]] = [[] for _ in block]
    for begin in range(0, len(leaders), _BLOCK_ROWS):
        part = np.asarray(leaders[begin : begin + _BLOCK_ROWS], dtype=np.intp)
        cosines = block @ matrix[part].T
        for i in np.flatnonzero(cosines.max(axis=1) >= least_cosine):
            near = np.flatnonzero(cosines[i] >= least_cosine)
            found[i].append((part[near], cosines[i, near]))
    nothing = (np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32))
    return [
        (np.concatenate([rows for rows, _ in near]), np.concatenate([values for _, values in near]))
        if near
        else nothing
        for near in found
    ]


def _closest(
    row: int, candidates: NDArray[np.intp], cosines: Floats, agree: Agree | None, limit: float
) -> tuple[int, float, float] | None:
    """The leader that a row joins: the one whose pixels agree most, else the one with the highest cosine."""
    if not len(candidates):
        return None
    if agree is None:
        best = int(np.argmax(cosines))
        return int(candidates[best]), float(cosines[best]), 0.0
    distances = agree(row, candidates)
    best = int(np.argmin(distances))
    if not distances[best] <= limit:
        return None
    return int(candidates[best]), float(cosines[best]), float(distances[best])


def _seeds(sample: Floats, count: int) -> Floats:
    """Start with rows far from each other: each is drawn by its squared distance from those before."""
    random = np.random.default_rng(_SEED)
    chosen = [int(random.integers(len(sample)))]
    distances = np.maximum(0, 1 - sample @ sample[chosen[0]]).astype(np.float64)
    while len(chosen) < count and distances.sum() > 1e-6:
        chosen.append(int(random.choice(len(sample), p=distances / distances.sum())))
        np.minimum(distances, np.maximum(0, 1 - sample @ sample[chosen[-1]]), out=distances)
    return sample[chosen]


def _nearest(
    matrix: Floats, centers: Floats, rows: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.intp], Floats]:
    count = len(matrix) if rows is None else len(rows)
    owners, best = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.float32)
    for begin in range(0, count, _BLOCK_ROWS):
        end = begin + _BLOCK_ROWS
        cosines = (matrix[begin:end] if rows is None else matrix[rows[begin:end]]) @ centers.T
        owners[begin:end] = cosines.argmax(axis=1)
        best[begin:end] = cosines.max(axis=1)
    return owners, best
