"""An order of labels that puts confused labels next to each other. numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grouped_order(confusions: Sequence[tuple[int, int, int]], support: NDArray[np.int64]) -> list[int]:
    """Order labels for a matrix of confusions, so that they form blocks along its diagonal.

    Groups are merged two at a time, starting with those whose labels are confused most on average. Labels that are
    never confused stay separate, and groups are in the order of their first label.

    Args:
        confusions: The right label, the predicted one, and the count.
        support: How many images each label has, (C,).

    Source: average linkage; Sokal and Michener (1958).
    """
    count = len(support)
    likeness = np.zeros((count, count))
    for right, given, times in confusions:
        likeness[right, given] += times
    likeness = (likeness + likeness.T) / np.maximum(support[:, None] + support[None, :], 1)
    groups = {i: [i] for i in range(count)}
    between = likeness.copy()
    np.fill_diagonal(between, 0.0)
    for _ in range(count - 1):
        one, other = (int(i) for i in np.unravel_index(int(between.argmax()), between.shape))
        if between[one, other] <= 0:
            break
        sizes = len(groups[one]), len(groups[other])
        groups[one] = _joined(groups[one], groups.pop(other), likeness)
        mean = (between[one] * sizes[0] + between[other] * sizes[1]) / sum(sizes)
        between[one], between[:, one] = mean, mean
        between[other], between[:, other], between[one, one] = 0.0, 0.0, 0.0
    return [label for group in sorted(groups.values(), key=min) for label in group]


def _joined(one: list[int], other: list[int], likeness: NDArray[np.float64]) -> list[int]:
    """Join two groups, reversed if needed so that the two labels that meet are confused most."""
    ways = [(a, b) for a in (one, one[::-1]) for b in (other, other[::-1])]
    best, found = max(ways, key=lambda way: likeness[way[0][-1], way[1][0]])
    return best + found
