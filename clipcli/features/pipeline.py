"""From a stream of sources to a stream of image features, using all cores and memory for a few batches.

Threads look up the cache, decode and scale. A complete batch of pixels is encoded by a thread of the same pool, on one
core, while the others continue to decode or to encode other batches. Cores never wait for each other: measured on two
cores, one batch on each core is as fast as both cores on one batch, and no core is idle while others decode. If the
number of images is known, all cores get equally many batches; the rest at the end is divided among them, and fewer
images than cores use all cores at once.

Reading starts at once, before the first result is requested: torch is imported and labels are encoded while the first
images are decoded. Results are in input order. Closing the generator early drops images that were not started.
"""

import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeAlias

import numpy as np

from clipcli.features.reader import Decoded, Encoded, Failed, ImageReader
from clipcli.images.find import ImageSource, Pause
from clipcli.images.prepare import Pixels
from clipcli.scoring import Floats

Result: TypeAlias = Encoded | Failed

# How many names are looked up in advance to count the new images. With more names, or more new images, the job is not
# small and the exact count is not needed.
_LOOKED_UP_AHEAD, _FEW_NEW = 1024, 128

# Images whose features are cached need no batch of pixels; they are passed on in groups of this size.
_CACHED_AT_ONCE = 256


class Encoder(Protocol):
    """Turns pixels into features; safe in several threads."""

    @property
    def batch_size(self) -> int:
        """Images per batch; may shrink while it runs."""

    @property
    def concurrency(self) -> int:
        """Batches worth encoding at a time."""

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        """Encode a batch; `alone` if no other work needs a core.

        Shapes: (N, height, width, 3) -> (N, P) unit length; with a classification head (N, classes) logits.
        """


class Encoders(Protocol):
    """Provides the encoder for images; it is created only if there are pixels, because everything may be cached."""

    @property
    def image(self) -> Encoder:
        """The image encoder, created on first use."""

    def expect_images(self, new: int | None) -> None:
        """Set how many images will be encoded (None if not known), before the encoder is used."""


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads that decode, and encode on the CPU: one per core, at most sixteen."""
    return min(16, available_cores())


@dataclass(slots=True)
class _Batch:
    """Images that are encoded, or passed on, together."""

    items: list[Decoded | Result] = field(default_factory=list)
    pixels: int = 0

    def add(self, item: Decoded | Result) -> None:
        self.items.append(item)
        self.pixels += isinstance(item, Decoded)

    def is_full(self, sizes: "_Sizes | None") -> bool:
        if sizes is not None and sizes.is_full(self.pixels):
            return True
        return len(self.items) - self.pixels >= _CACHED_AT_ONCE

    def split(self, parts: int) -> "list[_Batch]":
        """Split into batches of equal size, at most so many."""
        size = max(1, math.ceil(self.pixels / parts))
        batches = [_Batch()]
        for item in self.items:
            if batches[-1].pixels >= size:
                batches.append(_Batch())
            batches[-1].add(item)
        return batches


class ImagePipeline:
    """Runs sources through a reader and an encoder."""

    def __init__(self, reader: ImageReader, encoders: Encoders, *, workers: int) -> None:
        self._reader, self._encoders, self._workers = reader, encoders, workers

    def batches(
        self, sources: Iterable[ImageSource | Pause], *, at_hand: bool = False
    ) -> Generator[list[Result], None, None]:
        """Yield features batch by batch, in input order; reading starts before the first `next`.

        Args:
            sources: The images.
            at_hand: Whether their names are available without waiting, so that a few can be counted in advance.
        """
        run = self._run(iter(sources), at_hand)
        next(run)
        return run

    def _run(self, sources: Iterator[ImageSource | Pause], at_hand: bool) -> Generator[list[Result], None, None]:
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="image")
        try:
            reading = _Reading(self._reader, sources, pool, ahead=2 * self._workers)
            new = reading.count_new() if at_hand else None
            self._encoders.expect_images(new)
            reading.fill()
            yield []  # reading has begun; `batches` takes this one
            yield from self._encode(reading, pool, new)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _encode(self, reading: "_Reading", pool: ThreadPoolExecutor, new: int | None) -> Iterator[list[Result]]:
        encoder: Encoder | None = None
        sizes: _Sizes | None = None
        encoding: deque[Future[list[Result]]] = deque()
        batch = _Batch()
        for item in reading:
            if isinstance(item, Pause):
                yield from self._finish_all(batch, encoder, encoding, pool)
                batch = _Batch()
                continue
            batch.add(item)
            if batch.pixels and encoder is None:
                encoder = self._encoders.image
                sizes = _Sizes(encoder, new)
                reading.ahead = 2 * self._workers + encoder.batch_size * (encoder.concurrency + 1)
            if batch.is_full(sizes):
                encoding.append(pool.submit(self._finish, batch, encoder))
                batch = _Batch()
            while encoding and (encoding[0].done() or len(encoding) > 2 * (encoder.concurrency if encoder else 1)):
                yield encoding.popleft().result()
        yield from self._finish_all(batch, encoder, encoding, pool)

    def _finish_all(
        self, left: _Batch, encoder: Encoder | None, encoding: deque[Future[list[Result]]], pool: ThreadPoolExecutor
    ) -> Iterator[list[Result]]:
        """Divide the rest among the cores, and wait for all; fewer images than cores use all cores."""
        if encoder is not None and left.pixels >= encoder.concurrency:
            encoding.extend(pool.submit(self._finish, part, encoder) for part in left.split(encoder.concurrency))
            left = _Batch()
        while encoding:
            yield encoding.popleft().result()
        if left.items:
            yield self._finish(left, encoder, alone=True)

    def _finish(self, batch: _Batch, encoder: Encoder | None, *, alone: bool = False) -> list[Result]:
        """Encode the images with pixels, and put the results in order."""
        new = [item for item in batch.items if isinstance(item, Decoded)]
        rows: Iterator[Floats] = iter(())
        if new and encoder is not None:
            features = encode_by_shape(encoder, [item.pixels for item in new], alone)
            self._reader.remember(new, features)
            rows = iter(features)
        return [
            Encoded(item.source, next(rows), item.mark) if isinstance(item, Decoded) else item for item in batch.items
        ]


class _Sizes:
    """The size of the next batch: the encoder's batch size, or an equal share of the new images."""

    def __init__(self, encoder: Encoder, new: int | None) -> None:
        self._encoder = encoder
        self._shares: deque[int] = deque()
        if new is not None and new >= encoder.concurrency:
            rounds = math.ceil(new / (encoder.batch_size * encoder.concurrency))
            share, more = divmod(new, rounds * encoder.concurrency)
            self._shares.extend(share + (i < more) for i in range(rounds * encoder.concurrency))

    def is_full(self, pixels: int) -> bool:
        """Whether the batch is full; if it is, the next one begins."""
        most = self._encoder.batch_size
        if pixels < (min(most, self._shares[0]) if self._shares else most):
            return False
        if self._shares:
            self._shares.popleft()
        return True


