"""Groups of identical or similar images of a library, and the image of each group to keep."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from clipcli.answers.classify import LabelCosines
from clipcli.answers.duplicates import (
    COPY_DISTANCE,
    SIMILAR_COSINE,
    Group,
    Looks,
    clusters,
    groups_of_copies,
    groups_of_similar,
)
from clipcli.errors import UsageError
from clipcli.images.fingerprint import FINGERPRINT_BYTES
from clipcli.library.index.keep import DEFAULT_RULES, check_rules, in_order_of_keeping
from clipcli.library.index.looks import looks_of, pixels_of
from clipcli.library.index.places import is_below
from clipcli.library.index.store import Store
from clipcli.library.index.table import ImageRow
from clipcli.progress import Progress
from clipcli.scoring import Floats

Level: TypeAlias = Literal["bytes", "pixels", "copy", "similar"]
LEVELS: tuple[Level, ...] = ("bytes", "pixels", "copy", "similar")

# Images with the same pixels have the same features, except after reduced decoding of large JPEGs.
_SAME_PIXELS_COSINE = 0.99


@dataclass(frozen=True, slots=True)
class Twin:
    """One image of a group.

    `cosine` compares it with the image to keep. `distance` is the one used for grouping: 0 for the same bytes or
    pixels, that of `answers.duplicates.Looks` for copies, one minus the cosine for similar images.
    """

    image: ImageRow
    cosine: float
    distance: float


@dataclass(frozen=True, slots=True)
class Twins:
    """Identical or similar images: the one to keep, and the others, the closest first."""

    level: Level
    keep: ImageRow
    others: tuple[Twin, ...]


def find_twins(
    store: Store,
    level: str,
    threshold: float | None,
    reference: str | os.PathLike[str] | None,
    keep: Sequence[str] | None,
    under: Sequence[str],
    on_progress: Progress,
) -> list[Twins]:
    """Group images; see `Library.duplicates`. Groups are sorted by the path to keep.

    Raises:
        UsageError: The level, a rule or the threshold is not valid.
    """
    chosen, limit = _checked(level, threshold)
    rules = tuple(keep) if keep is not None else DEFAULT_RULES
    check_rules(rules)
    folder = None if reference is None else os.path.realpath(os.path.expanduser(reference))
    with store.snapshot() as snapshot:
        features = snapshot.matrix  # stays readable after the block, even if the library is appended to or compacted
        images = snapshot.images(snapshot.live_slots.tolist())
    below = [image for image in images if not under or any(is_below(image.path, path) for path in under)]
    present = [image for image in below if os.path.lexists(image.path)]
    ordered = in_order_of_keeping(present, rules, folder)
    by_slot = {image.slot: image for image in ordered if image.slot is not None}
    groups = _groups(store, chosen, limit, features, ordered, on_progress)
    twins = [_twins(chosen, group, by_slot, features) for group in groups]
    return sorted(twins, key=lambda found: found.keep.path)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Images with similar content, the most typical one first, and the label that fits them best."""

    label: str | None
    paths: tuple[str, ...]


def find_clusters(store: Store, count: int, names: tuple[Sequence[str], LabelCosines] | None) -> list[Cluster]:
    """Divide all images into groups; see `Library.clusters`.

    Args:
        store: The library.
        count: How many groups.
        names: Labels, and a function that compares images with them.

    Raises:
        UsageError: The library has too few images for so many groups.
    """
    if count < 1:
        raise UsageError(f"there must be 1 cluster or more, not {count}")
    with store.snapshot() as snapshot:
        slots = snapshot.live_slots
        images = {image.slot: image for image in snapshot.images(slots.tolist())}
        rows = np.array([slot for slot in slots if os.path.lexists(images[int(slot)].path)], dtype=np.intp)
        if not len(rows):
            return []
        found = clusters(snapshot.matrix, rows, count)
    return [
        Cluster(
            None if names is None else names[0][int(np.argmax(names[1](center[None])[0]))],
            tuple(images[int(row)].path for row in members),
        )
        for _, members, center in found
    ]


def _checked(level: str, threshold: float | None) -> tuple[Level, float]:
    if level not in LEVELS:
        raise UsageError(f"{level!r} is not a level", hint=f"there are: {', '.join(LEVELS)}")
    chosen = LEVELS[LEVELS.index(level)]
    if threshold is not None and chosen in ("bytes", "pixels"):
        raise UsageError(f"a threshold cannot be used with the level {level}", hint="leave it out")
    if threshold is not None and not 0 < threshold <= (1.0 if chosen == "similar" else 2.0):
        raise UsageError(f"the threshold must be above 0 and at most {1 if chosen == 'similar' else 2}")
    return chosen, threshold if threshold is not None else SIMILAR_COSINE if chosen == "similar" else COPY_DISTANCE


def _groups(
    store: Store, level: Level, limit: float, features: Floats, ordered: Sequence[ImageRow], on_progress: Progress
) -> Iterable[Group]:
    order = np.array([image.slot for image in ordered], dtype=np.intp)
    if level == "bytes":
        return _by_value([(image, image.digest) for image in ordered])
    if level == "similar":
        return groups_of_similar(features, order, limit)
    if level == "pixels":
        close = {slot for group in groups_of_similar(features, order, _SAME_PIXELS_COSINE) for slot in _rows(group)}
        suspects = [image for image in ordered if image.slot in close]
        pixels = pixels_of(store, suspects, on_progress)
        return _by_value([(image, pixels.get(image.digest or b"")) for image in suspects])
    looks = looks_of(store, ordered, on_progress)
    fingerprints = np.zeros((len(features), FINGERPRINT_BYTES), dtype=np.uint8)
    for image in ordered:
        look = looks.get(image.digest or b"")
        if look is not None:
            fingerprints[image.slot] = np.frombuffer(look, dtype=np.uint8)
    same = list(_by_value([(image, image.digest) for image in ordered]))
    return _merged(same, groups_of_copies(Looks(features, fingerprints), order, limit))


def _merged(same: Sequence[Group], copies: Iterable[Group]) -> list[Group]:
    """Copies, and files with the same bytes that have no fingerprint to compare: plain images, and missing files."""
    found = list(copies)
    grouped = {row for group in found for row in _rows(group)}
    return found + [group for group in same if not grouped.intersection(_rows(group))]


def _by_value(images: Sequence[tuple[ImageRow, bytes | None]]) -> Iterable[Group]:
    """Group images of the same value; the first of each is its leader."""
    found: dict[bytes, list[int]] = {}
    for image, value in images:
        if value is not None and image.slot is not None:
            found.setdefault(value, []).append(image.slot)
    for leader, *members in found.values():
        if members:
            yield Group(leader, tuple(members), (0.0,) * len(members))


def _rows(group: Group) -> tuple[int, ...]:
    return (group.leader, *group.members)


def _twins(level: Level, group: Group, by_slot: dict[int, ImageRow], features: Floats) -> Twins:
    others = sorted(zip(group.distances, group.members, strict=True))
    members = tuple(
        Twin(by_slot[row], float(np.clip(features[row] @ features[group.leader], -1, 1)), max(0.0, distance))
        for distance, row in others
    )
    return Twins(level, by_slot[group.leader], members)
