"""Features of weights that were never hashed on this machine: used at once, kept on disk once the weights are hashed.

Hashing the weights of ViT-B/32 takes as long as all else of a small job. Nothing can be cached under a digest that this
machine has never seen, so there is nothing to look up before the answer either. Until the weights are hashed, features
are held in memory; a process that is killed before loses only these.
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

# Weights of no more bytes than these are hashed at once: it takes less time than anybody would notice.
_SMALL_BYTES = 64 * 2**20

# Of more features than these the weights are hashed in the midst of a run, so that memory stays that of a few batches.
_MOST_HELD = 1024

_GLANCE_S = 0.05


def hash_new_weights(
    cache: FeatureCache, folder: Path, weights: Sequence[Path], *, small_bytes: int = _SMALL_BYTES
) -> None:
    """Hash weights that have just been fetched, so that no later run need do it; small ones never keep anybody waiting.

    Their digests are kept only once a later change to the files is sure to show, which is two seconds after the last.

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
        cache: Where features are kept in the end.
        folder: The checkpoint.
        weights: Its weight files.
        small_bytes: Weights of no more bytes than this are hashed at once.
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

        Files as young as the clock's tick are hashed at once: a change while they are used might not show later.
        """
        known = known_checkpoint_digest(self._folder, self._weights, self)
        if known is not None:
            return known
        large = sum(stamp.size for stamp in self._stamps) > self._small_bytes
        if large and all(stamp.settled for stamp in self._stamps):
            return UNIDENTIFIED
        return checkpoint_digest(self._folder, self._weights, self)

    def get(self, space: FeatureSpace, keys: Sequence[bytes]) -> dict[bytes, CachedFeature]:
        """Look features up; of an unidentified checkpoint among those that are held."""
        with self._lock:
            if space.checkpoint == UNIDENTIFIED and self._identified is None:
                held = self._held.get(space, {})
                return {key: held[key] for key in keys if key in held}
        return super().get(self._named(space), keys)

    def put(self, space: FeatureSpace, entries: Mapping[bytes, CachedFeature]) -> None:
        """Keep features; those of an unidentified checkpoint are held until `settle`."""
        with self._lock:
            if space.checkpoint == UNIDENTIFIED and self._identified is None:
                self._held.setdefault(space, {}).update(entries)
                if sum(map(len, self._held.values())) > _MOST_HELD:
                    self.settle()
                return
        super().put(self._named(space), entries)

    def settle(self) -> None:
        """Hash the weights if features wait for it, and keep these; if the files changed since, forget them."""
        with self._lock:
            held, self._held = self._held, {}
            if not held:
                return
            before = self._stamps
            try:
                digest = checkpoint_digest(self._folder, self._weights, self)
                unchanged = before == self._take_stamps()
            except (DamagedModelError, OSError):  # the files are gone
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
