"""Decodes an image file to upright RGB, or says why that cannot be.

Called from several threads at once, so nothing here changes a setting of Pillow or a warning filter per image.
Pillow is imported inside functions; torch never is.
"""

import ctypes
import logging
import math
import os
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from clipcli.errors import ImageTooLarge, UnreadableImage
from clipcli.images.color import Alpha, to_rgb
from clipcli.images.cost import decoding_bytes, memory_limit
from clipcli.images.find import ImageSource
from clipcli.images.identify import check_whole, damaged_file, identify, is_damage
from clipcli.images.opening import open_source, size_of

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

_ORIENTATION_TAG = 0x0112
_NO_REMARKS = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif)\."), 0)
_LOADING = threading.Lock()
# Beyond the largest that glibc takes from a thread's own heap (M_MMAP_THRESHOLD, 32 MB at most).
_PILLOW_BLOCK_BYTES = 64 * 2**20
# The frame headers of lossless JPEG: libjpeg decodes it at full size only.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_FRAMES = frozenset((0xC3, 0xC7, 0xCB, 0xCF))


MAX_MEGAPIXELS = 256.0


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How images are decoded.

    `exif` sets images upright (Pillow itself always does so for TIFF). `alpha` lays transparency on white, or drops
    it and shows the colors that lie under it. `max_megapixels` refuses larger images before they are decoded.
    `exact=False` lets a JPEG that is much larger than needed be decoded at 1/2, 1/4 or 1/8 of its size. Pillow decodes
    no PNG, WebP or TIFF at less than its size; what can be saved there is saved in `Preprocessing.pixels`.
    """

    exif: bool = True
    alpha: Alpha = "white"
    max_megapixels: float = 256
    exact: bool = True


def decode(
    source: ImageSource,
    options: DecodeOptions,
    min_size: tuple[int, int] | None = None,
    take_memory: Callable[[int, int], None] = lambda needed, limit: None,
) -> "Image":
    """Decode the first frame of one image, upright, in mode RGB.

    Args:
        source: What `find_images` yields, or an image that someone has opened or made; it is left as it is.
        options: How to decode.
        min_size: The (height, width) in pixels that the image will be resized to: reduced decoding stays at least
            twice above both. None asks for the whole image.
        take_memory: Called once, before pixels are decoded, with the bytes that this takes and the most that all
            images together may take; may wait.

    Raises:
        ImageError: The subclass says why the image cannot be used. Bad files raise nothing else.
    """
    from PIL.Image import DecompressionBombError

    if source.error is not None:
        raise source.error
    _set_up_pillow()
    name = "standard input" if source.data is not None and source.path == "-" else source.path
    try:
        if source.image is not None:
            return _decode_image(source.image, name, options, take_memory)
        with open_source(source) as file:
            return _decode_file(file, name, options, min_size, take_memory)
    except DecompressionBombError as error:
        raise _bomb(name, str(error), options) from error
    except MemoryError as error:
        raise ImageTooLarge(f"{name}: not enough memory to decode it") from error


def _decode_file(
    file: IO[bytes],
    name: str,
    options: DecodeOptions,
    min_size: tuple[int, int] | None,
    take_memory: Callable[[int, int], None],
) -> "Image":
    image: ImageFile | None = None
    try:
        image = identify(file, name)
        _check_pixels(image, name, options)
        check_whole(image, file, name)
        full_pixels = image.width * image.height
        if min_size is not None and not options.exact:
            _reduce(image, file, options, min_size)
        needed = decoding_bytes(image, full_pixels, size_of(file))
        take_memory(_fitting(needed, image, name, options), memory_limit(options.max_megapixels))
        return _to_upright_rgb(image, options, release=True)
    except Exception as error:
        if not is_damage(error):
            raise
        raise damaged_file(file, name, image.format if image else None, error) from error


def _set_up_pillow() -> None:
    """Keep Pillow's remarks about damaged metadata off stderr, and have it give back the memory of large images.

    For the whole process, since filters are not kept per thread; again if someone has put back the filters of before.
    """
    if _NO_REMARKS not in warnings.filters:
        warnings.filterwarnings("ignore", module=_NO_REMARKS[3].pattern)
        logging.getLogger("PIL").addHandler(logging.NullHandler())
        _silence_libtiff()
        _enlarge_blocks()


def _enlarge_blocks() -> None:
    """Have Pillow ask for memory in blocks that the C library hands back to the system as soon as they are freed.

    Of smaller ones each thread keeps its own for later: two images of 254 megapixels, decoded one after the other in
    two threads, took twice as much as one.
    """
    from PIL import _imaging

    if "PILLOW_BLOCK_SIZE" not in os.environ:
        _imaging.set_block_size(_PILLOW_BLOCK_BYTES)


def _silence_libtiff() -> None:
    """Unset libtiff's own printer of errors: it writes to stderr what Pillow then raises without its words.

    It is found through Pillow's module, which has it loaded, whether it comes with Pillow or with the system. Where it
    is part of that module, and so out of reach, damaged TIFFs stay noisy.
    """
    from PIL import _imaging

    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _decode_image(
    image: "Image", name: str, options: DecodeOptions, take_memory: Callable[[int, int], None]
) -> "Image":
    """Decode what someone else has opened, or has made: never reduced, since the image stays in their hands."""
    if 0 in image.size:
        raise UnreadableImage(f"{name} is empty: {image.width} x {image.height} pixels")
    _check_pixels(image, name, options)
    needed = decoding_bytes(image, image.width * image.height, 0)
    take_memory(_fitting(needed, image, name, options), memory_limit(options.max_megapixels))
    try:
        with _LOADING:  # both read from the image's file, and the same image may have been given twice
            image.load()
            _turn(image)
        return _to_upright_rgb(image, options, release=False)
    except Exception as error:
        if not is_damage(error):
            raise
        raise UnreadableImage(f"{name} cannot be decoded: {error or type(error).__name__}") from error


def _check_pixels(image: "Image", name: str, options: DecodeOptions) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > options.max_megapixels:
        raise ImageTooLarge(
            f"{name}: {image.width} x {image.height} is {_limit_message(megapixels, options.max_megapixels)}"
        )


def _fitting(needed: int, image: "Image", name: str, options: DecodeOptions) -> int:
    """Give back the bytes that an image needs, unless they are more than all images together get."""
    limit = memory_limit(options.max_megapixels)
    if needed > limit:
        raise ImageTooLarge(
            f"{name}: decoding {image.width} x {image.height} pixels of {image.format} takes {needed / 1e9:.1f} GB, "
            f"more than the {limit / 1e9:.1f} GB that images get; a larger max_megapixels allows more"
        )
    return needed


def _bomb(name: str, message: str, options: DecodeOptions) -> ImageTooLarge:
    """Reword what some of Pillow's readers raise by themselves, at a limit of their own."""
    pixels = re.search(r"\d+", message)
    megapixels = int(pixels.group()) / 1e6 if pixels else math.inf
    if megapixels <= options.max_megapixels:
        return ImageTooLarge(f"{name}: {megapixels:.4g} megapixels, more than Pillow takes in this format")
    return ImageTooLarge(f"{name}: claims {_limit_message(megapixels, options.max_megapixels)}")


