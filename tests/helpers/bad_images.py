"""Files that cannot be read as images, each for a reason of its own."""

import os
import struct
import zlib
from pathlib import Path

from PIL import Image


def missing(path: Path) -> None:
    pass


def text_named_jpg(path: Path) -> None:
    path.write_text("This is a shopping list: milk, bread.")


def truncated(path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(path, "JPEG", quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.touch()


def bomb(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere.jpg"))


def may_not_read_everything() -> None:
    """Give up root's right to read any file (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH), which tests in CI often have."""
    if os.geteuid() == 0:
        import ctypes

        drop_from_bounding_set = 24
        for capability in (1, 2):
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0
