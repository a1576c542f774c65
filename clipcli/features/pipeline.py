"""From a stream of sources to a stream of image features, with every core at work and memory for a few batches.

Threads find out what is remembered, decode and scale; once a batch of pixels is together, it is encoded by a thread of
the same pool, on one core, while the others go on decoding or encode batches of their own. So cores never wait for
each other: measured on two cores, a batch on each is as fast as the two together on one, and decoding fits in between
without a core idling at a barrier. Only the last batch, when nothing else is left to do, takes all cores at once.

Results come in input order. Closing the generator early drops what was not begun. Must not import torch: a run may
turn out to need none.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipcli.errors import ImageError
from clipcli.images.find import PAUSE, ImageSource
from clipcli.scoring import Floats

Pixels = NDArray[np.uint8]

# Images of which nothing but the features is needed make no batch of pixels; they are handed on in lots of this.
_REMEMBERED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """One input's features (P,), unit length, or why there are none."""

    source: ImageSource
    features: Floats | None
    error: ImageError | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """One input on its way: its pixels (height, width, 3), or its features if they were remembered, or an error.

    `mark` is the preparer's own: what it needs to remember the features by.
    """

    source: ImageSource
    pixels: Pixels | None = None
    features: Floats | None = None
    error: ImageError | None = None
    mark: object = None


class Preparer(Protocol):
    """Finds what is remembered, and decodes the rest."""

    def recall(self, sources: Iterator[ImageSource]) -> Iterator[ImageSource | Prepared]:
        """Replace sources by their features where that takes no reading."""

    def prepare(self, source: ImageSource) -> Prepared:
        """Read one source; raises nothing that a bad image can cause. Called in threads."""

    def remember(self, prepared: list[Prepared], features: Floats) -> None:
        """Keep the features of images that had pixels, one row each. Called in threads."""


class Encoder(Protocol):
    """Turns pixels into features; safe in several threads."""

    @property
    def batch_size(self) -> int:
        """Images a batch."""

    @property
    def concurrency(self) -> int:
        """Batches worth encoding at a time."""

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        """Encode a batch; `alone` if no other work waits for a core."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads that decode, and encode on the CPU: one a core, at most sixteen."""
    return min(16, available_cores())


class ImagePipeline:
    """Runs sources through a preparer and an encoder."""

    def __init__(self, preparer: Preparer, encoder: Callable[[], Encoder], *, workers: int) -> None:
        """Keep the parts.

        Args:
            preparer: Decodes and remembers.
            encoder: Called once pixels are there, never if everything is remembered.
            workers: Threads.
        """
        self._preparer, self._make_encoder, self._workers = preparer, encoder, workers
        self._ahead = 2 * workers  # until the encoder, and with it the size of a batch, is known

    def batches(self, sources: Iterator[ImageSource]) -> Generator[list[ImageFeatures], None, None]:
        """Yield features batch by batch, in input order."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="image")
        try:
            yield from self._run(sources, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, sources: Iterator[ImageSource], pool: ThreadPoolExecutor) -> Iterator[list[ImageFeatures]]:
        encoder: Encoder | None = None
        encoding: deque[Future[list[ImageFeatures]]] = deque()
        batch: list[Prepared] = []
        pixels = 0
        for item in self._prepared(sources, pool):
            if item is None:
                if batch:
                    encoding.append(pool.submit(self._finish, batch, encoder))
                batch, pixels = [], 0
                while encoding:
                    yield encoding.popleft().result()
                continue
            batch.append(item)
            pixels += item.pixels is not None
            if pixels and encoder is None:
                encoder = self._make_encoder()
                self._ahead = 2 * self._workers + encoder.batch_size * (encoder.concurrency + 1)
            full = encoder is not None and pixels >= encoder.batch_size  # it may shrink meanwhile
            if full or len(batch) - pixels >= _REMEMBERED_AT_ONCE:
                encoding.append(pool.submit(self._finish, batch, encoder))
                batch, pixels = [], 0
            while encoding and (encoding[0].done() or len(encoding) > 2 * (encoder.concurrency if encoder else 1)):
                yield encoding.popleft().result()
        while encoding:
            yield encoding.popleft().result()
        if batch:
            yield self._finish(batch, encoder, alone=True)

    def _prepared(self, sources: Iterator[ImageSource], pool: ThreadPoolExecutor) -> Iterator[Prepared | None]:
        """Prepare ahead, in order; None where the sources pause, after everything before has been yielded."""
        pending: deque[Future[Prepared] | Prepared | None] = deque()
        items = self._preparer.recall(sources)
        while True:
            while len(pending) < self._ahead and None not in pending and (item := next(items, None)) is not None:
                if item is PAUSE:
                    pending.append(None)
                else:
                    pending.append(item if isinstance(item, Prepared) else pool.submit(self._preparer.prepare, item))
            if not pending:
                return
            head = pending.popleft()
            yield head.result() if isinstance(head, Future) else head

    def _finish(self, batch: list[Prepared], encoder: Encoder | None, *, alone: bool = False) -> list[ImageFeatures]:
        """Encode what has pixels, and put everything in its place."""
        new = [item for item in batch if item.pixels is not None]
        rows: Iterator[Floats] = iter(())
        if new and encoder is not None:
            features = encoder.encode(np.stack([item.pixels for item in new if item.pixels is not None]), alone=alone)
            self._preparer.remember(new, features)
            rows = iter(features)
        return [
            ImageFeatures(item.source, item.features if item.pixels is None else next(rows), item.error)
            for item in batch
        ]
