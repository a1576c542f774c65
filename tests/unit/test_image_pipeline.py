import threading
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import pytest

from clipcli.errors import UnreadableImage
from clipcli.features.pipeline import ImagePipeline, Result
from clipcli.features.reader import Decoded, Encoded, Failed, ImageReader, Read
from clipcli.images.find import ImageSource, Pause
from clipcli.images.prepare import Pixels
from clipcli.scoring import Floats


class FakeReader(ImageReader):
    """Pixels are the number in the name; names with `bad` cannot be read; `known` ones are cached."""

    def __init__(self) -> None:
        self.remembered: list[str] = []
        self.taken: list[str] = []

    def recall(self, sources: Iterator[ImageSource | Pause]) -> Iterator[ImageSource | Encoded | Pause]:
        for source in sources:
            known = isinstance(source, ImageSource) and source.path.startswith("known")
            yield Encoded(source, np.array([-1.0], np.float32), cached=True) if known else source  # type: ignore[arg-type]

    def read(self, source: ImageSource) -> Read:
        self.taken.append(source.path)
        if source.path.startswith("bad"):
            return Failed(source, UnreadableImage(source.path))
        return Decoded(source, np.full((1, 1, 3), int(source.path), np.uint8))

    def remember(self, decoded: Sequence[Decoded], features: Floats) -> None:
        self.remembered.extend(item.source.path for item in decoded)


class FakeEncoder:
    concurrency = 2

    def __init__(self, batch_size: int = 3) -> None:
        self.batch_size = batch_size
        self.batches: list[tuple[int, bool]] = []

    def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
        self.batches.append((len(pixels), alone))
        return pixels[:, 0, 0, :1].astype(np.float32)


class Encoders:
    def __init__(self, encoder: FakeEncoder | None = None) -> None:
        self._encoder = encoder

    @property
    def image(self) -> FakeEncoder:
        assert self._encoder is not None, "an encoder is made though everything is cached"
        return self._encoder

    def expect_images(self, new: int | None) -> None:
        self.expected = new


def run(names: list[str], encoder: FakeEncoder | None = None, workers: int = 2) -> list[Result]:
    pipeline = ImagePipeline(FakeReader(), Encoders(encoder or FakeEncoder()), workers=workers)
    return [item for batch in pipeline.batches(ImageSource(name) for name in names) for item in batch]


def values(results: list[Result]) -> list[float | None]:
    return [float(item.features[0]) if isinstance(item, Encoded) else None for item in results]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_input_order(workers: int) -> None:
    names = [str(i) for i in range(50)]
    results = run(names, workers=workers)
    assert [item.source.path for item in results] == names
    assert values(results) == [*range(50)]


def test_bad_and_remembered_images_keep_their_place() -> None:
    results = run(["0", "bad1", "known2", "3", "known4", "5", "6", "bad7"])
    assert values(results) == [0, None, -1, 3, -1, 5, 6, None]
    assert [isinstance(item, Failed) for item in results] == [False, True, *[False] * 5, True]
    assert [isinstance(item, Encoded) and item.cached for item in results] == [
        *[False] * 2,
        True,
        False,
        True,
        *[False] * 3,
    ]


def test_batches_are_full_and_what_is_left_is_shared_out() -> None:
    encoder = FakeEncoder(batch_size=4)
    assert values(run([str(i) for i in range(11)], encoder)) == [*range(11)]
    assert sorted(encoder.batches) == [(1, False), (2, False), (4, False), (4, False)]


def test_fewer_images_than_cores_have_all_of_them() -> None:
    encoder = FakeEncoder(batch_size=4)
    run([str(i) for i in range(9)], encoder)
    assert sorted(encoder.batches) == [(1, True), (4, False), (4, False)]


@pytest.mark.parametrize(
    ("images", "batches"),
    [
        (1, [(1, True)]),
        (2, [(1, False)] * 2),
        (7, [(3, False), (4, False)]),
        (9, [(3, False), *[(2, False)] * 3]),
        (10, [(3, False)] * 2 + [(2, False)] * 2),
        (16, [(4, False)] * 4),
    ],
)
def test_where_the_number_is_known_all_cores_have_as_much_to_do(images: int, batches: list[tuple[int, bool]]) -> None:
    encoder = FakeEncoder(batch_size=4)
    pipeline = ImagePipeline(FakeReader(), Encoders(encoder), workers=2)
    sources = [ImageSource(str(i)) for i in range(images)]
    results = [item for batch in pipeline.batches(sources, at_hand=True) for item in batch]
    assert values(results) == [*range(images)]
    assert sorted(encoder.batches) == sorted(batches)


