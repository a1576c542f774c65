"""The file of features: rows of float32 of one length, one after the other, appended to and mapped into memory."""

import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from clipcli.scoring import Floats

_ROWS_AT_ONCE = 4096
_DTYPE = np.dtype("<f4")


def stored_rows(path: Path, dimensions: int) -> int:
    """Whole rows in a file; 0 where there is none."""
    try:
        return os.path.getsize(path) // (dimensions * _DTYPE.itemsize)
    except FileNotFoundError:
        return 0


def mapped(path: Path, rows: int, dimensions: int) -> Floats:
    """The first rows of a file, mapped into memory, not to be written to.

    Shapes: -> (rows, dimensions).

    Raises:
        OSError: The file cannot be read.
    """
    if not rows:
        return np.empty((0, dimensions), dtype=np.float32)
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), rows * dimensions * _DTYPE.itemsize, access=mmap.ACCESS_READ)
    return np.frombuffer(pages, dtype=_DTYPE).reshape(rows, dimensions)


def write_rows(path: Path, begin: int, features: Floats) -> None:
    """Write rows behind the first `begin`, over whatever an interrupted run has left there, and wait for the disk.

    Raises:
        OSError: They cannot be written; the rows before stay as they are.
    """
    data = np.ascontiguousarray(features, dtype=_DTYPE)
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.seek(begin * data.shape[1] * _DTYPE.itemsize)
        file.write(data.data)  # of an array in one piece
        file.flush()
        os.fsync(file.fileno())


def copy_rows(source: Floats, slots: "np.ndarray[tuple[int], np.dtype[np.intp]]", path: Path) -> None:
    """Write some rows of a matrix into a new file.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("wb") as file:
        for begin in range(0, len(slots), _ROWS_AT_ONCE):
            file.write(source[slots[begin : begin + _ROWS_AT_ONCE]].astype(_DTYPE).tobytes())
        file.flush()
        os.fsync(file.fileno())


def checksum(features: Floats) -> int:
    """A number that tells whether a row is still what was written."""
    return zlib.crc32(features.astype(_DTYPE).tobytes())
