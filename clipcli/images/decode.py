"""Decodes an image file to upright RGB, or says why that cannot be.

Called from several threads at once, so nothing here changes a setting of Pillow or a warning filter per image.
Pillow and numpy are imported inside functions; torch never is.
"""

import ctypes
import io
import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

from clipcli.errors import ImageTooLarge, UnreadableImage
from clipcli.images.find import ImageSource, file_error
from clipcli.images.identify import DAMAGE, damaged_file, identify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

_ORIENTATION_TAG = 0x0112
_NO_REMARKS = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif)\."), 0)
_LOADING = threading.Lock()


MAX_MEGAPIXELS = 256.0


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How images are decoded.

    `exif` sets images upright (Pillow itself always does so for TIFF). `alpha` lays transparency on white, or drops
    it and shows the colours that lie under it. `max_megapixels` refuses larger images before they are decoded.
    `exact=False` lets a JPEG that is much larger than needed be decoded at 1/2, 1/4 or 1/8 of its size. Pillow decodes
    no PNG, WebP or TIFF at less than its size; what can be saved there is saved in `Preprocessing.pixels`.
    """

    exif: bool = True
    alpha: Literal["white", "drop"] = "white"
    max_megapixels: float = MAX_MEGAPIXELS
    exact: bool = True


def decode(source: ImageSource, options: DecodeOptions, min_size: tuple[int, int] | None = None) -> "Image":
    """Decode the first frame of one image, upright, in mode RGB.

    Args:
        source: What `find_images` yields, or an image that someone has opened or made; it is left as it is.
        options: How to decode.
        min_size: The (height, width) in pixels that the image will be resized to: reduced decoding stays at least
            twice above both. None asks for the whole image.

    Raises:
        ImageError: The subclass says why there is no image. Bad files raise nothing else.
    """
    from PIL.Image import DecompressionBombError

    if source.error is not None:
        raise source.error
    _silence_pillow()
    if source.image is not None:
        return _decode_image(source.image, source.path, options)
    name = "standard input" if source.data is not None and source.path == "-" else source.path
    image: ImageFile | None = None
    with _open_file(source) as file:
        try:
            image = identify(file, name)
            _check_pixels(image, name, options)
            rgb = _decode_rgb(image, options, min_size)
            _check_end(image, file)
            return rgb
        except DecompressionBombError as error:
            raise _bomb(name, str(error), options) from error
        except MemoryError as error:
            raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
        except DAMAGE as error:
            raise damaged_file(file, name, image.format if image else None, error) from error


def _silence_pillow() -> None:
    """Keep Pillow's remarks about damaged metadata off stderr.

    For the whole process, since filters are not kept per thread; again if someone has put back the filters of before.
    """
    if _NO_REMARKS not in warnings.filters:
        warnings.filterwarnings("ignore", module=_NO_REMARKS[3].pattern)
        logging.getLogger("PIL").addHandler(logging.NullHandler())
        _silence_libtiff()


def _silence_libtiff() -> None:
    """Unset libtiff's own printer of errors: it writes to stderr what Pillow then raises without its words.

    It is found through Pillow's module, which has it loaded, whether it comes with Pillow or with the system. Where it
    is part of that module, and so out of reach, damaged TIFFs stay noisy.
    """
    from PIL import _imaging

    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextmanager
def _open_file(source: ImageSource) -> Iterator[IO[bytes]]:
    """Open a source for reading and seeking."""
    if source.data is not None:
        yield io.BytesIO(source.data)
        return
    try:
        file = open(source.path, "rb")
    except (OSError, ValueError) as error:
        raise file_error(source.path, error) from error
    with file:
        yield file if file.seekable() else io.BytesIO(file.read())


def _decode_image(image: "Image", name: str, options: DecodeOptions) -> "Image":
    """Decode what someone else has opened, or has made: never reduced, since the image stays in their hands."""
    if 0 in image.size:
        raise UnreadableImage(f"{name} is empty: {image.width} x {image.height} pixels")
    _check_pixels(image, name, options)
    try:
        with _LOADING:  # both read from the image's file, and the same image may have been given twice
            image.load()
            _turn(image)
        return _decode_rgb(image, options, None)
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error
    except DAMAGE as error:
        raise UnreadableImage(f"{name} cannot be decoded: {error or type(error).__name__}") from error


def _check_pixels(image: "Image", name: str, options: DecodeOptions) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > options.max_megapixels:
        raise ImageTooLarge(
            f"{name}: {image.width} x {image.height} is {_limit_message(megapixels, options.max_megapixels)}"
        )


def _bomb(name: str, message: str, options: DecodeOptions) -> ImageTooLarge:
    """Reword what some of Pillow's readers raise by themselves, at a limit of their own."""
    pixels = re.search(r"\d+", message)
    megapixels = int(pixels.group()) / 1e6 if pixels else math.inf
    if megapixels <= options.max_megapixels:
        return ImageTooLarge(f"{name}: {megapixels:.4g} megapixels, more than Pillow takes in this format")
    return ImageTooLarge(f"{name}: claims {_limit_message(megapixels, options.max_megapixels)}")


