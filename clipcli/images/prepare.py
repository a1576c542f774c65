"""From a source to the pixels that a model takes: decoding, then what the image processor asks for.

The boundary behind which nothing goes wrong: whatever a file does to its reader becomes that file's `ImageError`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from clipcli.errors import ImageError, ImageTooLarge
from clipcli.images.budget import BUDGET, MemoryBudget
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

T = TypeVar("T")
Pixels: TypeAlias = "NDArray[np.uint8]"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How images are decoded and preprocessed, and the memory in which all of them are."""

    decoding: DecodeOptions
    preprocessing: Preprocessing
    budget: MemoryBudget = field(default=BUDGET, repr=False)

    @property
    def digest(self) -> str:
        """All that pixels depend on besides the image.

        Not the limit on pixels, which decides whether an image is read, never how.
        """
        decoding = self.decoding
        return f"{self.preprocessing.digest} {decoding.exif} {decoding.alpha} {decoding.exact}"

    def pixels(self, source: ImageSource) -> Pixels:
        """Read one image; waits until the images that other threads read leave room. Safe in several threads.

        Shapes: -> (height, width, 3) uint8 of the model's size.

        Raises:
            ImageError: As for `made_of`.
        """
        prepare = partial(self.preprocessing.pixels, exact=self.decoding.exact)
        return self.made_of(source, prepare, self.preprocessing.min_size)

    def made_of(self, source: ImageSource, make: "Callable[[Image], T]", min_size: tuple[int, int] | None = None) -> T:
        """Read one image and make something small of it.

        Args:
            source: The image.
            make: Called with it, upright and in mode RGB.
            min_size: As for `decode`; None for the whole image.

        Raises:
            ImageError: It cannot be used. The error is new, without traceback, cause or context: those would hold the
                frames in which decoding failed, and with them the image's pixels.
        """
        try:
            with self.budget.lease() as lease:
                return make(decode(source, self.decoding, min_size, lease.take))
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
    return ImageError(
        f"{path}: a bug in this program stopped it from being read ({told}); CONTRIBUTING says how to report it"
    )


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
