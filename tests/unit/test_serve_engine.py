"""The engine of `clip serve`: what is encoded together, and what becomes of the others."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipcli.errors import UnreadableImage
from clipcli.features.pipeline import Result
from clipcli.features.reader import Decoded, Encoded, Failed, Read
from clipcli.images.find import ImageSource
from clipcli.images.prepare import Pixels
from clipcli.scoring import Floats
from clipcli.serve.engine import Engine
from clipcli.serve.errors import Full, Stopping

WAIT_S = 20
BROKEN = 13


@dataclass
class Encoder:
    """Its features are its images; it waits where a test wants it to, and cannot stand one of them."""

    batch_size: int = 4
    concurrency: int = 1
    batches: list[list[int]] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self.begun.release()
        assert self.may_go_on.wait(WAIT_S)
        if BROKEN in self.batches[-1]:
            raise RuntimeError("this image breaks its batch")
        return pixels[:, 0, 0, :1].astype(np.float32)


class Reader:
    """An image is its name; the one named "bad" cannot be used."""

    def read(self, source: ImageSource) -> Read:
        if source.path == "bad":
            return Failed(source, UnreadableImage("bad"))
        return Decoded(source, np.full((2, 2, 3), int(source.path), dtype=np.uint8))

    def remember(self, decoded: object, features: object) -> None:
        pass


@dataclass
class Counter:
    sizes: list[int] = field(default_factory=list)

    def batch(self, size: int) -> None:
        self.sizes.append(size)


def pixels(source: ImageSource) -> Pixels:
    return np.zeros((2, 2, 3), dtype=np.uint8)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture
def engine(encoder: Encoder) -> Iterator[Engine]:
    encoders = SimpleNamespace(
        expect_images=lambda count: None,
        image=encoder,
        workers=2,
        preparation=SimpleNamespace(pixels=pixels),
        cache=SimpleNamespace(settle=lambda: None),
    )
    model: Any = SimpleNamespace(class_names=("a",), encoders=encoders, image_reader=Reader)
    made = Engine(model, Counter(), max_waiting=10)
    encoder.may_go_on.set()
    made.start()
    encoder.may_go_on.clear()
    encoder.begun.acquire()
    encoder.batches.clear()
    yield made
    encoder.may_go_on.set()
    made.close()


def sources(*names: object) -> list[ImageSource]:
    return [ImageSource(str(name)) for name in names]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, WAIT_S))


async def begin(engine: Engine, *names: object) -> "asyncio.Task[list[Result]]":
    task = asyncio.ensure_future(engine.features(sources(*names)))
    await asyncio.sleep(0)
    return task


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def when_encoding(encoder: Encoder) -> None:
    await asyncio.get_running_loop().run_in_executor(None, encoder.begun.acquire)


def values(results: list[Result]) -> list[float]:
    return [float(item.features[0]) for item in results if isinstance(item, Encoded)]


def test_whatever_waits_is_encoded_together(engine: Engine, encoder: Encoder) -> None:
    async def work() -> None:
        first = await begin(engine, 1)
        await when_encoding(encoder)
        others = [await begin(engine, i) for i in range(2, 8)]
        await until(lambda: engine.decoded == 6)
        encoder.may_go_on.set()
        assert values(await first) == [1]
        assert [values(await other) for other in others] == [[i] for i in range(2, 8)]

    run(work())
    assert encoder.batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_an_image_alone_waits_for_nobody(engine: Engine, encoder: Encoder) -> None:
    encoder.may_go_on.set()
    assert values(run(engine.features(sources(5)))) == [5]


def test_answers_come_in_order_with_what_failed(engine: Engine, encoder: Encoder) -> None:
    encoder.may_go_on.set()
    results = run(engine.features(sources(3, "bad", 1, 2)))
    assert [item.source.path for item in results] == ["3", "bad", "1", "2"]
    assert isinstance(results[1], Failed) and values(results) == [3, 1, 2]


def test_one_image_that_breaks_its_batch_fails_alone(engine: Engine, encoder: Encoder) -> None:
    async def work() -> list[Any]:
        first = await begin(engine, 1)
        await when_encoding(encoder)
        tasks = [await begin(engine, i) for i in (2, BROKEN, 4)]
        await until(lambda: engine.decoded == 3)
        encoder.may_go_on.set()
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    first, second, broken, fourth = run(work())
    assert (values(first), values(second), values(fourth)) == ([1], [2], [4])
    assert isinstance(broken, RuntimeError)
    assert engine.waiting == 0


def test_what_nobody_waits_for_is_dropped(engine: Engine, encoder: Encoder) -> None:
    async def work() -> None:
        first = await begin(engine, 1)
        await when_encoding(encoder)
        gone, stays = await begin(engine, 2), await begin(engine, 3)
        await until(lambda: engine.decoded == 2)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert engine.waiting == 2
        encoder.may_go_on.set()
        assert values(await stays) == [3]
        await first

    run(work())
    assert encoder.batches == [[1], [3]]


def test_what_is_too_much_is_refused_at_once(engine: Engine, encoder: Encoder) -> None:
    async def work() -> None:
        tasks = [await begin(engine, *range(5)), await begin(engine, *range(5))]
        with pytest.raises(Full):
            await engine.features(sources(1))
        encoder.may_go_on.set()
        await asyncio.gather(*tasks)
        assert values(await engine.features(sources(1))) == [1]

    run(work())


def test_a_stop_finishes_what_has_begun_and_refuses_the_rest(engine: Engine, encoder: Encoder) -> None:
    async def work() -> None:
        first = await begin(engine, 1)
        await when_encoding(encoder)
        second = await begin(engine, 2)
        await until(lambda: engine.decoded == 1)
        closing: Awaitable[None] = asyncio.get_running_loop().run_in_executor(None, engine.close)
        with pytest.raises(Stopping):
            await second
        encoder.may_go_on.set()
        assert values(await first) == [1]
        await closing
        with pytest.raises(Stopping):
            await engine.features(sources(3))

    run(work())


def test_a_check_is_an_image_through_the_encoder(engine: Engine, encoder: Encoder) -> None:
    encoder.may_go_on.set()
    run(engine.check())
    assert encoder.batches == [[0]]
