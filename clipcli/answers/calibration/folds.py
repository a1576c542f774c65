"""Cross-fitting: what is fitted is judged only on images that it was not fitted to. numpy only."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
_SEED = 0


def folds(images: int, count: int = FOLDS, seed: int = _SEED) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield indices to fit to and indices to judge on; every image is judged on exactly once.

    Fewer images than folds make as many folds as there are images; one image makes none.
    """
    order = np.random.default_rng(seed).permutation(images)
    count = min(count, images)
    if count < 2:
        return
    parts = np.array_split(order, count)
    for i, held_out in enumerate(parts):
        yield np.sort(np.concatenate([part for j, part in enumerate(parts) if j != i])), np.sort(held_out)