def _limit_message(megapixels: float, max_megapixels: float) -> str:
    return f"{megapixels:.4g} megapixels, more than the limit of {max_megapixels:g} (max_megapixels)"


def _decode_rgb(image: "Image", options: DecodeOptions, min_size: tuple[int, int] | None) -> "Image":
    if min_size is not None and not options.exact and image.format in ("JPEG", "MPO"):
        height, width = min_size
        if options.exif and _is_sideways(_turn(image)):
            height, width = width, height
        image.draft(None, (2 * width, 2 * height))
    image.load()
    # Only now: a PNG may hold its EXIF data behind the pixels.
    turn = _turn(image) if options.exif else None
    rgb = _to_rgb(image, options)
    return rgb if turn is None else rgb.transpose(turn)


def _check_end(image: "ImageFile", file: IO[bytes]) -> None:
    """Refuse a JPEG 2000 file without its end marker (it cannot occur inside): OpenJPEG leaves those half grey."""
    if image.format == "JPEG2000":
        file.seek(0)
        if b"\xff\xd9" not in file.read():
            raise EOFError


def _turn(image: "Image") -> "Transpose | None":
    """Return what sets an image upright; None if it is, or if its EXIF data makes no sense."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except DAMAGE:
        return None


def _is_sideways(turn: "Transpose | None") -> bool:
    from PIL.Image import Transpose

    return turn in (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


def _to_rgb(image: "Image", options: DecodeOptions) -> "Image":
    """Make three bands of 8 bits; transparency is laid on white as `transformers` does it, or dropped."""
    from PIL import Image

    on_white = options.alpha == "white"
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey_bytes(image, on_white)).convert("RGB")
    if on_white and image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):  # else it costs 24 megapixels 150 ms for nothing
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return rgba.convert("RGB")
    if "transparency" in image.info:
        # Without it the pixels are the same, and Pillow need not warn that it cannot keep it.
        image = image.copy()
        del image.info["transparency"]
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_bytes(image: "Image", on_white: bool) -> "NDArray[np.uint8]":
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits, where Pillow's own conversion clips.

    Integers in 0...65535 are taken for 16-bit ones and keep their high byte, as Pillow does with 16-bit colour.
    Floating-point values are taken to mean white by the first of 1, 255 and 65535 that none exceeds. Whatever has
    negative or larger values has no agreed range, and is stretched from its least to its greatest value.
    """
    import numpy as np

    values = np.asarray(image)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low >= 0 and high <= 65535 and image.mode != "F":
        grey = (values >> 8).astype(np.uint8)
    else:
        if low >= 0 and high <= 65535:
            low, high = 0, next(white for white in (1, 255, 65535) if high <= white)
        with np.errstate(invalid="ignore"):
            scaled = (values.astype(np.float64) - low) * (255 / (high - low or 1))
        grey = np.nan_to_num(scaled, nan=0).clip(0, 255).round().astype(np.uint8)
    transparent = image.info.get("transparency")
    if on_white and isinstance(transparent, int):
        grey[values == transparent] = 255
    return grey
