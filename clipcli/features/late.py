"""Features of weights that were never hashed on this machine: used at once, kept on disk once the weights have a name.

Hashing the weights of ViT-B/32 takes as long as everything else of a small job. Nothing can be cached under a digest that
this machine has never seen, so there is nothing to look up before the answer either. Until the weights are hashed,
features stay in memory; whoever is killed before loses only these.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace
from clipcli.features.digests import checkpoint_digest, known_checkpoint_digest
from clipcli.files import FileStamp
from clipcli.scoring import Logits

UNNAMED = "unnamed"
"""Stands for the digest of a checkpoint in a `FeatureSpace` until there is one."""

# Features kept in memory: more are worth hashing the weights for in the midst of a run.
_MOST = 2048


class LateCache:
    """The feature cache as one checkpoint uses it.

    Args:
        cache: Where features end up.
        folder: The checkpoint.
        weights: Its weight files.
    """

    def __init__(self, cache: FeatureCache, folder: Path, weights: Sequence[Path]) -> None:
        self._cache, self._folder, self._weights = cache, folder, weights
        self._lock = threading.RLock()
        self._held: dict[FeatureSpace, dict[bytes, CachedFeature]] = {}
        self._digest = known_checkpoint_digest(folder, weights, cache) if cache.usable else None
        self._stamps = _stamps(folder, weights)
        if not all(stamp.settled for stamp in self._stamps):
            self._digest = self.digest  # what may still be written cannot be told from what it becomes

