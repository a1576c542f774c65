"""Retrieval metrics for images and their captions: ranks of the right captions of an image, and of the right images.

An image may have several captions and a caption several images. Two metrics that are often confused are computed
separately: `hit@k`, whether any right one is among the k best (what papers usually call "R@k"), and `recall@k`, the
share of the right ones among the k best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.metrics.intervals import Interval, bootstrap, wilson
from clipcli.scoring import Floats

DEFAULT_KS = (1, 5, 10)
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The metrics of one direction.

    Attributes:
        queries: How many queries have a right answer.
        hit_at: Share of the queries with a right answer among the k best, by k.
        recall_at: Mean share of a query's right answers that are among the k best, by k.
        median_rank: Median rank of the first right answer; 1 is the best.
        ranks: Rank of the first right answer of each query, (queries,).
        recalls: For each k, the share of each query's right answers that are among the k best, (queries,).
    """

    queries: int
    hit_at: dict[int, float]
    recall_at: dict[int, float]
    median_rank: float
    ranks: NDArray[np.intp]
    recalls: dict[int, NDArray[np.float64]]

    def hit_interval(self, k: int) -> Interval:
        """`hit_at` with its Wilson interval."""
        return wilson(round(self.hit_at[k] * self.queries) if self.queries else 0, self.queries)

    def recall_interval(self, k: int) -> Interval:
        """`recall_at` with its interval, from bootstrap samples of the queries."""
        shares = self.recalls[k]
        return bootstrap(lambda which: float(shares[which].mean()) if len(which) else math.nan, len(shares), most=1.0)

    @property
    def median_rank_interval(self) -> Interval:
        """`median_rank` with its interval, from bootstrap samples of the queries."""
        ranks, last = self.ranks, float(self.ranks.max(initial=1))
        found = bootstrap(
            lambda which: float(np.median(ranks[which])) if len(which) else math.nan, len(ranks), most=last
        )
        return Interval(found.value, max(found.low, 1.0), found.high)


def retrieval(
    queries: Floats, candidates: Floats, right: Sequence[Sequence[int]], ks: Sequence[int] = DEFAULT_KS
) -> Retrieval:
    """Rank the right candidates of each query; in a tie, right ones rank after wrong ones.

    Works in blocks, with memory for a thousand queries at a time.

    Args:
        queries: (Q, P) unit length.
        candidates: (M, P) unit length.
        right: Indices of each query's right candidates; queries without any are left out.
        ks: The values of k.

    Source: hit@k as Recall@K of Karpathy and Fei-Fei, arXiv:1412.2306, section 4.1; recall@k of information retrieval.
    """
    first: list[NDArray[np.intp]] = []
    recalled: dict[int, list[float]] = {k: [] for k in ks}
    kept = [i for i, found in enumerate(right) if len(found)]
    for begin in range(0, len(kept), _ROWS_AT_ONCE):
        block = kept[begin : begin + _ROWS_AT_ONCE]
        scores = queries[block] @ candidates.T
        for row, query in enumerate(block):
            ranks = _ranks(scores[row], np.asarray(sorted(set(right[query])), dtype=np.intp))
            first.append(ranks[:1])
            for k in ks:
                recalled[k].append(float(np.mean(ranks <= k)))
    ranks = np.concatenate(first) if first else np.empty(0, dtype=np.intp)
    count = len(kept)
    return Retrieval(
        count,
        {k: float(np.mean(ranks <= k)) if count else float("nan") for k in ks},
        {k: float(np.mean(recalled[k])) if count else float("nan") for k in ks},
        float(np.median(ranks)) if count else float("nan"),
        ranks,
        {k: np.array(recalled[k]) for k in ks},
    )


def _ranks(scores: Floats, right: NDArray[np.intp]) -> NDArray[np.intp]:
    """Ranks of the right candidates, best first."""
    own = np.sort(scores[right])[::-1]
    wrong = np.sort(np.delete(scores, right))
    ahead = len(wrong) - np.searchsorted(wrong, own, side="left")
    return np.asarray(ahead + np.arange(1, len(own) + 1), dtype=np.intp)
