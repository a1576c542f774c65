"""Batching without a timer: a free worker takes whatever is waiting.

Every worker decodes and encodes. A full batch comes first, then what is still to be decoded, then whatever is decoded:
so under load batches are full, and a lone image waits for nothing. An image that cannot be used concerns nobody else:
if a batch fails, its images are encoded one by one. Work that nobody waits for anymore is dropped before it begins.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from clipcli.features.pipeline import Encoder, Result, encode_by_shape
from clipcli.features.reader import Decoded, Encoded, Failed, ImageReader
from clipcli.images.find import ImageSource
from clipcli.scoring import Floats
from clipcli.serve.errors import Full, Stopping

if TYPE_CHECKING:
    from clipcli.api.model import Model

T = TypeVar("T")

_PROBE_PX = 32


class Observer(Protocol):
    """Receives events of the engine."""

    def batch(self, size: int) -> None:
        """Called with the size of a batch that was encoded."""


@dataclass(slots=True, eq=False)
class _Job:
    """An image in progress: bytes, then pixels, then features."""

    source: ImageSource
    future: "Future[Result]" = field(default_factory=Future)
    decoded: Decoded | None = None

    def finish(self, result: Result) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class Engine:
    """A model that answers many concurrent requests.

    Args:
        model: It is warmed up by `start`.
        max_waiting: Images that may wait or be computed at a time.
        observer: Called for every batch.
    """

    def __init__(self, model: "Model", observer: Observer, *, max_waiting: int = 256) -> None:
        self.model, self._observer, self._most = model, observer, max_waiting
        self._changed = threading.Condition()
        self._undecoded: deque[_Job] = deque()
        self._decoded: deque[_Job] = deque()
        self._encoding = self._under_way = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        # One at a time: towers use all cores for texts, and what they share is not made for several threads.
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="text")
        self._reader: ImageReader
        self._encoder: Encoder

    @property
    def waiting(self) -> int:
        """Images that wait or are being computed."""
        return self._under_way

    @property
    def decoded(self) -> int:
        """Images that wait for the encoder."""
        return len(self._decoded)

    def start(self) -> None:
        """Load the networks and start the workers.

        Raises:
            ClipError: The model cannot be used.
        """
        model = self.model
        if model.class_names is None:
            model.encode_texts(["warm up"], warn_foreign=False)
        model.encoders.expect_images(None)
        self._reader, self._encoder = model.image_reader(), model.encoders.image
        self._encoder.encode(self._probe().pixels[None], alone=False)
        for i in range(max(model.encoders.workers, self._encoder.concurrency)):
            self._threads.append(threading.Thread(target=self._work, name=f"engine {i}", daemon=True))
            self._threads[-1].start()

    def close(self, patience_s: float = 10.0) -> None:
        """Finish work in progress, and refuse the rest.

        Args:
            patience_s: Seconds to wait for work in progress.
        """
        with self._changed:
            self._stopping = True
            left = [*self._undecoded, *self._decoded]
            self._undecoded.clear()
            self._decoded.clear()
            self._changed.notify_all()
        for job in left:
            job.fail(Stopping("the server is being stopped"))
        self._texts.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join(patience_s)
        self.model.encoders.cache.settle()

    async def features(self, sources: Sequence[ImageSource]) -> list[Result]:
        """Encode images, in their order; one that cannot be used is a `Failed`.

        Cancellation drops images that were not started.

        Raises:
            Full: Too many images are waiting already.
            Stopping: The server is being stopped.
        """
        jobs = [_Job(source) for source in sources]
        self._submit(jobs, self._undecoded, self._most)
        return list(await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs)))

    async def check(self) -> None:
        """Encode an uncached image, to check that the engine works."""
        job = _Job(ImageSource("probe"), decoded=self._probe())
        self._submit([job], self._decoded, self._most + 1)
        await asyncio.wrap_future(job.future)

    async def on_texts(self, work: Callable[[], T]) -> T:
        """Do work that encodes texts, one at a time."""
        if self._stopping:
            raise Stopping("the server is being stopped")
        return await asyncio.get_running_loop().run_in_executor(self._texts, work)

    def _submit(self, jobs: Sequence[_Job], queue: deque[_Job], most: int) -> None:
        with self._changed:
            if self._stopping:
                raise Stopping("the server is being stopped")
            if self._under_way + len(jobs) > most:
                raise Full(f"{self._under_way} images are waiting already; the limit is {self._most}")
            self._under_way += len(jobs)
            queue.extend(jobs)
            self._changed.notify_all()
        for job in jobs:
            job.future.add_done_callback(partial(self._leave, job))

    def _leave(self, job: _Job, future: "Future[Result]") -> None:
        with self._changed:
            self._under_way -= 1
            if future.cancelled():
                for queue in (self._undecoded, self._decoded):
                    with suppress(ValueError):
                        queue.remove(job)

    def _probe(self) -> Decoded:
        from PIL import Image

        source = ImageSource("probe", image=Image.new("RGB", (_PROBE_PX, _PROBE_PX)))
        return Decoded(source, self.model.encoders.preparation.pixels(source))

    def _work(self) -> None:
        while True:
            with self._changed:
                while (task := self._next()) is None:
                    if self._stopping:
                        return
                    self._changed.wait()
            task()

    def _next(self) -> Callable[[], None] | None:
        """The next work for a free worker; None if there is none. Called with the lock held."""
        size, room = self._encoder.batch_size, self._encoding < self._encoder.concurrency
        if room and len(self._decoded) >= size:
            return self._taken(size)
        # Where a device encodes, decoding need not be finished before it is given work.
        if room and self._decoded and not self._encoding and self._encoder.concurrency < len(self._threads):
            return self._taken(size)
        if self._undecoded:
            job = self._undecoded.popleft()
            return lambda: self._decode(job)
        return self._taken(size) if room and self._decoded else None

    def _taken(self, size: int) -> Callable[[], None]:
        jobs = [self._decoded.popleft() for _ in range(min(size, len(self._decoded)))]
        jobs = [job for job in jobs if not job.future.cancelled()]
        alone = not (self._encoding or self._undecoded or self._decoded)
        self._encoding += 1
        return lambda: self._encode(jobs, alone)

    def _decode(self, job: _Job) -> None:
        try:
            read = self._reader.read(job.source)
        except Exception as error:
            job.fail(error)
            return
        if not isinstance(read, Decoded):
            job.finish(read)
            return
        job.decoded = read
        with self._changed:
            if not self._stopping:
                self._decoded.append(job)
                self._changed.notify()
                return
        job.fail(Stopping("the server is being stopped"))

    def _encode(self, jobs: Sequence[_Job], alone: bool) -> None:
        try:
            self._encode_together(jobs, alone)
        finally:
            with self._changed:
                self._encoding -= 1
                self._changed.notify()

    def _encode_together(self, jobs: Sequence[_Job], alone: bool) -> None:
        decoded = [job.decoded for job in jobs if job.decoded is not None]
        if not decoded:
            return
        try:
            features = encode_by_shape(self._encoder, [item.pixels for item in decoded], alone)
            self._reader.remember(decoded, features)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            for job in jobs:
                self._encode_together([job], alone)
            return
        self._observer.batch(len(jobs))
        for job, row in zip(jobs, features, strict=True):
            if job.decoded is not None:
                job.finish(Encoded(job.source, row, job.decoded.mark))


def rows_of(results: Sequence[Result]) -> Floats:
    """The features of images that could all be used.

    Shapes: N results -> (N, P).

    Raises:
        ImageError: One could not be used.
    """
    for result in results:
        if isinstance(result, Failed):
            raise result.error
    return np.stack([result.features for result in results if not isinstance(result, Failed)])
