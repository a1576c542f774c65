"""What an image looks like in 784 bytes: tells whether two files show the same image, whatever their size or format.

128 bits say where it grows lighter, to the right and downwards (a difference hash both ways); a thumbnail of 16 x 16
colors tells what the bits cannot: drawings of one shape in two colors have the same bits. Uniform borders are trimmed
first. Imports Pillow inside functions.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

HASH_BYTES = 16
THUMBNAIL_EDGE = 16
FINGERPRINT_BYTES = HASH_BYTES + 3 * THUMBNAIL_EDGE**2

Bytes = NDArray[np.uint8]

_HASH_EDGE = 8
_WORKING_EDGE_PX = 256
# Levels of 256 by which a border may vary: JPEG leaves noise in it.
_BORDER_TOLERANCE = 14
_LEAST_KEPT = 0.2
_MOST_BORDERS = 3
_LEAST_CONTRAST = 4.0


def fingerprint(image: "Image") -> bytes:
    """Describe an upright RGB image.

    Returns:
        `FINGERPRINT_BYTES` bytes: the hash, then the thumbnail's rows of RGB values.
    """
    from PIL.Image import Resampling

    small = image.copy()
    small.thumbnail((_WORKING_EDGE_PX, _WORKING_EDGE_PX), Resampling.BOX)
    small = _trimmed(small)
    grey = small.convert("L")
    wide = _grid(grey.resize((_HASH_EDGE + 1, _HASH_EDGE), Resampling.BOX))
    tall = _grid(grey.resize((_HASH_EDGE, _HASH_EDGE + 1), Resampling.BOX))
    bits = np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (tall[1:] > tall[:-1]).ravel()])
    thumbnail = np.asarray(small.resize((THUMBNAIL_EDGE, THUMBNAIL_EDGE), Resampling.BOX), dtype=np.uint8)
    return np.packbits(bits).tobytes() + thumbnail.tobytes()


def mirrored(fingerprints: Bytes) -> Bytes:
    """The fingerprints of the same images, left and right exchanged.

    Shapes: (N, FINGERPRINT_BYTES) -> (N, FINGERPRINT_BYTES).
    """
    bits = np.unpackbits(fingerprints[:, :HASH_BYTES], axis=1).reshape(-1, 2, _HASH_EDGE, _HASH_EDGE)
    turned = np.stack([1 - bits[:, 0, :, ::-1], bits[:, 1, :, ::-1]], axis=1)
    thumbnails = fingerprints[:, HASH_BYTES:].reshape(-1, THUMBNAIL_EDGE, THUMBNAIL_EDGE, 3)[:, :, ::-1]
    count = len(fingerprints)
    return np.concatenate(
        [np.packbits(turned.reshape(count, -1), axis=1), np.ascontiguousarray(thumbnails).reshape(count, -1)], axis=1
    )


def _grid(image: "Image") -> NDArray[np.int16]:
    return np.asarray(image, dtype=np.int16)


def _trimmed(image: "Image") -> "Image":
    """Cut uniform borders off, one inside the other, but never all that there is."""
    for _ in range(_MOST_BORDERS):
        box = _content_box(np.asarray(image))
        if box == (0, 0, *image.size):
            break
        image = image.crop(box)
    return image


def _content_box(pixels: Bytes) -> tuple[int, int, int, int]:
    """The (left, top, right, bottom) inside a border; the whole image where little or nothing would be left."""
    height, width = pixels.shape[:2]
    whole = (0, 0, width, height)
    differs = (np.abs(pixels.astype(np.int16) - pixels[0, 0]) > _BORDER_TOLERANCE).any(axis=2)
    if differs[[0, -1, -1], [-1, 0, -1]].any():
        return whole  # a border has one color in all corners
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return whole
    top, bottom, left, right = (int(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    too_little = bottom - top < _LEAST_KEPT * height or right - left < _LEAST_KEPT * width
    plain = pixels[top:bottom, left:right].reshape(-1, 3).std(axis=0).max() < _LEAST_CONTRAST
    return whole if too_little or plain else (left, top, right, bottom)