def test_batches_may_shrink_in_the_middle_of_a_run() -> None:
    class Shrinking(FakeEncoder):
        def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
            self.batch_size = 2  # while the next batch has more already
            return super().encode(pixels, alone=alone)

    encoder = Shrinking(batch_size=5)
    results = run([str(i) for i in range(60)], encoder)
    assert values(results) == [*range(60)]
    assert max(size for size, _ in encoder.batches[8:]) == 2


def test_no_encoder_is_made_when_everything_is_remembered() -> None:
    names = [f"known{i}" for i in range(700)]
    batches = list(ImagePipeline(FakeReader(), Encoders(), workers=2).batches(ImageSource(name) for name in names))
    assert [item.source.path for batch in batches for item in batch] == names
    assert len(batches) > 1  # handed on as they come


def test_new_features_are_remembered_once() -> None:
    reader = FakeReader()
    names = ["0", "known1", "bad2", "3", "4", "5"]
    list(ImagePipeline(reader, Encoders(FakeEncoder()), workers=2).batches(ImageSource(name) for name in names))
    assert sorted(reader.remembered) == ["0", "3", "4", "5"]


def test_sources_are_taken_only_as_far_ahead_as_a_few_batches() -> None:
    taken = count()
    endless = (ImageSource(str(next(taken) % 200)) for _ in iter(int, 1))
    stream = ImagePipeline(FakeReader(), Encoders(FakeEncoder()), workers=2).batches(endless)
    results = sum(len(next(stream)) for _ in range(20))
    stream.close()
    # Ahead of what was handed out: 2 * workers + batch_size * (concurrency + 1), and 2 * concurrency + 1 batches.
    assert next(taken) <= results + 2 * 2 + 3 * 3 + 3 * 5 + 1


def test_closing_early_drops_what_was_not_begun() -> None:
    reader, gate = FakeReader(), threading.Event()
    original = reader.read

    def slow(source: ImageSource) -> Read:
        if source.path not in ("0", "1", "2"):
            gate.wait(10)
        return original(source)

    reader.read = slow  # type: ignore[method-assign]
    stream = ImagePipeline(reader, Encoders(FakeEncoder()), workers=4).batches(ImageSource(str(i)) for i in range(100))
    # The first batch is ready while the images behind it are not.
    threading.Timer(0.2, gate.set).start()
    next(stream)
    stream.close()
    assert len(reader.taken) < 40


def test_an_error_of_the_encoder_reaches_the_caller() -> None:
    class Broken(FakeEncoder):
        def encode(self, pixels: Pixels, *, alone: bool) -> Floats:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        run([str(i) for i in range(10)], Broken())


def test_nothing_in_nothing_out() -> None:
    assert run([]) == []


def test_the_first_images_are_read_before_anyone_asks() -> None:
    reader, read = FakeReader(), threading.Event()
    original = reader.read

    def note(source: ImageSource) -> Read:
        if source.path == "3":
            read.set()
        return original(source)

    reader.read = note  # type: ignore[method-assign]
    stream = ImagePipeline(reader, Encoders(FakeEncoder()), workers=2).batches(ImageSource(str(i)) for i in range(100))
    assert read.wait(30)
    stream.close()
    assert len(reader.taken) <= 4


def test_nobody_waits_for_names_that_are_not_there_yet() -> None:
    def interactive() -> Iterator[ImageSource | Pause]:
        yield ImageSource("0")
        yield Pause()
        assert finished, "the next name is asked for before the first image is finished"
        yield ImageSource("1")

    finished: list[Result] = []
    stream = ImagePipeline(FakeReader(), Encoders(FakeEncoder()), workers=2).batches(interactive())
    finished.extend(next(stream))
    assert values(finished) == [0]
    assert values([item for batch in stream for item in batch]) == [1]


def test_a_stream_that_nobody_takes_from_ends_its_threads() -> None:
    def threads() -> int:
        return sum(thread.name.startswith("image") for thread in threading.enumerate())

    before = threads()
    ImagePipeline(FakeReader(), Encoders(FakeEncoder()), workers=3).batches(
        ImageSource(str(i)) for i in range(9)
    ).close()
    for thread in threading.enumerate():
        if thread.name.startswith("image"):
            thread.join(30)
    assert threads() <= before
