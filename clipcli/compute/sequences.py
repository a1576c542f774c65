"""Token sequences on their way into a text tower and out of it, whatever computes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.checkpoints.towers import ClipTextConfig
from clipcli.progress import Progress
from clipcli.scoring import Floats, normalize

Encoded = tuple[Sequence[int], Floats]
"""Rows of the sequences, and their features (rows, P), of any length."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Some of the sequences, made equally long.

    Shapes: rows, which of the sequences, B of them; tokens (B, L); real (B, L), False for padding.
    """

    rows: Sequence[int]
    tokens: NDArray[np.int64]
    real: NDArray[np.bool_]


def encode_distinct(
    ids: Sequence[Sequence[int]],
    width: int,
    encode: Callable[[Sequence[Sequence[int]]], Iterable[Encoded]],
    on_progress: Progress,
) -> Floats:
    """Encode each distinct sequence once.

    Shapes: M sequences of any length -> (M, `width`), unit length.

    Args:
        ids: Token ids with special tokens, not padded.
        width: Of the features.
        encode: Encodes distinct sequences, some at a time, in any order.
        on_progress: Called with sequences done and sequences in all.
    """
    places: dict[tuple[int, ...], int] = {}
    rows_of = [places.setdefault(tuple(sequence), len(places)) for sequence in ids]
    distinct = list(places)
    features = np.empty((len(distinct), width), dtype=np.float32)
    done = 0
    for rows, batch in encode(distinct):
        features[rows] = normalize(batch)
        done += len(rows)
        on_progress(done, len(distinct))
    return features[rows_of]


def until_end(sequences: Sequence[Sequence[int]], config: ClipTextConfig) -> list[Sequence[int]]:
    """Cut each sequence after the token that its text is read at; a causal tower never looks further."""
    return [sequence[: config.end_position(sequence) + 1] for sequence in sequences]


def padded_batches(sequences: Sequence[Sequence[int]], size: int, pad_token_id: int) -> Iterator[PaddedBatch]:
    """Put sequences of similar length together, so that little is padding.

    Args:
        sequences: None empty.
        size: The most tokens a batch has, padding included, unless a single sequence is longer.
        pad_token_id: What fills the shorter ones.
    """
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]), reverse=True)
    first = 0
    while first < len(order):
        length = len(sequences[order[first]])
        rows = order[first : first + max(1, size // length)]
        first += len(rows)
        lengths = np.array([len(sequences[row]) for row in rows])
        real = np.arange(length) < lengths[:, None]
        tokens = np.full(real.shape, pad_token_id, dtype=np.int64)
        tokens[real] = [token for row in rows for token in sequences[row]]
        yield PaddedBatch(rows, tokens, real)
