"""Decoding ahead: while the model works on one batch, threads decode and scale the next ones.

Everything is bounded: at most a few batches of small uint8 pictures are in memory, however many inputs there are.
Results come in input order. Must not import torch: a run may turn out to need none.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clipcli.errors import ImageError
from clipcli.images.find import ImageSource

Pixels = NDArray[np.uint8]

_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A source with its pixels (height, width, 3) ready to be normalised, or with the reason why there are none."""

    source: ImageSource
    pixels: Pixels | None
    error: ImageError | None


def default_workers() -> int:
    """Threads that decode: one a core, at most eight."""
    return min(8, os.cpu_count() or 1)


def prepared_batches(
    sources: Iterator[ImageSource], prepare: Callable[[ImageSource], Pixels], *, batch_size: int, workers: int
) -> Generator[list[PreparedImage], None, None]:
    """Prepare pictures in threads and hand them out in batches, in input order.

    Args:
        sources: What to read; taken from only as far ahead as `_BATCHES_AHEAD` batches.
        prepare: Decodes and scales one picture; raises `ImageError` for one that cannot be used.
        batch_size: Inputs a batch, failed ones included; the last batch may be shorter.
        workers: Decoding threads.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    pending: deque[Future[PreparedImage]] = deque()
    try:
        while True:
            wanted = batch_size * (1 + _BATCHES_AHEAD) - len(pending)
            pending.extend(pool.submit(_prepare_one, source, prepare) for source in islice(sources, wanted))
            if not pending:
                return
            yield [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare_one(source: ImageSource, prepare: Callable[[ImageSource], Pixels]) -> PreparedImage:
    if source.error is not None:
        return PreparedImage(source, None, source.error)
    try:
        return PreparedImage(source, prepare(source), None)
    except ImageError as error:
        return PreparedImage(source, None, error)
