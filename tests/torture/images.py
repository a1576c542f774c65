"""Image files that were changed at random, spliced, cut, and hostile by design.

Each is read twice, as a file by its name and from bytes. What is held: it gives pixels of the model's size or an
`ImageError` that names it, whatever a reader throws; no bug is reported; both readings say the same; its header is read
without a word; the budget is empty afterwards, and no file stays open.
"""

import functools
import logging
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np

from clipcli.errors import ImageError
from clipcli.images.budget import BUDGET
from clipcli.images.decode import DecodeOptions
from clipcli.images.find import ImageSource
from clipcli.images.header import read_header
from clipcli.images.prepare import Preparation
from clipcli.images.preprocess import Preprocessing
from tests.helpers.image_files import VARIANTS, tiff, variant

# What a reader believes of a file's numbers; 4 megapixels keep a long campaign quick.
OPTIONS = [
    DecodeOptions(max_megapixels=4),
    DecodeOptions(max_megapixels=4, exact=False),
    DecodeOptions(max_megapixels=4, alpha="drop", exif=False),
]
NUMBERS = [0, 1, 2, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
MAGIC = [
    b"FTEX", b"BLP1", b"BLP2", b"DDS ", b"8BPS", b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"GIF89a",
    b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"BM", b"qoif", b"icns", b"\0\0\1\0", b"\0\0\2\0", b"P6 ", b"P5 ",
    b"Pf", b"SIMPLE  =", b"DanM", b"\x01\xda", b"\x59\xa6\x6a\x95", b"\x0a\x05\x01\x08", b"/* XPM */",
    b"#define ", b"\xb1\x68\xde\x3a", b"PCD_", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
    b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif", b"HDF", b"%!PS", b"GRIB", b"BUFR", b"\xd7\xcd\xc6\x9a",
    b"\x80\xe8\0\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"IMODE: ", b"GIMP",
]  # fmt: skip


def trial(rng: random.Random, folder: Path) -> str:
    """One file."""
    kind = rng.choice([_bytes, _bytes, _bytes, _numbers, _spliced, _cut, _magic, _tiff, _png, _repeated])
    path = folder / f"x{rng.choice(['.jpg', '.png', ''])}"
    path.write_bytes(kind(rng))
    preparation = Preparation(rng.choice(OPTIONS), Preprocessing())
    with _no_bug_reported():
        before = _open_files()
        by_name = _read(preparation, ImageSource(str(path)))
        by_bytes = _read(preparation, ImageSource(str(path), data=path.read_bytes()))
        read_header(str(path))
        if _open_files() > before:
            raise AssertionError("a file stays open")
    if BUDGET.used or BUDGET.waiting:
        raise AssertionError(f"{BUDGET.used} bytes are still in use")
    if isinstance(by_name, str) or isinstance(by_bytes, str):
        if type(by_name) is not type(by_bytes):
            raise AssertionError(f"by name: {by_name!r}; by bytes: {by_bytes!r}")
    elif not np.array_equal(by_name, by_bytes):
        raise AssertionError("other pixels by name than by bytes")
    outcome = by_name.partition(":")[0] if isinstance(by_name, str) else "pixels"
    return f"{kind.__name__.strip('_')}: {outcome}"


def _read(preparation: Preparation, source: ImageSource) -> np.ndarray | str:
    try:
        pixels = preparation.pixels(source)
    except ImageError as error:
        if error.__cause__ or error.__context__:
            raise AssertionError("an error holds on to what it came from") from error
        if source.path not in str(error) or len(str(error)) > 1000:
            raise AssertionError(f"what is wrong with which file? {error}") from error
        return f"{type(error).__name__}: {error}"
    if pixels.shape != (224, 224, 3) or pixels.dtype != np.uint8:
        raise AssertionError(f"{pixels.shape} {pixels.dtype}")
    return pixels


class _no_bug_reported(logging.Handler):
    def __enter__(self) -> None:
        self.logger = logging.getLogger("clipcli.images.prepare")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.found = record

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        if hasattr(self, "found"):
            raise AssertionError("a bug was reported") from (self.found.exc_info or (None, None))[1]


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


@functools.cache
def _seeds() -> list[bytes]:
    return [variant(*chosen) for chosen in VARIANTS]


def _bytes(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(_seeds()))
    reach = rng.choice([16, 64, len(data)])
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(min(reach, len(data)))] = rng.choice([0, 255, 127, 128, rng.randrange(256)])
    return bytes(data)


def _numbers(rng: random.Random) -> bytes:
    """Headers whose numbers are extreme."""
    data = bytearray(rng.choice(_seeds()))
    for _ in range(rng.randint(1, 3)):
        format_ = rng.choice("<>") + rng.choice("HI")
        size = struct.calcsize(format_)
        at = rng.randrange(min(128, len(data) - size))
        data[at : at + size] = struct.pack(format_, rng.choice(NUMBERS) & (2 ** (8 * size) - 1))
    return bytes(data)


def _spliced(rng: random.Random) -> bytes:
    one, other = rng.choice(_seeds()), rng.choice(_seeds())
    return one[: rng.randrange(len(one))] + other[rng.randrange(len(other)) :]


def _cut(rng: random.Random) -> bytes:
    data = rng.choice(_seeds())
    return data[: rng.randrange(len(data))]


def _magic(rng: random.Random) -> bytes:
    """The beginning of a format, and then anything."""
    rest = rng.choice([bytes(rng.randrange(200)), rng.randbytes(rng.randrange(200)), b"1 " * rng.randrange(60)])
    words = b"".join(struct.pack("<I", rng.choice([*NUMBERS, 24, 32])) for _ in range(rng.randrange(12)))
    return rng.choice(MAGIC) + rng.choice([rest, words, words + rest])


def _tiff(rng: random.Random) -> bytes:
    """Tags of any value."""
    tags = {256: 32, 257: 24, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 24, 279: 32 * 24}
    for _ in range(rng.randint(1, 4)):
        tags[rng.choice([*tags, 274, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347])] = rng.choice(
            [*NUMBERS, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 1000, 5000, 32773, 50000]
        )
    return tiff(tags, rng.randbytes(32 * 24))


def _png(rng: random.Random) -> bytes:
    """Sound checksums around any content."""
    sizes = [0, 1, 32, 2000, 65535, 2**31 - 1]
    header = struct.pack(">IIBBBBB", rng.choice(sizes), rng.choice(sizes), rng.choice([1, 2, 4, 8, 16, 3]),
                         rng.randrange(8), rng.randrange(2), rng.randrange(2), rng.randrange(3))  # fmt: skip
    kinds = [b"IDAT", b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"tEXt", b"zTXt", b"iTXt", b"gAMA"]
    chunks = [(b"IHDR", header)]
    for _ in range(rng.randrange(5)):
        content = rng.choice([rng.randbytes(rng.randrange(40)), zlib.compress(bytes(rng.choice([9, 4000, 10**6])))])
        chunks.append((rng.choice(kinds), content))
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _repeated(rng: random.Random) -> bytes:
    """A stretch of a file, many times over."""
    data = rng.choice(_seeds())
    at = rng.randrange(len(data))
    return data[:at] + data[at : at + rng.randint(1, 64)] * rng.randint(1, 500) + data[at:]
