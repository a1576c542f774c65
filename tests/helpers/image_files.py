"""Small images in many formats, made on the spot, for tests of decoding."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

# Format, mode, save options.
VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("PNG", "RGB", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "RGBA", {}),
    ("PNG", "1", {}),
    ("PNG", "I;16", {}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("DIB", "RGB", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("PPM", "RGB", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
    ("ICO", "RGBA", {"sizes": [(32, 24)]}),
    ("PCX", "RGB", {}),
    ("SGI", "RGB", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
    ("DDS", "RGBA", {}),
    ("QOI", "RGB", {}),
    ("MSP", "1", {}),
    ("XBM", "1", {}),
    ("SPIDER", "F", {}),
    ("HEIF", "RGB", {}),
]
VARIANT_NAMES = ["-".join((name, mode, *map(str, options.values()))) for name, mode, options in VARIANTS]


def gradient(width: int = 32, height: int = 24) -> Image.Image:
    """Return a smooth RGB image, different in each corner."""
    y, x = np.mgrid[0:height, 0:width]
    bands = (255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 255 * (x + y) / (width + height))
    return Image.fromarray(np.stack(bands, axis=-1).astype(np.uint8))


def save(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    if format_name == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, format_name, **options)
    return buffer.getvalue()


def variant(format_name: str, mode: str, options: dict[str, Any]) -> bytes:
    """Return the gradient in one of `VARIANTS`."""
    image = gradient()
    # Pillow has no direct conversion from colour to 16 bits.
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    return save(image, format_name, **options)


def tiff(tags: dict[int, int], pixels: bytes = b"") -> bytes:
    """Return a TIFF of whole numbers; its pixels lie behind the tags, where tag 273 (StripOffsets) says 0."""
    start = 8 + 2 + 12 * len(tags) + 4
    tags = {tag: start if tag == 273 and not value else value for tag, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels
