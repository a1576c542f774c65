"""Reads one image as a model is shown it, within the memory that images get, or says why that cannot be.

The boundary behind which nothing goes wrong: whatever a file does to the readers becomes that file's `ImageError`.
"""

import logging
from typing import TYPE_CHECKING

from clipcli.errors import ImageError, ImageTooLarge
from clipcli.images.budget import BUDGET, MemoryBudget
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_pixels(
    source: ImageSource, options: DecodeOptions, preprocessing: Preprocessing, budget: MemoryBudget = BUDGET
) -> "NDArray[np.uint8]":
    """Decode one image, and resize and crop it for a model. Called in threads.

    Args:
        source: Which image.
        options: How to decode it.
        preprocessing: How to scale it.
        budget: Waited for until it has room for the image's pixels.

    Shapes: any image -> uint8 (height, width, 3) of `preprocessing.output_size`.

    Raises:
        ImageError: There are no pixels. It is a new one, without traceback, cause or context: those hold the frames
            in which decoding failed, and with them its pixels.
    """
    try:
        with budget.lease() as lease:
            image = decode(source, options, preprocessing.min_size, lease.take)
            return preprocessing.pixels(image, exact=options.exact)
    except Exception as error:
        failure = _row_error(error, source.path)
    raise failure


def _row_error(error: Exception, path: str) -> ImageError:
    if isinstance(error, ImageError):
        return type(error)(str(error), error.hint)
    if isinstance(error, MemoryError):
        return ImageTooLarge(f"{path}: not enough memory to scale it")
    told = f"{type(error).__name__}: {error}"
    _show_once(_place(error), error)
    return ImageError(f"{path}: a bug in this program stopped it from being read ({told}); please report it")


def _place(error: Exception) -> tuple[str, str, int]:
    """Which error, and the line that raised it."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    code, line = ("", 0) if traceback is None else (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
    return type(error).__name__, code, line


_shown: set[tuple[str, str, int]] = set()


def _show_once(place: tuple[str, str, int], error: Exception) -> None:
    """Log a bug with its traceback; Python writes what is logged as an error to stderr unless told otherwise."""
    if place not in _shown:
        _shown.add(place)
        logging.getLogger(__name__).error("a bug was met while an image was read:", exc_info=error)
