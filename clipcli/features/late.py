"""Features of weights that were never hashed on this machine: used at once, and cached once the weights are hashed.

Hashing the weights of ViT-B/32 takes as long as the rest of a small job. If this machine has never hashed the weights,
nothing can be cached under their digest, so no lookup is needed before the answer. Features are held in memory until
the weights are hashed; a process that is killed before that loses only these features.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from clipcli.errors import DamagedModelError
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace
from clipcli.features.digests import checkpoint_digest, known_checkpoint_digest
from clipcli.files import FileStamp

UNIDENTIFIED = "unidentified"
"""Stands for the digest of a checkpoint in a `FeatureSpace`."""

# Weights up to this many bytes are hashed at once, which takes no noticeable time.
_SMALL_BYTES = 64 * 2**20

# Beyond this many features, the weights are hashed during the run, so that memory does not grow.
_MOST_HELD = 1024

_GLANCE_S = 0.05


def hash_new_weights(
    cache: FeatureCache, folder: Path, weights: Sequence[Path], *, small_bytes: int = _SMALL_BYTES
) -> None:
    """Hash weights that were just fetched, so that no later run needs to; small ones are skipped.

    The digests are stored only when any later change to the files would be visible in their times, two seconds after
    the last change.

    Raises:
        DamagedModelError: A file cannot be read.
    """
    stamps = [FileStamp.of(path) for path in weights]
    if sum(stamp.size for stamp in stamps) <= small_bytes:
        return
    while not all(stamp.settled for stamp in stamps):
        time.sleep(_GLANCE_S)
    checkpoint_digest(folder, weights, cache)


class LateCache(FeatureCache):
    """The feature cache as one checkpoint uses it. Safe in several threads.

    Args:
        cache: The feature cache on disk.
        folder: The checkpoint.
        weights: Its weight files.
        small_bytes: Weights up to this many bytes are hashed at once.
    """

    def __init__(
        self, cache: FeatureCache, folder: Path, weights: Sequence[Path], *, small_bytes: int = _SMALL_BYTES
    ) -> None:
        super().__init__(cache._file, cache._limit_bytes)
        self._folder, self._weights, self._small_bytes = folder, weights, small_bytes
        self._lock = threading.RLock()
        self._held: dict[FeatureSpace, dict[bytes, CachedFeature]] = {}
        self._identified: str | None = None

    @cached_property
    def identity(self) -> str:
        """The checkpoint's digest if it is known without hashing, else `UNIDENTIFIED`. Ask before the weights are used.

        Files that changed within the clock's resolution are hashed at once: a change during use might not be visible
        later.
        """
        known = known_checkpoint_digest(self._folder, self._weights, self)
        if known is not None:
            return known
        large = sum(stamp.size for stamp in self._stamps) > self._small_bytes
        if large and all(stamp.settled for stamp in self._stamps):
            return UNIDENTIFIED
        return checkpoint_digest(self._folder, self._weights, self)

    def get(self, space: FeatureSpace, keys: Sequence[bytes]) -> dict[bytes, CachedFeature]:
        """Look up features; those of an unidentified checkpoint in memory."""
        with self._lock:
            if space.checkpoint == UNIDENTIFIED and self._identified is None:
                held = self._held.get(space, {})
                return {key: held[key] for key in keys if key in held}
        return super().get(self._named(space), keys)

    def put(self, space: FeatureSpace, entries: Mapping[bytes, CachedFeature]) -> None:
        """Store features; those of an unidentified checkpoint are held in memory until `settle`."""
        with self._lock:
            if space.checkpoint == UNIDENTIFIED and self._identified is None:
                self._held.setdefault(space, {}).update(entries)
                if sum(map(len, self._held.values())) > _MOST_HELD:
                    self.settle()
                return
        super().put(self._named(space), entries)

    def settle(self) -> None:
        """Hash the weights if features are held in memory, and store these; if the files have changed, drop them."""
        with self._lock:
            held, self._held = self._held, {}
            if not held:
                return
            before = self._stamps
            try:
                digest = checkpoint_digest(self._folder, self._weights, self)
                unchanged = before == self._take_stamps()
            except (DamagedModelError, OSError):  # the files were deleted
                return
            if unchanged:
                self._identified = digest
                for space, entries in held.items():
                    super().put(self._named(space), entries)

    def _named(self, space: FeatureSpace) -> FeatureSpace:
        return space if self._identified is None else replace(space, checkpoint=self._identified)

    @cached_property
    def _stamps(self) -> tuple[FileStamp, ...]:
        return self._take_stamps()

    def _take_stamps(self) -> tuple[FileStamp, ...]:
        return tuple(FileStamp.of(path) for path in (self._folder / "config.json", *self._weights))
