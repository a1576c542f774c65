"""Names for contents: what the keys of the feature cache are made of.

Everything is SHA-256. No file's name is believed, not even that of a hub blob: whoever hands over a folder chooses what
its links are called, and a file that is damaged on disk keeps its name. So weights are read once, and their digest is
remembered by path and stamp.
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
    """Remembers the digests of unchanged files; `FeatureCache` is one."""

    def known_digests(self, paths: Sequence[str]) -> list[bytes | None]:
        """Digest of each file that is unchanged since it was remembered."""

    def remember_digests(self, digests: Iterable[tuple[str, FileStamp, bytes]]) -> None:
        """Keep the digests of files."""


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
    """Digest of a set of token sequences, whatever their order."""
    distinct = sorted({tuple(ids) for ids in sequences})
    return hashlib.sha256(repr(distinct).encode()).digest()


def checkpoint_digest(folder: Path, weight_files: Sequence[Path], memory: DigestMemory) -> str:
    """Digest of all that decides what a checkpoint computes: its `config.json` and its weights.

    Weights are read once (a second for a GB) and remembered by path and stamp.

    Args:
        folder: The checkpoint.
        weight_files: Its weights.
        memory: Where digests of unchanged files are kept.

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
    """What `checkpoint_digest` would return, if that is known without reading weights; else None.

    Nothing is cached under a digest that is not known, so an answer need not wait for it.
    """
    known = memory.known_digests([os.path.realpath(path) for path in weight_files])
    return None if None in known else checkpoint_digest(folder, weight_files, memory)


def blob_digest(path: Path) -> bytes | None:
    """The SHA-256 that the name of a hub blob claims, or None for any other file; to be shown, not to be relied on."""
    target = Path(os.readlink(path)) if path.is_symlink() else path
    if target.parent.name != "blobs" or len(target.name) != _HEX_DIGITS:
        return None
    try:
        return bytes.fromhex(target.name)
    except ValueError:
        return None


def file_digest(path: str | Path) -> bytes:
    """Hash as much of a file as it has when it is opened, in strides.

    Long ones, so that a thread that imports torch meanwhile is not held up at each; read and not mapped, since a mapped
    file that somebody shortens ends the process.

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
    name = os.path.realpath(path)  # that of the blob: the same for every revision that has it
    known = memory.known_digests([name])[0]
    if known is not None:
        return known
    stamp = FileStamp.of(name)
    digest = file_digest(name)
    if stamp == FileStamp.of(name):
        memory.remember_digests([(name, stamp, digest)])
    return digest
