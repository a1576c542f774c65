"""Names for contents: what the keys of the feature cache are made of.

Everything is SHA-256, because that is what the hub names its blobs by: weights in its cache need no reading. Must not
import torch.
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from clipcli.errors import DamagedModelError
from clipcli.files import FileStamp

_HEX_DIGITS = 64
# Read in less time than it takes to notice.
_LARGE_BYTES = 64 * 2**20
_STRIDE_BYTES = 64 * 2**20


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


def checkpoint_digest(
    folder: Path, weight_files: Sequence[Path], memory: DigestMemory, on_read: Callable[[], None] = lambda: None
) -> str:
    """Digest of all that decides what a checkpoint computes: its `config.json` and its weights.

    Weights in the hub's cache are links to blobs named by their digest. Others are read once (a second for a GB) and
    remembered by path and stamp.

    Args:
        folder: The checkpoint.
        weight_files: Its weights.
        memory: Where digests of unchanged files are kept.
        on_read: Called before a file is read that takes noticeable time.

    Raises:
        DamagedModelError: A file cannot be read.
    """
    try:
        digest = hashlib.sha256((folder / "config.json").read_bytes())
        for path in weight_files:
            digest.update(blob_digest(path) or _remembered_digest(path, memory, on_read))
    except OSError as error:
        raise DamagedModelError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def known_checkpoint_digest(folder: Path, weight_files: Sequence[Path], memory: DigestMemory) -> str | None:
    """What `checkpoint_digest` returns, if that is known without hashing weights, else None.

    Raises:
        DamagedModelError: A file cannot be read.
    """
    known = [blob_digest(path) or memory.known_digests([str(path)])[0] for path in weight_files]
    return checkpoint_digest(folder, weight_files, memory) if all(known) else None


def blob_digest(path: Path) -> bytes | None:
    """The SHA-256 in the name of a hub blob, or None for any other file; nothing is read."""
    target = Path(os.readlink(path)) if path.is_symlink() else path
    if target.parent.name != "blobs" or len(target.name) != _HEX_DIGITS:
        return None
    try:
        return bytes.fromhex(target.name)
    except ValueError:
        return None


def _file_digest(path: Path) -> bytes:
    """Hash a file in long strides, so that a thread that imports torch meanwhile is not held up at each short one."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in range(0, size, _STRIDE_BYTES):
            length = min(_STRIDE_BYTES, size - start)
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start) as stride:
                digest.update(stride)
    return digest.digest()


def _remembered_digest(path: Path, memory: DigestMemory, on_read: Callable[[], None]) -> bytes:
    known = memory.known_digests([str(path)])[0]
    if known is not None:
        return known
    stamp = FileStamp.of(path)
    if stamp.size > _LARGE_BYTES:
        on_read()
    digest = _file_digest(path)
    memory.remember_digests([(str(path), stamp, digest)])
    return digest
