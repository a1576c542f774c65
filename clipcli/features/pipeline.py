"""From a stream of sources to a stream of image features, with every core at work and memory for a few batches.

Threads find out what is cached, decode and scale; once a batch of pixels is complete, it is encoded by a thread of the
same pool, on one core, while the others continue to decode or encode batches of their own. So cores never wait for each
other: measured on two cores, a batch on each is as fast as the two together on one, and decoding fits in between
without a core idling at a barrier. Where the number of images is known, each core gets as many batches as the others;
what is left at the end is shared out, and images fewer than cores take all cores at once.

Reading begins at once, before anybody asks for the first result: torch is imported and labels are encoded while the
first images are decoded. Results come in input order. Closing the generator early drops what was not begun.
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

# So many names are looked up ahead to find out how many images are new; of more, or of more new ones, none of which is
# a small job, nobody needs to know.
_LOOKED_UP_AHEAD, _FEW_NEW = 1024, 128

# Images of which nothing but the features is needed make no batch of pixels; they are handed on in lots of this.
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
        """Encode a batch; `alone` if no other work waits for a core.

        Shapes: (N, height, width, 3) -> (N, P) unit length; with a classification head (N, classes) logits.
        """


class Encoders(Protocol):
    """Where the pipeline gets its encoder once there are pixels, and not before: everything may be cached."""

    @property
    def image(self) -> Encoder:
        """The image encoder, made when it is first asked for."""

    def expect_images(self, new: int | None) -> None:
        """Take note of how many images will be encoded, None if that is not known, before the encoder is asked for."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads that decode, and encode on the CPU: one per core, at most sixteen."""
    return min(16, available_cores())


@dataclass(slots=True)
class _Batch:
    """What is encoded, or handed on, together."""

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
        """Batches of as many pixels each, at most so many."""
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
        """Yield features batch by batch, in input order; the first images are being read when this returns.

        Args:
            sources: The images.
            at_hand: Whether their names can be had without waiting, so that few of them can be counted in advance.
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
        """Share out what is left, and wait for all; fewer images than cores then have all of them."""
        if encoder is not None and left.pixels >= encoder.concurrency:
            encoding.extend(pool.submit(self._finish, part, encoder) for part in left.split(encoder.concurrency))
            left = _Batch()
        while encoding:
            yield encoding.popleft().result()
        if left.items:
            yield self._finish(left, encoder, alone=True)

    def _finish(self, batch: _Batch, encoder: Encoder | None, *, alone: bool = False) -> list[Result]:
        """Encode what has pixels, and put everything in its place."""
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
    """How many images make the next batch: as many as the encoder takes, or an even share of so many new ones."""

    def __init__(self, encoder: Encoder, new: int | None) -> None:
        self._encoder = encoder
        self._shares: deque[int] = deque()
        if new is not None and new >= encoder.concurrency:
            rounds = math.ceil(new / (encoder.batch_size * encoder.concurrency))
            share, more = divmod(new, rounds * encoder.concurrency)
            self._shares.extend(share + (i < more) for i in range(rounds * encoder.concurrency))

    def is_full(self, pixels: int) -> bool:
        """Whether so many images are enough; if they are, the next batch begins."""
        most = self._encoder.batch_size
        if pixels < (min(most, self._shares[0]) if self._shares else most):
            return False
        if self._shares:
            self._shares.popleft()
        return True


def encode_by_shape(encoder: Encoder, pixels: Sequence[Pixels], alone: bool) -> Floats:
    """Encode images; only those of one shape can be encoded together.

    Shapes: N images (height, width, 3) -> (N, P).
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(pixels):
        places.setdefault(image.shape, []).append(i)
    encoded = [encoder.encode(np.stack([pixels[i] for i in rows]), alone=alone) for rows in places.values()]
    order = np.argsort([i for rows in places.values() for i in rows])
    return np.concatenate(encoded)[order]


class _Reading:
    """Reads ahead, and hands on in input order what was read."""

    def __init__(
        self, reader: ImageReader, sources: Iterator[ImageSource | Pause], pool: ThreadPoolExecutor, *, ahead: int
    ) -> None:
        self.ahead = ahead  # until the encoder, and with it the size of a batch, is known
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
        """Begin to read as many as shall be read ahead, or up to where the sources pause."""
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
