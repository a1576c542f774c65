"""Reads images, unless their features are remembered: the preparer of the image pipeline. Must not import torch."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from clipcli.errors import ImageError
from clipcli.features.cache import FeatureCache, FeatureSpace, Remembered
from clipcli.features.digests import content_digest
from clipcli.features.pipeline import Pixels, Prepared
from clipcli.files import FileStamp
from clipcli.images.find import PAUSE, ImageSource
from clipcli.scoring import Floats

# Sources looked up together: few while there are new ones, so that nothing waits for a slow list of names, and more
# the longer everything is remembered.
_FIRST_LOOKUP, _LARGEST_LOOKUP = 8, 512


@dataclass(frozen=True, slots=True)
class _Mark:
    """Which content features belong to, and which file it came from."""

    digest: bytes
    stamp: FileStamp | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunSource(ImageSource):
    """An image that `read_ahead` has recalled or begun to read."""

    begun: Future[Prepared]


class ImageReader:
    """Decodes images and remembers nothing."""

    def __init__(self, decode: Callable[[ImageSource], Pixels]) -> None:
        """Read with a function that raises `ImageError` for images that cannot be used."""
        self._decode = decode

    def recall(self, sources: Iterator[ImageSource]) -> Iterator[ImageSource | Prepared]:
        """Hand everything on: nothing is remembered."""
        yield from sources

    def read(self, source: ImageSource) -> Prepared:
        """Decode and scale one image, without a look at what is remembered."""
        return self._read(source, None)

    def prepare(self, source: ImageSource) -> Prepared:
        """Decode and scale one image."""
        return source.begun.result() if isinstance(source, BegunSource) else self.read(source)

    def remember(self, prepared: list[Prepared], features: Floats) -> None:
        """Forget."""

    def _read(self, source: ImageSource, mark: _Mark | None) -> Prepared:
        try:
            return Prepared(source, pixels=self._decode(source), mark=mark)
        except ImageError as error:
            return Prepared(source, error=error)


class MarkingReader(ImageReader):
    """Decodes images and marks them, so that their features can be looked for and remembered later."""

    def read(self, source: ImageSource) -> Prepared:
        """Mark, decode and scale one image, without a look at what is remembered."""
        return self._read(source, _mark(source))


class RememberingReader(MarkingReader):
    """Looks for features by path and stamp, then by content; decodes what is left and remembers its features."""

    def __init__(self, decode: Callable[[ImageSource], Pixels], cache: FeatureCache, space: FeatureSpace) -> None:
        """Use the features of one space."""
        super().__init__(decode)
        self._cache, self._space = cache, space

    def recall(self, sources: Iterator[ImageSource]) -> Iterator[ImageSource | Prepared]:
        """Replace files that did not change since they were remembered by their features, without opening them."""
        size = _FIRST_LOOKUP
        while chunk := _until_pause(sources, size):
            recalled = list(self._recall(chunk))
            all_known = all(isinstance(item, Prepared) for item in recalled)
            size = min(2 * size, _LARGEST_LOOKUP) if all_known else _FIRST_LOOKUP
            yield from recalled

    def _recall(self, chunk: Sequence[ImageSource]) -> Iterator[ImageSource | Prepared]:
        files = [source for source in chunk if _may_be_known(source)]
        known = zip(files, self._cache.known_digests([source.path for source in files]), strict=True)
        digests = {source.path: digest for source, digest in known if digest is not None}
        found = self._cache.get(self._space, list(digests.values()))
        for source in chunk:
            digest = digests.get(source.path) if _may_be_known(source) else None
            remembered = found.get(digest) if digest is not None else None
            yield source if remembered is None else Prepared(source, features=remembered.features)

    def prepare(self, source: ImageSource) -> Prepared:
        """Look for the content of one image, and decode it if it is new."""
        begun = source.begun.result() if isinstance(source, BegunSource) else None
        mark = begun.mark if begun else _mark(source)
        if not isinstance(mark, _Mark):
            return begun or self._read(source, None)
        remembered = self._cache.get(self._space, [mark.digest]).get(mark.digest)
        if remembered is None:
            return begun or self._read(source, mark)
        if mark.stamp is not None:
            self._cache.remember_digests([(source.path, mark.stamp, mark.digest)])
        return Prepared(source, features=remembered.features)

    def remember(self, prepared: list[Prepared], features: Floats) -> None:
        """Keep a batch, without images that changed while they were read."""
        entries: dict[bytes, Remembered] = {}
        files: list[tuple[str, FileStamp, bytes]] = []
        for item, row in zip(prepared, features, strict=True):
            if not isinstance(item.mark, _Mark):
                continue
            if item.mark.stamp is not None:
                if item.mark.stamp != _stamp(item.source.path):
                    continue
                files.append((item.source.path, item.mark.stamp, item.mark.digest))
            entries[item.mark.digest] = Remembered(row)
        self._cache.put(self._space, entries)
        self._cache.remember_digests(files)


def read_ahead(sources: Iterator[ImageSource], reader: ImageReader, workers: int) -> Iterator[ImageSource]:
    """Begin to read the first images at once, before a pipeline asks for them, and hand all of them on.

    For the time in which torch is imported and labels are encoded: threads that decode need no torch.

    Args:
        sources: Images; the first two a thread are taken now, so nobody should have to wait for their names.
        reader: Reads those that it does not recall.
        workers: Threads; they end with what was begun.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="image ahead")
    first = [_begin(item, reader, pool) for item in reader.recall(islice(sources, 2 * workers))]
    pool.shutdown(wait=False)
    return chain(first, sources)


def _begin(item: ImageSource | Prepared, reader: ImageReader, pool: ThreadPoolExecutor) -> BegunSource:
    if isinstance(item, ImageSource):
        return BegunSource(item.path, item.data, item.error, image=item.image, begun=pool.submit(reader.read, item))
    recalled: Future[Prepared] = Future()
    recalled.set_result(item)
    return BegunSource(item.source.path, begun=recalled)


def _may_be_known(source: ImageSource) -> bool:
    """Whether to ask by path and stamp: a file, and not asked already."""
    is_file = source.data is None and source.error is None and source.image is None
    return is_file and not isinstance(source, BegunSource)


def _until_pause(sources: Iterator[ImageSource], size: int) -> list[ImageSource]:
    """Take so many sources, fewer if the stream pauses: nobody should wait for the next one."""
    chunk: list[ImageSource] = []
    for source in islice(sources, size):
        chunk.append(source)
        if source is PAUSE:
            break
    return chunk


def _mark(source: ImageSource) -> _Mark | None:
    """Digest of an image's bytes, and the stamp from before they were read; None where they cannot be read.

    None, too, of an image that someone has opened or made: its pixels need not be those of the file it names.
    """
    if source.error is not None or source.image is not None:
        return None
    if source.data is not None:
        return _Mark(content_digest(source.data), None)
    stamp = _stamp(source.path)
    with suppress(OSError, ValueError):  # decoding will say what is wrong
        if stamp is not None and os.path.isfile(source.path):  # a pipe can be read only once
            return _Mark(content_digest(Path(source.path).read_bytes()), stamp)
    return None


def _stamp(path: str) -> FileStamp | None:
    with suppress(OSError, ValueError):
        return FileStamp.of(path)
    return None