def encode_by_shape(encoder: Encoder, pixels: Sequence[Pixels], alone: bool) -> Floats:
    """Encode images; only images of the same shape are encoded together.

    Shapes: N images (height, width, 3) -> (N, P).
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(pixels):
        places.setdefault(image.shape, []).append(i)
    encoded = [encoder.encode(np.stack([pixels[i] for i in rows]), alone=alone) for rows in places.values()]
    order = np.argsort([i for rows in places.values() for i in rows])
    return np.concatenate(encoded)[order]


class _Reading:
    """Reads ahead, and returns results in input order."""

    def __init__(
        self, reader: ImageReader, sources: Iterator[ImageSource | Pause], pool: ThreadPoolExecutor, *, ahead: int
    ) -> None:
        self.ahead = ahead  # until the encoder and its batch size are known
        self._reader, self._pool = reader, pool
        self._items: Iterator[ImageSource | Encoded | Pause] = reader.recall(sources)
        self._pending: deque[Future[Decoded | Result] | Encoded | Pause] = deque()

    def count_new(self) -> int | None:
        """How many images are not cached, or None if there are many names or many new images."""
        looked_up: list[ImageSource | Encoded | Pause] = []
        new = 0
        for item in self._items:
            looked_up.append(item)
            new += isinstance(item, ImageSource)
            if new > _FEW_NEW or len(looked_up) > _LOOKED_UP_AHEAD:
                self._items = chain(looked_up, self._items)
                return None
        self._items = iter(looked_up)
        return new

    def fill(self) -> None:
        """Start reading ahead, up to a limit or a pause of the sources."""
        pending = self._pending
        while len(pending) < self.ahead and not (pending and isinstance(pending[-1], Pause)):
            item = next(self._items, None)
            if item is None:
                return
            pending.append(self._pool.submit(self._reader.read, item) if isinstance(item, ImageSource) else item)

    def __iter__(self) -> Iterator[Decoded | Result | Pause]:
        while self._pending:
            head = self._pending.popleft()
            yield head.result() if isinstance(head, Future) else head
            self.fill()
