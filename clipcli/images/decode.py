"""Opens a picture file and makes it an upright RGB picture, or says why that cannot be.

Called from several threads at once, so nothing here changes a setting of Pillow or the warning filters per picture.
Pillow is imported inside functions; torch never is.
"""

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, Literal, NoReturn

from clipcli.errors import ImageError, ImageTooLarge, MissingExtra, UnreadableImage
from clipcli.images.find import ImageSource, file_error

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# What Pillow's readers raise on files that are no pictures, or damaged ones. Each has been seen, or follows from how
# the readers take headers apart; `tests/unit/test_decode.py` mutates small files of many formats to look for more.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

# Formats that Pillow only recognises, and EPS, for which it would run Ghostscript on a file that may be anyone's.
_REFUSED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How pictures are decoded.

    Args:
        exif: Set the picture upright as its EXIF orientation says. (Pillow itself always does so for TIFF.)
        alpha: Lay transparency on white, or drop it and show the colours that lie under it.
        max_megapixels: Refuse pictures that claim more.
        exact: Decode every pixel. If false, a JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 scale.
    """

    exif: bool = True
    alpha: Literal["white", "drop"] = "white"
    max_megapixels: float = 256
    exact: bool = True


def decode(source: ImageSource, options: DecodeOptions, min_size: tuple[int, int] | None = None) -> "Image":
    """Decode the first frame of one picture, upright, in mode RGB.

    Args:
        source: What `find_images` yields.
        options: How to decode.
        min_size: The (height, width) in pixels that the picture will be resized to. Reduced decoding stays at least
            twice above it in both directions; None asks for the whole picture.

    Raises:
        ImageError: The subclass says why there is no picture. Nothing else is raised for a bad file.
    """
    if source.error is not None:
        raise source.error
    name = "standard input" if source.data is not None else source.path
    with _readable(source) as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise UnreadableImage(f"{name} is empty")
        try:
            with _identify(file, name, options) as image:
                if not options.exact and min_size is not None:
                    _reduce(image, min_size, options)
                return _load(image, options)
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
        except _DAMAGE as error:
            ...
