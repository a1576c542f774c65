import random
from collections.abc import Sequence

import numpy as np
import pytest

from clipcli.compute.prefix_tree import Pack, packs

SEQUENCES = [
    (0, 5, 6, 9),
    (0, 5, 6, 7, 9),
    (0, 5, 9),
    (0, 8, 8, 8, 8, 9),
    (0, 5, 6, 9),
    (0, 5, 6, 7, 7, 9),
    (0, 9),
]


def random_sequences(seed: int, count: int = 300) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [(0, *(rng.randrange(1, 4) for _ in range(rng.randrange(12))), 9) for _ in range(count)]


def spelled(pack: Pack, node: int) -> tuple[int, ...]:
    """The tokens from the root to a node."""
    return tuple(int(pack.tokens[n]) for n in pack.paths[node] if n >= 0)


def check(sequences: Sequence[tuple[int, ...]], size: int, multiple: int = 1) -> list[Pack]:
    made = list(packs(sequences, size, multiple=multiple))
    assert sorted(row for pack in made for row in pack.rows) == list(range(len(sequences)))
    for pack in made:
        assert len(pack.tokens) % multiple == 0
        for row, end in zip(pack.rows, pack.ends, strict=True):
            assert spelled(pack, end) == sequences[row]
        for node, depth in enumerate(pack.depths):
            path = pack.paths[node][pack.paths[node] >= 0]
            assert path[-1] == node and len(path) == depth + 1
            assert list(path) == sorted(path), "a node comes after its ancestors"
    return made


def test_every_end_spells_its_sequence() -> None:
    (pack,) = check(SEQUENCES, 512)
    # 0 5 6 7 7 9 | 9 | 9 | 9 | 8 8 8 8 9 | 9
    assert len(pack.tokens) == 15
    assert pack.longest == 6


@pytest.mark.parametrize("size", [1, 7, 20, 64, 10**6])
def test_random_trees_in_packs_of_any_size(size: int) -> None:
    for seed in range(5):
        sequences = random_sequences(seed)
        made = check(sequences, size)
        longest = max(map(len, sequences))
        assert all(len(pack.tokens) <= max(size, longest) for pack in made)


def test_each_distinct_prefix_is_one_node() -> None:
    sequences = random_sequences(1)
    (pack,) = check(sequences, 10**6)
    assert len(pack.tokens) == len({s[:i] for s in sequences for i in range(1, len(s) + 1)})


def test_a_subtree_that_does_not_fit_repeats_its_path_once_a_pack() -> None:
    sequences = [(*range(10), 100 + i) for i in range(50)]
    made = check(sequences, 20)
    assert [len(pack.rows) for pack in made] == [10] * 5
    assert sum(len(pack.tokens) for pack in made) == 50 + 5 * 10


def test_packs_are_filled_up_with_nodes_that_nothing_sees() -> None:
    (pack,) = check(SEQUENCES, 512, multiple=32)
    assert len(pack.tokens) == 32
    assert not np.isin(pack.paths[:15], range(15, 32)).any()
    _, visible = pack.block_keys(32)
    assert visible[0].any(axis=-1).all(), "a row that sees nothing has no softmax"


@pytest.mark.parametrize("block", [1, 2, 8, 32])
def test_blocks_see_exactly_the_paths(block: int) -> None:
    for seed in range(5):
        for pack in check(random_sequences(seed), 100, multiple=block):
            keys, visible = pack.block_keys(block)
            for node in range(len(pack.tokens)):
                row = visible[node // block, node % block]
                seen = sorted(keys[node // block][row])
                assert seen == [n for n in pack.paths[node] if n >= 0]


def test_ends_see_exactly_their_paths() -> None:
    for pack in check(random_sequences(3), 100):
        keys, visible = pack.end_keys()
        for end, row, seen in zip(pack.ends, keys, visible, strict=True):
            assert list(row[seen]) == [n for n in pack.paths[end] if n >= 0]


def test_nothing_gives_no_pack() -> None:
    assert list(packs([], 512)) == []
