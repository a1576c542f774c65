import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipcli.errors import ImageTooLarge, MissingFile, UnreadableImage
from clipcli.features.cache import FeatureCache, FeatureSpace, open_cache
from clipcli.features.reader import Decoded, Encoded, Failed, ImageReader
from clipcli.images.decode import DecodeOptions
from clipcli.images.find import ImageSource, Pause
from clipcli.images.prepare import Pixels, Preparation
from clipcli.images.preprocess import Preprocessing

SPACE = FeatureSpace("image", "checkpoint", "preparation", "cpu float32")
LONG_AGO_NS = 10**18
ROW = np.array([[0.6, 0.8]], np.float32)


class Decoder:
    def __init__(self) -> None:
        self.decoded: list[str] = []

    def pixels(self, source: ImageSource) -> Pixels:
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
def reader(cache: FeatureCache, decoder: Decoder) -> ImageReader:
    return ImageReader(decoder, cache, SPACE)


def write(path: Path, content: bytes = b"image") -> ImageSource:
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return ImageSource(str(path))


def recall(reader: ImageReader, *sources: ImageSource) -> list[ImageSource | Encoded | Pause]:
    return list(reader.recall(iter(sources)))


def read(reader: ImageReader, source: ImageSource) -> Decoded | Encoded | Failed:
    item = reader.read(source)
    if isinstance(item, Decoded):
        reader.remember([item], ROW)
    return item


def test_an_unchanged_file_is_not_opened_again(reader: ImageReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    assert recall(reader, source) == [source]
    read(reader, source)
    [found] = recall(reader, source)
    assert isinstance(found, Encoded) and found.cached
    np.testing.assert_array_equal(found.features, ROW[0])


def test_a_changed_file_is_read_again(reader: ImageReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    read(reader, source)
    write(tmp_path / "a.jpg", b"another")
    assert recall(reader, source) == [source]
    assert isinstance(read(reader, source), Decoded)


def test_a_moved_file_is_known_by_its_content(reader: ImageReader, decoder: Decoder, tmp_path: Path) -> None:
    read(reader, write(tmp_path / "a.jpg"))
    moved = write(tmp_path / "b.jpg")
    assert recall(reader, moved) == [moved]
    assert isinstance(read(reader, moved), Encoded)
    assert decoder.decoded == [str(tmp_path / "a.jpg")]
    assert isinstance(recall(reader, moved)[0], Encoded)  # from now on by its path


def test_standard_input_is_known_by_its_content(reader: ImageReader) -> None:
    source = ImageSource("-", data=b"image")
    assert isinstance(read(reader, source), Decoded)
    assert isinstance(read(reader, source), Encoded)


def test_a_path_does_not_stand_in_for_other_bytes(reader: ImageReader, tmp_path: Path) -> None:
    named = write(tmp_path / "a.jpg")
    read(reader, named)
    piped = ImageSource(named.path, data=b"something else")
    assert recall(reader, piped) == [piped]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(reader: ImageReader, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    decoded = reader.read(source)
    assert isinstance(decoded, Decoded)
    write(tmp_path / "a.jpg", b"changed meanwhile")
    reader.remember([decoded], ROW)
    assert recall(reader, source) == [source]
    write(tmp_path / "a.jpg")
    assert isinstance(read(reader, source), Decoded)


def test_other_spaces_are_strangers(reader: ImageReader, cache: FeatureCache, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    read(reader, source)
    other = ImageReader(Decoder(), cache, FeatureSpace("image", "checkpoint", "preparation", "cpu int8"))
    assert recall(other, source) == [source]


def test_errors_are_passed_on_and_not_remembered(reader: ImageReader, tmp_path: Path) -> None:
    refused = ImageSource("x", error=UnreadableImage("x"))
    missing = ImageSource(str(tmp_path / "missing.jpg"))
    for source, error in ((refused, UnreadableImage), (missing, MissingFile)):
        failed = reader.read(source)
        assert isinstance(failed, Failed) and isinstance(failed.error, error)
    assert recall(reader, refused, missing) == [refused, missing]


def test_a_pipe_is_left_for_the_decoder_to_read(reader: ImageReader, decoder: Decoder, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader.read(ImageSource(str(pipe)))  # would wait for a writer if it were opened here
    assert decoder.decoded == [str(pipe)]


def test_order_is_kept_over_many_lookups(reader: ImageReader, tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{i:02}.jpg", bytes([i])) for i in range(40)]
    for source in sources[::2]:
        read(reader, source)
    found = recall(reader, *sources)
    assert [
        item.source.path if isinstance(item, Encoded) else item.path for item in found if not isinstance(item, Pause)
    ] == [source.path for source in sources]
    assert [isinstance(item, Encoded) for item in found] == [True, False] * 20


def test_without_a_cache_nothing_is_marked_or_looked_for(decoder: Decoder, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jpg")
    reader = ImageReader(decoder, FeatureCache.disabled(), SPACE)
    assert recall(reader, source) == [source]
    decoded = reader.read(source)
    assert isinstance(decoded, Decoded) and decoded.mark is None
    reader.remember([decoded], ROW)
    assert recall(ImageReader(decoder, open_cache(), SPACE), source) == [source]


def test_nothing_is_looked_up_beyond_a_pause(reader: ImageReader, tmp_path: Path) -> None:
    def waiting() -> Iterator[ImageSource | Pause]:
        yield write(tmp_path / "a.jpg")
        yield Pause()
        raise AssertionError("the next name may be an hour away")

    items = reader.recall(waiting())
    assert isinstance(next(items), ImageSource) and isinstance(next(items), Pause)


def test_a_huge_file_is_neither_hashed_nor_read(cache: FeatureCache, tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(200 * 10**9)
    failed = ImageReader(Preparation(DecodeOptions(), Preprocessing()), cache, SPACE).read(ImageSource(str(path)))
    assert isinstance(failed, Failed) and isinstance(failed.error, ImageTooLarge)


def test_a_file_that_opens_and_cannot_be_read(cache: FeatureCache) -> None:
    reader = ImageReader(Preparation(DecodeOptions(), Preprocessing()), cache, SPACE)
    failed = reader.read(ImageSource("/proc/self/mem" if os.path.exists("/proc/self/mem") else "/dev/null"))
    assert isinstance(failed, Failed)
