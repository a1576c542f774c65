"""From a source to the pixels that a model takes: decoding, then what the image processor asks for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from clipcli.images.decode import DecodeOptions
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing
from clipcli.images.read import read_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How images are decoded and preprocessed."""

    decoding: DecodeOptions
    preprocessing: Preprocessing

    @property
    def digest(self) -> str:
        """All that pixels depend on besides the image.

        Not the limit on pixels, which decides whether an image is read, never how.
        """
        decoding = self.decoding
        return f"{self.preprocessing.digest} {decoding.exif} {decoding.alpha} {decoding.exact}"

    def pixels(self, source: ImageSource) -> Pixels:
        """Read one image; shapes and errors are those of `read_pixels`."""
        return read_pixels(source, self.decoding, self.preprocessing)
