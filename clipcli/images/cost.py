"""What decoding an image takes of memory at its peak, told from its header.

The figures are those of `tests/bench/image_memory.py`, rounded up.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_DEFAULT_MEGAPIXELS = 256
_ENDLESS_MEGAPIXELS = 1e12
# All images together may take what one of the largest allowed takes in any of the usual formats.
_LIMIT_BYTES_PER_PIXEL = 10
# The pixels as Pillow holds them, and those of the RGB image, or of the upright one: 4 bytes each, whatever the mode.
_BYTES_PER_PIXEL = 8
# An icon may hold an image of another size, up to twice Pillow's own default limit.
_ICON_PIXELS = 2 * 89_478_485
_ICONS = frozenset(("ICO", "ICNS", "CUR"))
# libjpeg keeps two bytes for each of up to four components of a progressive JPEG, at full size.
_PROGRESSIVE_BYTES_PER_PIXEL = 8


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a reader holds besides: bytes per pixel, and whether it reads the whole file into memory first."""

    bytes_per_pixel: int
    with_alpha: int
    whole_file: bool = False


_READERS = {
    "AVIF": _Reader(4, 8, whole_file=True),
    "HEIF": _Reader(2, 8, whole_file=True),
    "JPEG2000": _Reader(14, 18),
    "WEBP": _Reader(8, 10, whole_file=True),
}
_PLAIN = _Reader(0, 0)
_TIFF_BITS_PER_SAMPLE = 258


def memory_limit(max_megapixels: float) -> int:
    """Bytes that all images being decoded may take together."""
    megapixels = min(max(max_megapixels, _DEFAULT_MEGAPIXELS), _ENDLESS_MEGAPIXELS)
    return _LIMIT_BYTES_PER_PIXEL * int(megapixels * 1e6)


def decoding_bytes(image: "Image", full_pixels: int, file_bytes: int) -> int:
    """Bytes that decoding an image takes at its peak.

    Args:
        image: An opened image, its size that at which it will be decoded.
        full_pixels: Pixels of the whole image.
        file_bytes: Size of its file.
    """
    reader = _READERS.get(image.format or "", _PLAIN)
    pixels = image.width * image.height
    if image.format in _ICONS:
        pixels = max(pixels, min(_ICON_PIXELS, file_bytes * 1100))
    per_pixel = reader.with_alpha if "A" in image.mode else reader.bytes_per_pixel
    needed = pixels * max(_BYTES_PER_PIXEL + per_pixel, 4 + _strip_bytes_per_pixel(image))
    if image.info.get("progressive"):
        needed += full_pixels * _PROGRESSIVE_BYTES_PER_PIXEL
    return needed + file_bytes * reader.whole_file


def _strip_bytes_per_pixel(image: "Image") -> int:
    """What libtiff decodes a strip into, which may be the whole image."""
    said = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, ())
    bits = said if isinstance(said, tuple) else (said,)
    return sum(bit for bit in bits if isinstance(bit, int)) // 8
