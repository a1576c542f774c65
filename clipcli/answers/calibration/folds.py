"""Cross-fitting: each fit is evaluated only on images that were not used for it. numpy only."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
_SEED = 0


def folds(images: int, count: int = FOLDS, seed: int = _SEED) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield indices for fitting and indices for evaluation; every image is used for evaluation exactly once.

    With fewer images than folds, there is one fold per image; a single image has none.
    """
    order = np.random.default_rng(seed).permutation(images)
    count = min(count, images)
    if count < 2:
        return
    parts = np.array_split(order, count)
    for i, held_out in enumerate(parts):
        yield np.sort(np.concatenate([part for j, part in enumerate(parts) if j != i])), np.sort(held_out)
