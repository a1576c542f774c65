"""What images of a library look like: fingerprints and digests of pixels, found out once per content and kept."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from clipcli.errors import ImageError
from clipcli.features.pipeline import default_workers
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.fingerprint import fingerprint
from clipcli.library.index.store import Store
from clipcli.library.index.table import ImageRow, Kind
from clipcli.progress import Progress

# Fingerprints are made at 256 pixels at most, so a large JPEG is decoded at a fraction of its size.
_LOOK_EDGE_PX = 128
_AT_ONCE = 256


def looks_of(store: Store, images: Sequence[ImageRow], on_progress: Progress) -> dict[bytes, bytes | None]:
    """The fingerprint of each content; None where a file cannot be decoded any more."""
    return _known(store, "look", images, _look, on_progress)


def pixels_of(store: Store, images: Sequence[ImageRow], on_progress: Progress) -> dict[bytes, bytes | None]:
    """A digest of each content's decoded, upright pixels; None where a file cannot be decoded any more."""
    return _known(store, "pixels", images, _pixels, on_progress)


def _known(
    store: Store, kind: Kind, images: Sequence[ImageRow], find: Callable[[str], bytes | None], on_progress: Progress
) -> dict[bytes, bytes | None]:
    by_digest = {image.digest: image for image in images if image.digest is not None}
    known = store.remembered(kind, list(by_digest))
    missing = iter([image for digest, image in by_digest.items() if digest not in known])
    done, total = 0, len(by_digest) - len(known)
    with ThreadPoolExecutor(default_workers(), thread_name_prefix="look") as pool:
        while batch := list(islice(missing, _AT_ONCE)):
            found = pool.map(lambda image: find(image.path), batch)
            entries = [(image.digest, value) for image, value in zip(batch, found, strict=True) if image.digest]
            store.remember(kind, entries)
            known.update(entries)
            done += len(batch)
            on_progress(done, total)
    return known


def _look(path: str) -> bytes | None:
    try:
        return fingerprint(decode(ImageSource(path), DecodeOptions(exact=False), (_LOOK_EDGE_PX, _LOOK_EDGE_PX)))
    except ImageError:
        return None


def _pixels(path: str) -> bytes | None:
    try:
        image = decode(ImageSource(path), DecodeOptions())
    except ImageError:
        return None
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
