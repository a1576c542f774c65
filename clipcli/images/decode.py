"""Opens a picture file and makes it an upright RGB picture, or says why that cannot be. Never imports torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipcli.images.find import ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How pictures are decoded."""

    exif: bool = True
    alpha: Literal["white", "drop"] = "white"
    max_megapixels: float = 256
    exact: bool = True


def decode(source: ImageSource, options: DecodeOptions, min_size: tuple[int, int] | None = None) -> "Image":
    """Open one picture as upright RGB."""
    import io

    from PIL import Image, ImageOps

    if source.error is not None:
        raise source.error
    opened = Image.open(source.path if source.data is None else io.BytesIO(source.data))
    return ImageOps.exif_transpose(opened).convert("RGB")
