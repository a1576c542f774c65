"""From a source to the pixels that a model takes: decoding, then what the image processor asks for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing

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
        """Read one image.

        Shapes: -> (height, width, 3) uint8 of the model's size.

        Raises:
            ImageError: It cannot be used.
        """
        image = decode(source, self.decoding, self.preprocessing.min_size)
        return self.preprocessing.pixels(image, exact=self.decoding.exact)
