"""Decoding ahead: in order, bounded, and over as soon as the run is."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from clipcli.errors import MissingFile, UnreadableImage
from clipcli.images.find import ImageSource
from clipcli.runtime.image_pipeline import Pixels, prepared_batches


def pixels(source: ImageSource) -> Pixels:
    if "bad" in source.path:
        raise UnreadableImage(f"{source.path}: damaged")
    return np.full((2, 2, 3), int(source.path), dtype=np.uint8)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2), (7, 4), (100, 4)])
def test_batches_keep_the_order_with_failures_in_place(batch_size: int, workers: int) -> None:
    names = ["0", "1", "bad", "3", "4", "5", "gone", "7", "8", "9"]
    sources = (ImageSource(name, error=MissingFile("gone") if name == "gone" else None) for name in names)
    batches = list(prepared_batches(sources, pixels, batch_size=batch_size, workers=workers))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    found = [item for batch in batches for item in batch]
    assert [item.source.path for item in found] == names
    for item in found:
        if item.source.path.isdigit():
            assert item.error is None and item.pixels is not None
            assert item.pixels[0, 0, 0] == int(item.source.path)
        else:
            assert item.pixels is None
            assert type(item.error) is (MissingFile if item.source.path == "gone" else UnreadableImage)


def test_inputs_are_taken_a_few_batches_ahead_and_no_more() -> None:
    taken = 0

    def endless() -> Iterator[ImageSource]:
        nonlocal taken
        while True:
            taken += 1
            yield ImageSource("1")

    batches = prepared_batches(endless(), pixels, batch_size=4, workers=2)
    for count in range(1, 6):
        next(batches)
        assert taken <= 4 * (count + 2)
    batches.close()


def test_closing_decodes_no_further() -> None:
    go, started = threading.Event(), []

    def slow(source: ImageSource) -> Pixels:
        started.append(source.path)
        if source.path != "0":
            go.wait()
        return pixels(source)

    sources = (ImageSource(str(i)) for i in range(100))
    batches = prepared_batches(sources, slow, batch_size=1, workers=1)
    next(batches)
    batches.close()
    go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("decode"):
            thread.join()
    assert len(started) <= 2


def test_an_error_that_is_no_fault_of_the_picture_is_raised() -> None:
    def broken(source: ImageSource) -> Pixels:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(prepared_batches(iter([ImageSource("1")]), broken, batch_size=1, workers=1))
