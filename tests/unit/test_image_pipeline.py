import threading
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from clipcli.errors import UnreadableImage
from clipcli.features.pipeline import ImageFeatures, ImagePipeline, Pixels, Prepared
from clipcli.images.find import ImageSource
from clipcli.scoring import Floats


class FakePreparer:
    """Pixels are the number in the name; names with `bad` cannot be read; `known` ones are remembered."""

    def __init__(self) -> None:
        self.remembered: list[str] = []
        self.prepared: list[str] = []

    def recall(self, sources: Iterator[ImageSource]) -> Iterator[ImageSource | Prepared]:
        for source in sources:
            known = source.path.startswith("known")
            yield Prepared(source, features=np.array([-1.0], np.float32)) if known else source

    def prepare(self, source: ImageSource) -> Prepared:
        self.prepared.append(source.path)
        if source.path.startswith("bad"):
            return Prepared(source, error=UnreadableImage(source.path))
        return Prepared(source, pixels=np.full((1, 1, 3), int(source.path), np.uint8))

    def remember(self, prepared: list[Prepared], features: Floats) -> None:
        self.remembered.extend(item.source.path for item in prepared)


class FakeEncoder:
    concurrency = 2

    def __init__(self, batch_size: int = 3) -> None:
        self.batch_size = batch_size
        self.batches: list[tuple[int, bool]] = []

    def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
        self.batches.append((len(pixels), alone))
        return pixels[:, 0, 0, :1].astype(np.float32)


def run(names: list[str], encoder: FakeEncoder | None = None, workers: int = 2) -> list[ImageFeatures]:
    encoder = encoder or FakeEncoder()
    pipeline = ImagePipeline(FakePreparer(), lambda: encoder, workers=workers)
    return [item for batch in pipeline.batches(ImageSource(name) for name in names) for item in batch]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_input_order(workers: int) -> None:
    names = [str(i) for i in range(50)]
    results = run(names, workers=workers)
    assert [item.source.path for item in results] == names
    assert [float(item.features[0]) for item in results if item.features is not None] == [*range(50)]


def test_bad_and_remembered_images_keep_their_place() -> None:
    results = run(["0", "bad1", "known2", "3", "known4", "5", "6", "bad7"])
    values = [None if item.features is None else float(item.features[0]) for item in results]
    assert values == [0, None, -1, 3, -1, 5, 6, None]
    assert [item.error is not None for item in results] == [False, True, *[False] * 5, True]


def test_batches_are_full_and_only_the_last_one_has_all_cores() -> None:
    encoder = FakeEncoder(batch_size=4)
    run([str(i) for i in range(10)], encoder)
    assert sorted(encoder.batches) == [(2, True), (4, False), (4, False)]


def test_batches_may_shrink_in_the_middle_of_a_run() -> None:
    class Shrinking(FakeEncoder):
        def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
            self.batch_size = 2  # while the next batch has more already
            return super().encode(pixels, alone=alone)

    encoder = Shrinking(batch_size=5)
    results = run([str(i) for i in range(60)], encoder)
    assert [float(item.features[0]) for item in results if item.features is not None] == [*range(60)]
    assert max(size for size, _ in encoder.batches[8:]) == 2


def test_no_encoder_is_made_when_everything_is_remembered() -> None:
    def never() -> FakeEncoder:
        raise AssertionError

    names = [f"known{i}" for i in range(700)]
    batches = list(ImagePipeline(FakePreparer(), never, workers=2).batches(ImageSource(name) for name in names))
    assert [item.source.path for batch in batches for item in batch] == names
    assert len(batches) > 1  # handed on as they come


def test_new_features_are_remembered_once() -> None:
    preparer = FakePreparer()
    names = ["0", "known1", "bad2", "3", "4", "5"]
    list(ImagePipeline(preparer, FakeEncoder, workers=2).batches(ImageSource(name) for name in names))
    assert sorted(preparer.remembered) == ["0", "3", "4", "5"]


def test_sources_are_taken_only_as_far_ahead_as_a_few_batches() -> None:
    taken = count()
    endless = (ImageSource(str(next(taken) % 200)) for _ in iter(int, 1))
    stream = ImagePipeline(FakePreparer(), FakeEncoder, workers=2).batches(endless)
    results = sum(len(next(stream)) for _ in range(20))
    stream.close()
    # Ahead of what was handed out: 2 * workers + batch_size * (concurrency + 1), and 2 * concurrency + 1 batches.
    assert next(taken) <= results + 2 * 2 + 3 * 3 + 3 * 5 + 1


def test_closing_early_drops_what_was_not_begun() -> None:
    preparer, gate = FakePreparer(), threading.Event()
    original = preparer.prepare

    def slow(source: ImageSource) -> Prepared:
        if source.path not in ("0", "1", "2"):
            gate.wait(10)
        return original(source)

    preparer.prepare = slow  # type: ignore[method-assign]
    stream = ImagePipeline(preparer, FakeEncoder, workers=4).batches(ImageSource(str(i)) for i in range(100))
    # The first batch is ready while the images behind it are not.
    threading.Timer(0.2, gate.set).start()
    next(stream)
    stream.close()
    assert len(preparer.prepared) < 40


def test_an_error_of_the_encoder_reaches_the_caller() -> None:
    class Broken(FakeEncoder):
        def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        run([str(i) for i in range(10)], Broken())


def test_nothing_in_nothing_out() -> None:
    assert run([]) == []
