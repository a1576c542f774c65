"""Recognizes image files and says what is wrong with those that cannot be read. Never imports torch.

It stands apart from `decode` because telling a user why a file is not an image takes more care than decoding one.
Pillow is imported inside functions.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from clipcli.errors import ImageError, MissingExtra, UnreadableImage
from clipcli.images.opening import size_of

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_READERS = frozenset({"PIL", "pillow_heif"})
# Formats that Pillow only recognizes, and EPS, for which it would run Ghostscript on a file that may be anyone's.
_REFUSED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_TEXT_PROBE_BYTES = 512
_PADDING_BOXES = frozenset((b"free", b"skip"))
# Real files have a dozen.
_MOST_BOXES = 10_000
_STRIDE_BYTES = 2**20


def identify(file: IO[bytes], name: str) -> "ImageFile":
    """Find the format by the file's first bytes and read its header.

    `Image.open` does this too, but its limit on pixels is a setting of the process that is not what the user asked
    for, and it keeps to itself why a file that begins as an image does was refused.

    Raises:
        UnreadableImage: It is not an image, damaged, or of a format that is not supported.
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
        except Exception as error:
            if not is_damage(error):
                raise
            if accept is not None and failure is None:
                failure = damaged_file(file, name, format_name, error)
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS:
        return _open_heif(file, name)
    if failure is not None:
        raise failure
    raise UnreadableImage(f"{name} is not an image{' but text' if _is_text(prefix) else ' of a known format'}")


def is_damage(error: Exception) -> bool:
    """Whether an error is the file's fault: the system could not read it, or one of Pillow's readers gave up.

    Most readers take headers apart without checking first, and raise whatever comes of that. An error that did not
    pass through one of them is a mistake of this program; images that are too large are another matter.
    """
    from PIL.Image import DecompressionBombError

    if isinstance(error, ImageError | MemoryError | DecompressionBombError):
        return False
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _READERS:
            return True
        traceback = traceback.tb_next
    return isinstance(error, OSError)


def check_whole(image: "ImageFile", file: IO[bytes], name: str) -> None:
    """Refuse cut files whose readers fill the rest of the image with one color.

    Raises:
        UnreadableImage: Part of the file is missing.
    """
    position, size = file.tell(), size_of(file)
    if image.format == "HEIF" and (end := _end_of_boxes(file, size)) > size:
        raise UnreadableImage(f"{name}: truncated HEIF (at {_kilobytes(size)} of {_kilobytes(end)} kB)")
    if image.format == "JPEG2000" and not _has_end_marker(file):
        raise UnreadableImage(f"{name}: truncated JPEG2000 (it ends at {_kilobytes(size)} kB)")
    if image.format == "TIFF" and not _is_covered(image):
        raise UnreadableImage(f"{name}: damaged TIFF (it holds pixels for a part of the image only)")
    file.seek(position)  # some readers continue where they were


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    """Where the last top-level box of a HEIF file ends (ISO/IEC 14496-12, section 4.2); padding may be cut."""
    end = 0
    for _ in range(_MOST_BOXES):
        file.seek(end)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:])
        if len(header) < 8 or length < 8 or (end + length > size and kind in _PADDING_BOXES):
            break
        end += length
    return end


def _has_end_marker(file: IO[bytes]) -> bool:
    """Whether a JPEG 2000 file has its end marker (it cannot occur inside); OpenJPEG leaves others half gray."""
    file.seek(0)
    rest = b""
    while stride := file.read(_STRIDE_BYTES):
        if b"\xff\xd9" in rest + stride:
            return True
        rest = stride[-1:]
    return False


def _is_covered(image: "ImageFile") -> bool:
    """Whether the strips or tiles of a TIFF cover the image; Pillow leaves the rest black."""
    boxes = {tile.extents for tile in image.tile}
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in filter(None, boxes))
    return area >= image.width * image.height


def damaged_file(file: IO[bytes], name: str, format_name: str | None, error: Exception) -> UnreadableImage:
    """Describe why a reader gave up: cut short (and by how much, where that can be known), or damaged and how."""
    reason = str(error) or type(error).__name__
    kind = format_name or "image"
    position, size, claimed = 0, 0, None
    with suppress(OSError):  # a file that can be opened need not be one that can be read
        position, size = file.tell(), size_of(file)
        file.seek(0)
        claimed = _claimed_bytes(file.read(12))
    if claimed is not None and size < claimed:
        return UnreadableImage(f"{name}: truncated {kind} (at {_kilobytes(size)} of {_kilobytes(claimed)} kB)")
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
    except Exception:
        return False


def _open_heif(file: IO[bytes], name: str) -> "ImageFile":
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingExtra(f"{name}: HEIC images need: pip install 'clipcli[heif]'") from error
    file.seek(0)
    try:
        opened: ImageFile = HeifImageFile(file, "")  # type: ignore[no-untyped-call]
    except Exception as error:
        if not is_damage(error):
            raise
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
