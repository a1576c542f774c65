"""Download a model into huggingface_hub's cache: only what is needed, resumed, and checked before it is used.

huggingface_hub throws a partial file away when a download fails, so a connection that is gone for longer than its
few retries costs the whole file, 1.7 GB for ViT-L/14. Here bytes are appended to `blobs/<hash>.incomplete`, where
older versions of it kept them too, and the file gets its name only after its hash was computed. Everything else
(session, token, proxies, where the cache is, the links of a snapshot) stays huggingface_hub's. Must not import torch.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clipcli.errors import ClipError, DamagedModelError, UnsupportedModelError
from clipcli.hub import cache, remote
from clipcli.hub.registry import MODEL_TYPES
from clipcli.hub.remote import Listing, RemoteFile

ProgressCallback = Callable[[int, int], None]

_STALLS_ALLOWED = 5
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0


def fetch_model(hub_id: str, revision: str, on_progress: ProgressCallback | None = None) -> Path:
    """Bring a model's files at a revision into the cache and return the snapshot folder.

    Files that are already there are hashed and kept; a wrong one is deleted and fetched again.

    Args:
        hub_id: `owner/name`.
        revision: A branch, tag or commit.
        on_progress: Called with bytes done and bytes in all, over all files together.

    Raises:
        ModelError: if the hub cannot be reached, refuses, or sends what does not match its own hashes.
        ClipError: if the cache folder cannot be written or the disk is too small.
    """
    listing = remote.list_files(hub_id, revision)
    files = remote.needed_files(listing)
    folder = cache.repo_folder(hub_id)
    progress = _Progress(sum(file.size for file in files), on_progress)
    with _writing(folder):
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        _check_space(folder, files)
        for file in files:
            _fetch_file(listing, file, folder, progress)
            if file.name == cache.CONFIG:
                _check_family(hub_id, folder / "blobs" / file.digest)
        snapshot = _link(listing, files)
        _write_ref(folder, revision, listing.commit)
    missing = cache.missing_files(snapshot)
    if missing:
        raise DamagedModelError(f"{hub_id} is not complete on the hub: it has no {', '.join(missing)}")
    return snapshot


def matches(path: Path, file: RemoteFile) -> bool:
    """Whether a file on disk has the size and the hash that the hub states."""
    return path.stat().st_size == file.size and file_digest(path, is_sha256=file.is_sha256) == file.digest


def file_digest(path: Path, *, is_sha256: bool) -> str:
    """Hash a file as the hub does: sha256 for large files, git's blob id (SHA-1 of header and bytes) for small ones."""
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
    if not is_sha256:
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class _Progress:
    """Bytes done over all files of one download."""

    def __init__(self, total: int, report: ProgressCallback | None) -> None:
        self._done, self._total, self._report = 0, total, report
        self.advance(0)

    def advance(self, size: int) -> None:
        """Count bytes; negative if a file starts again."""
        self._done += size
        if self._report is not None:
            self._report(self._done, self._total)


def _fetch_file(listing: Listing, file: RemoteFile, folder: Path, progress: _Progress) -> None:
    """Make `blobs/<hash>` hold one file, checked."""
    from huggingface_hub.utils import WeakFileLock

    blob = folder / "blobs" / file.digest
    lock = folder.parent / ".locks" / folder.name / f"{file.digest}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            if matches(blob, file):
                progress.advance(file.size)
                return
            blob.unlink()
        partial = blob.with_name(f"{blob.name}.incomplete")
        _download(listing, file, partial, progress)
        if not matches(partial, file):
            partial.unlink()
            raise DamagedModelError(
                f"{listing.hub_id}: {file.name} arrived with a wrong hash and was deleted",
                hint="try again; if it happens twice, a proxy or mirror (HF_ENDPOINT) changes files on the way",
            )
        os.replace(partial, blob)


def _download(listing: Listing, file: RemoteFile, partial: Path, progress: _Progress) -> None:
    """Append to the partial file until it has the stated size, going on where a broken connection left off."""
    import httpx2

    stalls, counted = 0, 0
    while True:
        done = partial.stat().st_size if partial.exists() else 0
        if done > file.size:
            partial.unlink()
            done = 0
        progress.advance(done - counted)
        if done == file.size and partial.exists():
            return
        try:
            with remote.explained(listing.hub_id, listing.commit, but=httpx2.TransportError):
                counted = done + _append(listing, file, partial, done, progress)
            broken = None
        except httpx2.TransportError as error:
            broken = error
        ...
