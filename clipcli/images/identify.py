"""Recognises image files and says what is wrong with those that cannot be read. Never imports torch.

It stands apart from `decode` because telling a user why a file is no image takes more care than decoding one.
Pillow is imported inside functions.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from clipcli.errors import MissingExtra, UnreadableImage

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# What Pillow's readers raise on files that are no images, or damaged ones: most take headers apart without checking
# first. `tests/unit/test_decode.py` mutates small files of many formats to look for more.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
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
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_TEXT_PROBE_BYTES = 512


def identify(file: IO[bytes], name: str) -> "ImageFile":
    """Find the format by the file's first bytes and read its header.

    `Image.open` does this too, but its limit on pixels is a setting of the process that is not what the user asked
    for, and it keeps to itself why a file that begins as an image does was refused.

    Raises:
        UnreadableImage: It is no image, damaged, or of a format that is not supported.
        MissingExtra: It is a HEIC image, and `pillow-heif` is not installed.
    """
    from PIL import Image

    prefix = file.read(_TEXT_PROBE_BYTES)
    if not prefix:
        raise UnreadableImage(f"{name} is empty")
    failure: UnreadableImage | None = None
    for format_name in _formats():
        factory, accept = Image.OPEN[format_name]
        if accept is not None and not _accepts(accept, prefix[:16]):
            continue
        if format_name in _REFUSED_FORMATS:
            raise UnreadableImage(f"{name}: {format_name} files are not supported")
        file.seek(0)
        try:
            return factory(file, "")
        except DAMAGE as error:
            if accept is not None and failure is None:
                failure = damaged_file(file, name, format_name, error)
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS:
        return _open_heif(file, name)
    if failure is not None:
        raise failure
    raise UnreadableImage(f"{name} is not an image{' but text' if _is_text(prefix) else ' of a known format'}")


def damaged_file(file: IO[bytes], name: str, format_name: str | None, error: Exception) -> UnreadableImage:
    """Describe why a reader gave up: cut short (and by how much, where that can be known), or damaged and how."""
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    claimed = _claimed_bytes(file.read(12))
    kind = format_name or "image"
    if claimed is not None and size < claimed:
        return UnreadableImage(f"{name}: truncated {kind} (at {_kilobytes(size)} of {_kilobytes(claimed)} kB)")
    reason = str(error) or type(error).__name__
    if "truncated" in reason.lower() or isinstance(error, EOFError):
        return UnreadableImage(f"{name}: truncated {kind} (it ends at {_kilobytes(size)} kB)")
    where = f"at {_kilobytes(position)} of {_kilobytes(size)} kB"
    return UnreadableImage(f"{name}: damaged {kind} ({where}: {reason})")


def _formats() -> Iterator[str]:
    """Yield the names of Pillow's formats; the rare ones are only imported once the usual ones are used up."""
    from PIL import Image

    Image.preinit()
    usual = tuple(Image.ID)
    yield from usual
    Image.init()
    yield from (name for name in tuple(Image.ID) if name not in usual)


def _accepts(accept: Callable[[bytes], bool | str], prefix: bytes) -> bool:
    """Ask a format about the first bytes; text in place of a yes means that Pillow was built without it."""
    try:
        return accept(prefix) is True
    except DAMAGE:
        return False


def _open_heif(file: IO[bytes], name: str) -> "ImageFile":
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingExtra(f"{name}: HEIC images need: pip install 'clipcli[heif]'") from error
    file.seek(0)
    try:
        opened: ImageFile = HeifImageFile(file, "")  # type: ignore[no-untyped-call]
    except DAMAGE as error:
        raise damaged_file(file, name, "HEIF", error) from error
    return opened


def _claimed_bytes(prefix: bytes) -> int | None:
    """Return how long the file says it is, in the formats that say so in their first bytes."""
    if prefix.startswith(b"RIFF"):
        return int.from_bytes(prefix[4:8], "little") + 8
    if prefix.startswith(b"BM"):
        return int.from_bytes(prefix[2:6], "little")
    return None


def _kilobytes(count: int) -> str:
    return f"{count / 1000:.0f}" if count >= 10_000 else f"{count / 1000:.1f}"


def _is_text(prefix: bytes) -> bool:
    try:
        text = prefix.decode()
    except UnicodeDecodeError as error:
        # A character that the probe cut in two is no sign of an image.
        if error.start < len(prefix) - 3:
            return False
        text = prefix[: error.start].decode()
    return all(character.isprintable() or character.isspace() for character in text)
