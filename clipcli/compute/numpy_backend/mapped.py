"""The tensors of safetensors files as numpy arrays, straight from the mapped files.

safetensors checks a file: the length of the header, that it is JSON, that types, shapes and offsets agree with each
other and with the size of the file. Its own reader for numpy copies every tensor, so where they lie is read here.
"""

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.weights import (
    LOGIT_BIAS,
    LOGIT_SCALE,
    check_shapes,
    logits_of,
    network_names,
    unreadable,
    unsupported_format,
)
from clipcli.compute.numpy_backend.clip import Indices
from clipcli.compute.numpy_backend.shapes import expected_shapes
from clipcli.errors import DamagedModelError
from clipcli.scoring import Floats, Logits

_LENGTH_BYTES = 8
_NUMBERS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_CONSTANTS = {"I64": "<i8", "I32": "<i4"}  # in older files, and no weights
_DTYPES = _NUMBERS | _CONSTANTS


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where one tensor lies."""

    file: mmap.mmap
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def array(self) -> "np.ndarray[Any, Any]":
        """The numbers as they are stored; bfloat16 as whole numbers of 16 bits."""
        count = int(np.prod(self.shape, dtype=np.int64))
        return np.frombuffer(self.file, _DTYPES[self.dtype], count, self.offset).reshape(self.shape)


class MappedWeights:
    """All tensors of a checkpoint in float32, over one file or several shards.

    A tensor in float32 is its place in the file. Others are converted when first used, and kept.
    """

    def __init__(self, tensors: dict[str, _Stored], where: str) -> None:
        self._tensors, self._where = tensors, where
        self._arrays: dict[str, Floats] = {}

    @classmethod
    def open(cls, paths: Sequence[Path], config: ModelConfig) -> Self:
        """Map the weight files of a checkpoint and compare what they hold with its configuration.

        Raises:
            DamagedModelError: A file cannot be read, two files hold the same tensor, or a tensor does not fit.
        """
        tensors: dict[str, _Stored] = {}
        headers = {path: _read_header(path) for path in paths}
        names = network_names([name for header in headers.values() for name in header], config.only_tower)
        for path, header in headers.items():
            for name, stored in header.items():
                if names[name] in tensors:
                    raise DamagedModelError(f"{path} holds {name} a second time")
                tensors[names[name]] = stored
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} weight files)"
        expected = expected_shapes(config)
        check_shapes({name: stored.shape for name, stored in tensors.items()}, expected, where)
        weights = cls(tensors, where)
        if LOGIT_SCALE in expected:
            weights.logits()
        return weights

    def logits(self) -> Logits:
        """How the checkpoint turns cosines into logits.

        Raises:
            DamagedModelError: A number is missing or not finite.
        """
        names = [name for name in (LOGIT_SCALE, LOGIT_BIAS) if name in self._tensors]
        return logits_of({name: self[name].item() for name in names}, self._where)

    def __getitem__(self, name: str) -> Floats:
        """A whole tensor."""
        if name not in self._arrays:
            stored = self._number(name)
            self._arrays[name] = _in_float32(stored.array(), stored.dtype)
        return self._arrays[name]

    def rows(self, name: str, indices: Indices) -> Floats:
        """Some rows of a large table: a copy of these, and of no others."""
        stored = self._number(name)
        return _in_float32(stored.array()[indices], stored.dtype)

    def _number(self, name: str) -> _Stored:
        stored = self._tensors[name]
        if stored.dtype not in _NUMBERS:
            raise unsupported_format(self._where, name, stored.dtype)
        return stored


def unreadable_format(paths: Sequence[Path]) -> str | None:
    """A number format among the tensors of these files that numpy does not have, or None.

    Raises:
        DamagedModelError: A file cannot be read.
    """
    formats = {stored.dtype for path in paths for stored in _read_header(path).values()}
    return next((f"the number format {name}" for name in sorted(formats - _DTYPES.keys())), None)


def _read_header(path: Path) -> dict[str, _Stored]:
    """Find out what a safetensors file holds and where, without reading data."""
    try:
        safe_open(path, framework="np")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (SafetensorError, OSError) as error:
        raise unreadable(path, error) from error
    data = _LENGTH_BYTES + int.from_bytes(mapped[:_LENGTH_BYTES], "little")
    header = json.loads(mapped[_LENGTH_BYTES:data])
    return {
        name: _Stored(mapped, row["dtype"], tuple(row["shape"]), data + row["data_offsets"][0])
        for name, row in header.items()
        if name != "__metadata__"
    }


def _in_float32(array: "np.ndarray[Any, Any]", dtype: str) -> Floats:
    """Convert what is not float32, or not aligned, which matrix products need."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.require(array, np.float32, "A")
