"""Digests of contents, which the keys of the feature cache consist of.

Everything is SHA-256. File names are not trusted, not even those of hub blobs: whoever shares a folder chooses the
names of its links, and a file that is damaged on disk keeps its name. Weights are therefore read once, and their digest
is cached by path and stamp.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from clipcli.errors import DamagedModelError
from clipcli.files import FileStamp

_HEX_DIGITS = 64
_STRIDE_BYTES = 16 * 2**20


class DigestMemory(Protocol):
    """Stores the digests of unchanged files; `FeatureCache` is one."""

    def known_digests(self, paths: Sequence[str]) -> list[bytes | None]:
        """Digest of each file that has not changed since it was stored."""

    def remember_digests(self, digests: Iterable[tuple[str, FileStamp, bytes]]) -> None:
        """Store the digests of files."""


def content_digest(data: bytes) -> bytes:
    """Digest of an image's bytes."""
    return hashlib.sha256(data).digest()


def texts_digest(texts: Sequence[str]) -> bytes:
    """Digest of texts in order; ["ab"] and ["a", "b"] differ."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<q", len(encoded)))
        digest.update(encoded)
    return digest.digest()


def tokens_digest(sequences: Iterable[Sequence[int]]) -> bytes:
    """Digest of a set of token sequences, independent of their order."""
    distinct = sorted({tuple(ids) for ids in sequences})
    return hashlib.sha256(repr(distinct).encode()).digest()


def checkpoint_digest(folder: Path, weight_files: Sequence[Path], memory: DigestMemory) -> str:
    """Digest of everything that determines what a checkpoint computes: its `config.json` and its weights.

    Weights are read once (a second per GB), and their digest is cached by path and stamp.

    Args:
        folder: The checkpoint.
        weight_files: Its weights.
        memory: Stores the digests of unchanged files.

    Raises:
        DamagedModelError: A file cannot be read.
    """
    try:
        digest = hashlib.sha256((folder / "config.json").read_bytes())
        for path in weight_files:
            digest.update(_remembered_digest(path, memory))
    except OSError as error:
        raise DamagedModelError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def known_checkpoint_digest(folder: Path, weight_files: Sequence[Path], memory: DigestMemory) -> str | None:
    """The result of `checkpoint_digest` if it is known without reading weights; else None.

    Nothing is cached under a digest that is not known, so an answer need not wait for it.
    """
    known = memory.known_digests([os.path.realpath(path) for path in weight_files])
    return None if None in known else checkpoint_digest(folder, weight_files, memory)


def blob_digest(path: Path) -> bytes | None:
    """The SHA-256 that the name of a hub blob claims, or None for any other file; for display only."""
    target = Path(os.readlink(path)) if path.is_symlink() else path
    if target.parent.name != "blobs" or len(target.name) != _HEX_DIGITS:
        return None
    try:
        return bytes.fromhex(target.name)
    except ValueError:
        return None


def file_digest(path: str | Path) -> bytes:
    """Hash a file up to its size at opening, in large blocks.

    Blocks are large so that a thread that imports torch at the same time is rarely interrupted. The file is read, not
    mapped, since truncating a mapped file kills the process.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        buffer = memoryview(bytearray(min(left, _STRIDE_BYTES)))
        while left > 0 and (count := file.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def _remembered_digest(path: Path, memory: DigestMemory) -> bytes:
    name = os.path.realpath(path)  # the blob's path: the same for every revision that has it
    known = memory.known_digests([name])[0]
    if known is not None:
        return known
    stamp = FileStamp.of(name)
    digest = file_digest(name)
    if stamp == FileStamp.of(name):
        memory.remember_digests([(name, stamp, digest)])
    return digest
