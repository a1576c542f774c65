"""What an image file says of itself before any pixel is decoded: size, format, and when it was taken."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipcli.errors import ImageError
from clipcli.images.find import ImageSource
from clipcli.images.identify import identify, is_damage
from clipcli.images.opening import open_source

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_EXIF_IFD, _ORIENTATION, _TAKEN, _CHANGED = 0x8769, 0x0112, 0x9003, 0x0132
_SIDEWAYS = (5, 6, 7, 8)
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Header:
    """The head of an image file.

    Attributes:
        width: In pixels, upright.
        height: In pixels, upright.
        format: As Pillow names it, such as `JPEG`.
        taken: When it was taken by its camera's clock, `YYYY-MM-DDTHH:MM:SS`; None where it does not say.
    """

    width: int
    height: int
    format: str
    taken: str | None


def read_header(source: str | ImageSource) -> Header | None:
    """Read the head of an image file, by its path or of its bytes; None if it makes no sense. Safe in threads."""
    from PIL.Image import DecompressionBombError

    source = ImageSource(source) if isinstance(source, str) else source
    try:
        with open_source(source) as file:
            image = identify(file, source.path)
            width, height = image.size
            orientation, taken = _exif(image)
            if orientation in _SIDEWAYS:
                width, height = height, width
            return Header(width, height, image.format or "", taken)
    except (ImageError, MemoryError, DecompressionBombError):
        return None


def _exif(image: "ImageFile") -> tuple[int, str | None]:
    """Orientation and time of an image; 1 and None where its EXIF data makes no sense, or lies behind the pixels."""
    from PIL.Image import Image

    try:
        exif = Image.getexif(image)  # not PNG's own, which decodes the whole image to look behind it
        taken = _date(exif.get_ifd(_EXIF_IFD).get(_TAKEN)) or _date(exif.get(_CHANGED))
        return exif.get(_ORIENTATION, 1), taken
    except Exception as error:
        if not is_damage(error):
            raise
        return 1, None


def _date(value: object) -> str | None:
    """A time as EXIF writes it, in ISO 8601; None where a camera without a clock has left zeros or nothing."""
    match = _DATE.match(str(value or ""))
    if match is None or match[1] == "0000" or match[2] == "00" or match[3] == "00":
        return None
    year, month, day, hour, minute, second = match.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"
