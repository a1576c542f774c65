import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from clipcli.errors import MissingFile, UnreadableImage
from clipcli.features.cache import FeatureCache, FeatureSpace, open_cache
from clipcli.features.pipeline import Pixels, Prepared
from clipcli.features.reader import BegunSource, MarkingReader, RememberingReader, read_ahead
from clipcli.images.find import ImageSource

SPACE = FeatureSpace("image", "checkpoint", "preparation", "cpu float32")
LONG_AGO_NS = 10**18
ROW = np.array([[0.6, 0.8]], np.float32)


class Decoder:
    def __init__(self) -> None:
        self.decoded: list[str] = []

    def __call__(self, source: ImageSource) -> Pixels:
        self.decoded.append(source.path)
        if source.error is not None:
            raise source.error
        if not os.path.exists(source.path) and source.data is None:
            raise MissingFile(source.path)
        return np.zeros((1, 1, 3), np.uint8)


@pytest.fixture
def cache() -> FeatureCache:
    return open_cache()


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def reader(cache: FeatureCache, decoder: Decoder) -> RememberingReader:
    return RememberingReader(decoder, cache, SPACE)


def write(path: Path, content: bytes = b"image") -> ImageSource:
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return ImageSource(str(path))


def recall(reader: RememberingReader, *sources: ImageSource) -> list[ImageSource | Prepared]:
    return list(reader.recall(iter(sources)))


def read(reader: RememberingReader, source: ImageSource) -> Prepared:
    prepared = reader.prepare(source)
    if prepared.pixels is not None:
        reader.remember([prepared], ROW)
    return prepared


def test_an_unchanged_file_is_not_opened_again(reader: RememberingReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    assert recall(reader, source) == [source]
    read(reader, source)
    [found] = recall(reader, source)
    assert isinstance(found, Prepared) and found.features is not None
    np.testing.assert_array_equal(found.features, ROW[0])


def test_a_changed_file_is_read_again(reader: RememberingReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    read(reader, source)
    write(tmp_path / "a.jpg", b"another")
    assert recall(reader, source) == [source]
    assert read(reader, source).pixels is not None


def test_a_moved_file_is_known_by_its_content(reader: RememberingReader, decoder: Decoder, tmp_path: Path) -> None:
    read(reader, write(tmp_path / "a.jpg"))
    moved = write(tmp_path / "b.jpg")
    assert recall(reader, moved) == [moved]
    assert read(reader, moved).features is not None
    assert decoder.decoded == [str(tmp_path / "a.jpg")]
    assert isinstance(recall(reader, moved)[0], Prepared)  # from now on by its path


def test_standard_input_is_known_by_its_content(reader: RememberingReader) -> None:
    source = ImageSource("-", data=b"image")
    assert read(reader, source).pixels is not None
    assert read(reader, source).features is not None


def test_a_path_does_not_stand_in_for_other_bytes(reader: RememberingReader, tmp_path: Path) -> None:
    named = write(tmp_path / "a.jpg")
    read(reader, named)
    piped = ImageSource(named.path, data=b"something else")
    assert recall(reader, piped) == [piped]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(reader: RememberingReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    prepared = reader.prepare(source)
    write(tmp_path / "a.jpg", b"changed meanwhile")
    reader.remember([prepared], ROW)
    assert recall(reader, source) == [source]
    write(tmp_path / "a.jpg")
    assert read(reader, source).pixels is not None


def test_other_spaces_are_strangers(reader: RememberingReader, cache: FeatureCache, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    read(reader, source)
    other = RememberingReader(Decoder(), cache, FeatureSpace("image", "checkpoint", "preparation", "cpu int8"))
    assert recall(other, source) == [source]


def test_errors_are_passed_on_and_not_remembered(reader: RememberingReader, tmp_path: Path) -> None:
    refused = ImageSource("x", error=UnreadableImage("x"))
    assert reader.prepare(refused).error is refused.error
    missing = ImageSource(str(tmp_path / "missing.jpg"))
    assert isinstance(reader.prepare(missing).error, MissingFile)
    assert recall(reader, refused, missing) == [refused, missing]


def test_a_pipe_is_left_for_the_decoder_to_read(reader: RememberingReader, decoder: Decoder, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader.prepare(ImageSource(str(pipe)))  # would wait for a writer if it were opened here
    assert decoder.decoded == [str(pipe)]


def test_order_is_kept_over_many_lookups(reader: RememberingReader, tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{i:02}.jpg", bytes([i])) for i in range(40)]
    for source in sources[::2]:
        read(reader, source)
    found = recall(reader, *sources)
    assert [item.source.path if isinstance(item, Prepared) else item.path for item in found] == [
        source.path for source in sources
    ]
    assert [isinstance(item, Prepared) for item in found] == [True, False] * 20


def test_first_images_are_read_before_anyone_asks(reader: RememberingReader, decoder: Decoder, tmp_path: Path) -> None:
    known, new = write(tmp_path / "known.png", b"known"), write(tmp_path / "new.png", b"new")
    read(reader, known)
    decoder.decoded.clear()
    later = iter([ImageSource("a"), ImageSource("b")])
    first, second, *rest = read_ahead(chain([known, new], later), reader, workers=1)
    assert isinstance(second, BegunSource)
    assert second.begun.result().pixels is not None
    assert decoder.decoded == [new.path]
    assert [source.path for source in (first, second, *rest)] == [known.path, new.path, "a", "b"]
    assert recall(reader, first, second) == [first, second]
    assert reader.prepare(first).features is not None
    assert read(reader, second) is second.begun.result()
    assert decoder.decoded == [new.path]
    assert recall(reader, new) != [new]


def test_what_was_read_ahead_without_looking_is_looked_for_by_content(
    reader: RememberingReader, decoder: Decoder, tmp_path: Path
) -> None:
    source = write(tmp_path / "cat.png")
    read(reader, source)
    (begun,) = read_ahead(iter([source]), MarkingReader(decoder), workers=1)
    assert isinstance(begun, BegunSource)
    assert begun.begun.result().pixels is not None
    prepared = reader.prepare(begun)
    assert prepared.pixels is None
    np.testing.assert_array_equal(prepared.features, ROW[0])


def test_what_changes_after_it_was_read_ahead_is_not_remembered(
    reader: RememberingReader, decoder: Decoder, tmp_path: Path
) -> None:
    source = write(tmp_path / "cat.png")
    (begun,) = read_ahead(iter([source]), MarkingReader(decoder), workers=1)
    assert isinstance(begun, BegunSource)
    begun.begun.result()
    changed = write(tmp_path / "cat.png", b"another image")
    read(reader, begun)
    assert recall(reader, changed) == [changed]
    assert reader.prepare(source).pixels is not None


def test_errors_of_reading_ahead_are_passed_on(reader: RememberingReader) -> None:
    missing, named = ImageSource("missing.png"), ImageSource("folder", error=UnreadableImage("folder"))
    for source in read_ahead(iter([missing, named]), reader, workers=1):
        assert reader.prepare(source).error is not None
