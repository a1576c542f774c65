"""Reads images, unless their features are cached."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias

from clipcli.errors import ImageError
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace
from clipcli.features.digests import content_digest, file_digest
from clipcli.files import FileStamp
from clipcli.images.find import ImageSource, Pause
from clipcli.images.opening import is_readable_file
from clipcli.images.prepare import Pixels
from clipcli.scoring import Floats

# Sources looked up together: few while there are new images, so that nothing waits for a slow list of names, and more
# as long as everything is cached.
_FIRST_LOOKUP, _LARGEST_LOOKUP = 8, 512


@dataclass(frozen=True, slots=True)
class Mark:
    """The digest of the content, and the stamp of its file; None if it was not read from a file."""

    digest: bytes
    stamp: FileStamp | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image: its pixels (height, width, 3), and its mark if its features are to be cached."""

    source: ImageSource
    pixels: Pixels
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image's features (P,), unit length, or with a classification head its logits (classes,).

    `mark` is set if the cache is used; `cached` is true if nothing was computed.
    """

    source: ImageSource
    features: Floats
    mark: Mark | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that could not be used, and why."""

    source: ImageSource
    error: ImageError


Read: TypeAlias = Decoded | Encoded | Failed


class Preparer(Protocol):
    """Turns sources into pixels; implemented by `images.prepare.Preparation`."""

    def pixels(self, source: ImageSource) -> Pixels:
        """Read one image; raises `ImageError`, and nothing else that a bad image can cause."""


class ImageReader:
    """Looks up features by path and stamp, then by content; decodes the other images, and caches their features.

    Args:
        preparation: Decodes images.
        cache: The feature cache; ignored if it is not usable.
        space: What else features depend on; None without a cache.
    """

    def __init__(
        self, preparation: Preparer, cache: FeatureCache | None = None, space: FeatureSpace | None = None
    ) -> None:
        self._preparation = preparation
        self._cached = (cache, space) if cache is not None and cache.usable and space is not None else None

    def recall(self, sources: Iterator[ImageSource | Pause]) -> Iterator[ImageSource | Encoded | Pause]:
        """Replace files that have not changed since they were cached by their features, without opening them."""
        if self._cached is None:
            yield from sources
            return
        size = _FIRST_LOOKUP
        while chunk := _until_pause(sources, size):
            recalled = list(self._recall(chunk, *self._cached))
            all_known = not any(isinstance(item, ImageSource) for item in recalled)
            size = min(2 * size, _LARGEST_LOOKUP) if all_known else _FIRST_LOOKUP
            yield from recalled

    def _recall(
        self, chunk: Sequence[ImageSource | Pause], cache: FeatureCache, space: FeatureSpace
    ) -> Iterator[ImageSource | Encoded | Pause]:
        files = [item.path for item in chunk if isinstance(item, ImageSource) and item.is_file]
        known = zip(files, cache.known_digests(files), strict=True)
        digests = {path: digest for path, digest in known if digest is not None}
        found = cache.get(space, list(digests.values()))
        for item in chunk:
            digest = digests.get(item.path) if isinstance(item, ImageSource) and item.is_file else None
            entry = found.get(digest) if digest is not None else None
            if entry is None or digest is None or not isinstance(item, ImageSource):
                yield item
            else:
                yield Encoded(item, entry.features, Mark(digest, None), cached=True)

    def read(self, source: ImageSource) -> Read:
        """Look up the content of one image, and decode it if it is new. Safe in several threads."""
        mark = None
        if self._cached is not None:
            cache, space = self._cached
            mark = _mark(source)
            entry = cache.get(space, [mark.digest]).get(mark.digest) if mark else None
            if mark is not None and entry is not None:
                if mark.stamp is not None:
                    cache.remember_digests([(source.path, mark.stamp, mark.digest)])
                return Encoded(source, entry.features, mark, cached=True)
        try:
            return Decoded(source, self._preparation.pixels(source), mark)
        except ImageError as error:
            return Failed(source, error)

    def remember(self, decoded: Sequence[Decoded], features: Floats) -> None:
        """Cache a batch, without images that changed while they were read.

        Shapes: features (N, P), one row per image. Safe in several threads.
        """
        if self._cached is None:
            return
        entries: dict[bytes, CachedFeature] = {}
        files: list[tuple[str, FileStamp, bytes]] = []
        for item, row in zip(decoded, features, strict=True):
            if item.mark is None:
                continue
            if item.mark.stamp is not None:
                if item.mark.stamp != _stamp(item.source.path):
                    continue
                files.append((item.source.path, item.mark.stamp, item.mark.digest))
            entries[item.mark.digest] = CachedFeature(row)
        cache, space = self._cached
        cache.put(space, entries)
        cache.remember_digests(files)


def _until_pause(sources: Iterator[ImageSource | Pause], size: int) -> list[ImageSource | Pause]:
    """Take a number of sources, fewer if the stream pauses, so that nothing waits for the next one."""
    chunk: list[ImageSource | Pause] = []
    for source in islice(sources, size):
        chunk.append(source)
        if isinstance(source, Pause):
            break
    return chunk


def _mark(source: ImageSource) -> Mark | None:
    """Digest of an image's bytes, and the stamp from before they were read; None if they cannot be read.

    Also None for an image object: its pixels may differ from those of the file that it names.
    """
    if source.error is not None or source.image is not None:
        return None
    if source.data is not None:
        return Mark(content_digest(source.data), None)
    stamp = _stamp(source.path)
    with suppress(OSError, ValueError):  # decoding will say what is wrong
        if stamp is not None and is_readable_file(source.path):  # a pipe can be read only once
            return Mark(file_digest(source.path), stamp)
    return None


def _stamp(path: str) -> FileStamp | None:
    with suppress(OSError, ValueError):
        return FileStamp.of(path)
    return None
