"""Token sequences as a tree, cut into packs: each distinct prefix is computed once.

In a causal tower the state at a token depends on that token and those before it, so prompts that begin alike share
the states of their beginning. A pack is a piece of the tree: every node knows its token, its depth (its position in
the text) and its path from the root (what it may attend to). Needs numpy only.

Nodes lie in depth-first order, so neighbours have most of their path in common: what a block of them sees of the nodes
before the block is the path of its first node. Attention is therefore computed block by block, over a block and that
path, and its cost does not grow with the size of the pack.

Source of the idea: attention over a tree of tokens, arXiv:2305.09781, section 4.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_Indices = NDArray[np.int64]
_NONE = -1


@dataclass(frozen=True)
class Pack:
    """Some of the sequences as nodes of a tree, in depth-first order.

    Attributes:
        tokens: Token of each node, shape (N,).
        depths: Position of each node in its text, shape (N,).
        paths: For each node the nodes from the root to itself, then -1, shape (N, longest).
        rows: Which of the sequences end in this pack, shape (E,).
        ends: Their last nodes, shape (E,).
    """

    tokens: _Indices
    depths: _Indices
    paths: _Indices
    rows: _Indices
    ends: _Indices

    @cached_property
    def longest(self) -> int:
        """Nodes of the longest path."""
        return int(self.paths.shape[1])

    def block_keys(self, size: int) -> tuple[_Indices, NDArray[np.bool_]]:
        """What each block of `size` nodes attends to, N being a multiple of `size`.

        Shapes: keys (blocks, longest + size), node numbers, a block's own nodes last; visible, a bool for each node of
        the block and each key, (blocks, size, longest + size).
        """
        count, longest = self.paths.shape
        starts = np.arange(0, count, size)
        before = np.maximum(self.paths[starts], 0)  # unseen where it is filled up or lies in the block itself
        keys = np.concatenate([before, starts[:, None] + np.arange(size)], axis=1)
        visible = np.zeros((count, longest + size), dtype=np.bool_)
        nodes, depths = np.nonzero(self.paths != _NONE)
        offsets = self.paths[nodes, depths] - nodes // size * size
        visible[nodes, np.where(offsets < 0, depths, longest + offsets)] = True
        return keys, visible.reshape(-1, size, longest + size)

    def end_keys(self) -> tuple[_Indices, NDArray[np.bool_]]:
        """What each sequence's last node attends to.

        Shapes: keys and visible, both (E, longest).
        """
        paths = self.paths[self.ends]
        return np.maximum(paths, 0), paths != _NONE


def packs(sequences: Sequence[Sequence[int]], size: int, *, multiple: int = 1) -> Iterator[Pack]:
    """Cut the tree of all sequences into packs.

    Sorted, sequences that begin alike lie side by side, and what one shares with all before it is what it shares with
    its neighbour. So a pack is a run of them, and a subtree that does not fit repeats its path in the next pack.

    Args:
        sequences: None empty. Equal ones end at the same node.
        size: The most nodes a pack has, unless a single sequence is longer.
        multiple: Fill every pack up to a multiple of this with nodes that nothing sees.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    first, used = 0, 0
    previous: Sequence[int] = ()
    for i, row in enumerate(order):
        sequence = sequences[row]
        new = len(sequence) - _shared(previous, sequence)
        if used and used + new > size:
            yield _pack(sequences, order[first:i], -(-used // multiple) * multiple)
            first, used, new = i, 0, len(sequence)
        used += new
        previous = sequence
    if order:
        yield _pack(sequences, order[first:], -(-used // multiple) * multiple)


def _pack(sequences: Sequence[Sequence[int]], rows: Sequence[int], count: int) -> Pack:
    tokens, depths = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    parents = np.full(count, _NONE, dtype=np.int64)
    ends = np.empty(len(rows), dtype=np.int64)
    path: list[int] = []
    previous: Sequence[int] = ()
    start = 0
    for i, row in enumerate(rows):
        sequence = sequences[row]
        shared = _shared(previous, sequence)
        del path[shared:]
        stop = start + len(sequence) - shared
        tokens[start:stop] = sequence[shared:]
        depths[start:stop] = range(shared, len(sequence))
        if start < stop:
            parents[start:stop] = range(start - 1, stop - 1)
            parents[start] = path[-1] if path else _NONE
        path.extend(range(start, stop))
        ends[i] = path[-1]
        start, previous = stop, sequence
    paths = _paths(parents, depths)
    return Pack(tokens, depths, paths, np.asarray(rows, dtype=np.int64), ends)


def _paths(parents: _Indices, depths: _Indices) -> _Indices:
    paths = np.full((len(depths), depths.max() + 1), _NONE, dtype=np.int64)
    for depth in range(paths.shape[1]):
        nodes = np.flatnonzero(depths == depth)
        paths[nodes, :depth] = paths[parents[nodes], :depth]
        paths[nodes, depth] = nodes
    return paths


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning."""
    for depth, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return depth
    return min(len(left), len(right))
