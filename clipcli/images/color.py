"""Turns an image of any mode into three bands of 8 bits, a strip at a time: a copy of the whole costs a gigabyte.

Pillow and numpy are imported inside functions; torch never is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Alpha = Literal["white", "drop"]
Box = tuple[int, int, int, int]

_STRIP_PIXELS = 2**18
_16_BITS = 2**16 - 1
_TIFF_BITS_PER_SAMPLE = 258


def to_rgb(image: "Image", alpha: Alpha, strip_pixels: int = _STRIP_PIXELS) -> "Image":
    """Convert to three bands of 8 bits; transparency is composited on white, as `transformers` does, or dropped.

    Args:
        image: A loaded image of any mode, which is left as it is. An opaque RGB image is returned itself.
        alpha: How transparent pixels are converted.
        strip_pixels: A larger image is converted in strips of so many pixels, which take less memory.
    """
    from PIL import Image

    is_deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    if image.mode == "RGB" and not (alpha == "white" and image.has_transparency_data):
        return image
    scale = _deep_scale(image) if is_deep else None
    if image.width * image.height <= strip_pixels:
        return _strip_to_rgb(image, alpha, scale)
    rgb = Image.new("RGB", image.size)
    for box in _strips(image.size, strip_pixels):
        rgb.paste(_strip_to_rgb(image.crop(box), alpha, scale), box)
    return rgb


@dataclass(frozen=True, slots=True)
class _Scale:
    """How gray of more than 8 bits becomes 8: whole numbers lose `bits`, else `low`...`high` becomes 0...255."""

    bits: int | None = None
    low: float = 0
    high: float = 0


def _deep_scale(image: "Image") -> _Scale:
    """Choose the scale of 16-bit, 32-bit and floating-point gray, where Pillow's own conversion clips.

    16-bit integers keep their high byte, as Pillow does with 16-bit color, unless a TIFF file says that fewer bits
    are used; other integers in 0...65535 are taken for 16-bit ones. Floating-point values are taken to mean white by
    the first of 1, 255 and 65535 that none exceeds. Whatever has negative or larger values has no agreed range, and
    is stretched from its least to its greatest value.
    """
    if image.mode.startswith("I;16"):
        return _Scale(bits=_sample_bits(image) - 8)
    low, high = _range(image)
    if low < 0 or high > _16_BITS:
        return _Scale(low=low, high=high)
    if image.mode == "I":
        return _Scale(bits=8)
    return _Scale(low=0, high=next(white for white in (1, 255, _16_BITS) if high <= white))


def _sample_bits(image: "Image") -> int:
    """Bits of a 16-bit image that are in use, where its file says so: `BitsPerSample` of TIFF, 12 from a scanner."""
    from PIL.TiffImagePlugin import TiffImageFile

    said = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE) if isinstance(image, TiffImageFile) else None
    bits = said[0] if isinstance(said, tuple) and said else said
    return bits if isinstance(bits, int) and 8 < bits < 16 else 16


def _range(image: "Image") -> tuple[float, float]:
    """The least and the greatest of the values that are numbers; 0 and 1 where there are none."""
    import numpy as np

    low, high = math.inf, -math.inf
    for box in _strips(image.size):
        values = np.asarray(image.crop(box))
        known = values[np.isfinite(values)]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    return (low, high) if low <= high else (0.0, 1.0)


def _strips(size: tuple[int, int], pixels: int = _STRIP_PIXELS) -> Iterator[Box]:
    """Cut (width, height) into boxes of so many pixels at most, or of one row."""
    width, height = size
    rows = max(1, pixels // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _strip_to_rgb(image: "Image", alpha: Alpha, scale: "_Scale | None") -> "Image":
    from PIL import Image

    on_white = alpha == "white"
    if scale is not None:
        return Image.fromarray(_gray_bytes(image, scale, on_white)).convert("RGB")
    if on_white and image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):  # else it costs 24 megapixels 150 ms for nothing
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return rgba.convert("RGB")
    if "transparency" in image.info:
        # Without it the pixels are the same, and Pillow need not warn that it cannot keep it.
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def _gray_bytes(image: "Image", scale: _Scale, on_white: bool) -> "NDArray[np.uint8]":
    import numpy as np

    values = np.asarray(image)
    if scale.bits is not None:
        gray = (values >> scale.bits).astype(np.uint8)
    else:
        with np.errstate(invalid="ignore"):
            scaled = (values.astype(np.float64) - scale.low) * (255 / (scale.high - scale.low or 1))
        gray = np.nan_to_num(scaled, nan=0).clip(0, 255).round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if on_white and isinstance(transparent, int):
        gray[values == transparent] = 255
    return gray
