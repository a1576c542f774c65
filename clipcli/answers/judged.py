"""Rank, prediction, confidence and losses of each labeled image, computed in blocks. numpy only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.answers import metrics
from clipcli.answers.metrics.calibration import log_losses
from clipcli.scoring import Floats

LogitsOf = Callable[[slice], Floats]
"""Logits (n, C) of the images in a slice."""

BEST = 5
"""How many of the best labels are kept of each image."""
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Judged:
    """The results of N images that have a label.

    Attributes:
        rank: Rank of the right label, 1 being the best; if several are right, of the best one.
        truth: The right label, or the best-ranked of several.
        predicted: The predicted label. The right label loses ties, so this is a wrong label if `rank` is not 1.
        confidence: Score of the best label.
        right: Whether `rank` is 1.
        log_loss: -ln of the score of `truth`.
        brier: Squared distance between the scores and the truth.
        best: The best labels, best first, (N, up to 5).
        scores: Their scores.
    """

    rank: NDArray[np.intp]
    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    confidence: Floats
    log_loss: Floats
    brier: Floats
    best: NDArray[np.int32]
    scores: Floats

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the predicted label is right."""
        return np.asarray(self.rank == 1)


def judge(logits_of: LogitsOf, labels: int, truth: Sequence[tuple[int, ...]], temperature: float = 1.0) -> Judged:
    """Compute the results of images whose labels are known, with memory for a thousand images at a time.

    Args:
        logits_of: A function that returns the logits of a slice of the images.
        labels: C.
        truth: The labels of each image, one or more.
        temperature: Divides the logits.
    """
    blocks = [_judge_block(logits_of(rows), truth[rows], labels, temperature) for rows in row_blocks(len(truth))] or [
        _judge_block(np.empty((0, labels), dtype=np.float32), [], labels, temperature)
    ]
    return Judged(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def row_blocks(count: int, size: int = _ROWS_AT_ONCE) -> Iterator[slice]:
    """Slices that cover a number of rows."""
    return (slice(begin, min(begin + size, count)) for begin in range(0, count, size))


def truth_matrix(truth: Sequence[tuple[int, ...]], labels: int) -> NDArray[np.bool_]:
    """Which labels are right for each image. Shapes: N -> (N, labels)."""
    matrix = np.zeros((len(truth), labels), dtype=bool)
    for row, indices in enumerate(truth):
        matrix[row, list(indices)] = True
    return matrix


def _judge_block(
    logits: Floats, truth: Sequence[tuple[int, ...]], labels: int, temperature: float
) -> tuple[NDArray[np.generic], ...]:
    rows = np.arange(len(logits))
    right = truth_matrix(truth, labels)
    own = np.where(right, logits, -np.inf).argmax(axis=1) if len(rows) else np.empty(0, dtype=np.intp)
    rank = metrics.true_ranks(logits, right)
    others = np.where(right, -np.inf, logits).argmax(axis=1) if len(rows) else own
    odds = metrics.softmax(logits, temperature) if len(rows) else logits.astype(np.float64)
    best = _best(logits)
    squares = np.square(odds).sum(axis=1) - 2 * odds[rows, own] + 1
    return (
        rank,
        own,
        np.where(rank == 1, own, others),
        np.take_along_axis(odds, best[:, :1], axis=1)[:, 0].astype(np.float32),
        log_losses(logits, own, temperature).astype(np.float32) if len(rows) else logits[:, 0],
        squares.astype(np.float32),
        best.astype(np.int32),
        np.take_along_axis(odds, best, axis=1).astype(np.float32),
    )


def _best(logits: Floats) -> NDArray[np.intp]:
    """Indices of the best labels, best first. Shapes: (n, C) -> (n, min(C, BEST))."""
    count = min(BEST, logits.shape[1])
    if count < logits.shape[1]:
        found = np.argpartition(-logits, count - 1, axis=1)[:, :count]
    else:
        found = np.broadcast_to(np.arange(count), logits.shape)
    order = np.argsort(-np.take_along_axis(logits, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)