def _limit_message(megapixels: float, max_megapixels: float) -> str:
    return f"{megapixels:.4g} megapixels, more than the limit of {max_megapixels:g} (max_megapixels)"


def _reduce(image: "ImageFile", file: IO[bytes], options: DecodeOptions, min_size: tuple[int, int]) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size."""
    if image.format not in ("JPEG", "MPO") or _is_lossless(file):
        return
    height, width = min_size
    if options.exif and _is_sideways(_turn(image)):
        height, width = width, height
    image.draft(None, (2 * width, 2 * height))


def _is_lossless(file: IO[bytes]) -> bool:
    """Whether the first frame of a JPEG is of the lossless kind, which libjpeg cannot reduce."""
    position = file.tell()
    file.seek(2)
    try:
        while (marker := file.read(2)) and marker[0] == 0xFF:
            if marker[1] in _JPEG_FRAMES:
                return marker[1] in _LOSSLESS_FRAMES
            if marker[1] == 0xFF:  # padding
                file.seek(-1, os.SEEK_CUR)
            else:
                file.seek(int.from_bytes(file.read(2)) - 2, os.SEEK_CUR)
        return False
    finally:
        file.seek(position)


def _to_upright_rgb(image: "Image", options: DecodeOptions, *, release: bool) -> "Image":
    """Decode, make RGB, and turn; with `release` the image's own memory is given back as soon as it may be."""
    image.load()
    # Only now: a PNG may hold its EXIF data behind the pixels.
    turn = _turn(image) if options.exif else None
    rgb = to_rgb(image, options.alpha)
    if release and rgb is not image:
        image.close()
    return rgb if turn is None else rgb.transpose(turn)


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
    except Exception:
        return None


def _is_sideways(turn: "Transpose | None") -> bool:
    from PIL.Image import Transpose

    return turn in (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
