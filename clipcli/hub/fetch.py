"""Download a model into huggingface_hub's cache: only what is needed, resumed, and checked before it is used.

huggingface_hub throws a partial file away when a download fails, so a connection that is gone for longer than its
few retries costs the whole file, 1.7 GB for ViT-L/14. Here bytes are appended to `blobs/<hash>.incomplete`, where
its older versions kept them too, and the file gets its name only after its hash was computed. Everything else
(session, token, proxies, cache layout, locks) stays huggingface_hub's.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipcli.checkpoints import open_clip
from clipcli.checkpoints.families import FAMILIES, MODEL_TYPES
from clipcli.errors import ClipError, DamagedModelError, UnsupportedModelError
from clipcli.files import read_json, replacing
from clipcli.hub import cache, remote
from clipcli.hub.remote import Listing, RemoteFile
from clipcli.progress import Progress

_STALLS_ALLOWED = 5
_FIRST_WAIT_S = 1.0
_LEAST_PROGRESS = 2**16  # bytes; a server that trickles makes none
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def download_model(hub_id: str, revision: str, on_progress: Progress | None = None) -> Path:
    """Bring a model's files at a revision into the cache and return the snapshot folder.

    Files that are already there are hashed and kept; a wrong one is deleted and fetched again.

    Args:
        hub_id: `owner/name`.
        revision: A branch, tag or commit.
        on_progress: Called with bytes done and bytes in all, over all files together, if any are fetched.

    Raises:
        ModelError: The hub cannot be reached, refuses, or sends what does not match its own hashes.
        ClipError: The cache folder cannot be written or the disk is too small.
    """
    folder = cache.repo_folder(hub_id)
    with _writing(hub_id, folder), remote.explained(hub_id, revision):
        listing = remote.list_files(hub_id, revision)
        files = remote.needed_files(listing)
        snapshot = folder / "snapshots" / listing.commit
        for needed in (folder / "blobs", snapshot, folder.parent / ".locks" / folder.name):
            needed.mkdir(parents=True, exist_ok=True)
        _check_space(hub_id, snapshot, files)
        progress = _Shown(sum(file.size for file in files), on_progress)
        for file in files:
            _bring(listing, file, snapshot, progress)
            path = snapshot / file.name
            if path.name == cache.CONFIG:
                _check_family(hub_id, path)
            if path.name == open_clip.CONFIG:
                open_clip.read_settings(path)
        _write_ref(folder, revision, listing.commit)
    missing = cache.missing_files(cache.network_folder(snapshot))
    if missing:
        raise DamagedModelError(f"{hub_id} is not complete on the hub: it has no {', '.join(missing)}")
    return snapshot


def file_digest(path: Path, *, is_sha256: bool) -> str:
    """Hash a file as the hub does: sha256 for large files, for small ones git's blob id (SHA-1 over its header too)."""
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(usedforsecurity=False)
    if not is_sha256:
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class _Shown:
    """Bytes done over all files of one download; nothing is reported where none are fetched."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self._finished, self._total, self._report = 0, total, report
        self._is_fetching = False

    def show(self, of_this_file: int) -> None:
        """Report how many bytes of a file that is being fetched are there."""
        self._is_fetching = True
        if self._report is not None:
            self._report(self._finished + of_this_file, self._total)

    def finish(self, size: int) -> None:
        """Count the current file as done."""
        self._finished += size
        if self._is_fetching:
            self.show(0)


def _bring(listing: Listing, file: RemoteFile, snapshot: Path, progress: _Shown) -> None:
    """Make a snapshot hold one file, checked, as a link to `blobs/<hash>` where links are supported."""
    from huggingface_hub.utils import WeakFileLock

    folder = snapshot.parent.parent
    blob, pointer = folder / "blobs" / file.digest, snapshot / file.name
    with WeakFileLock(folder.parent / ".locks" / folder.name / f"{file.digest}.lock"):
        if not _matches(pointer, file):
            if not _matches(blob, file):
                blob.unlink(missing_ok=True)
                _download(listing, file, blob, progress)
            pointer.parent.mkdir(exist_ok=True)
            pointer.unlink(missing_ok=True)
            _link(blob, pointer)
    progress.finish(file.size)


def _download(listing: Listing, file: RemoteFile, blob: Path, progress: _Shown) -> None:
    """Append to the partial file until it is whole, going on where a broken connection left off; then name it."""
    import httpx2

    partial, stalls = blob.with_name(f"{blob.name}.incomplete"), 0
    resumed = partial.exists()
    progress.show(_size(partial) or 0)
    while (done := _size(partial)) is None or done < file.size:
        reason: Exception | str = "the server stopped early"
        try:
            _append(listing, file, partial, progress)
        except httpx2.TransportError as error:
            reason = error
        came = (_size(partial) or 0) - (done or 0)
        stalls = 0 if came >= min(_LEAST_PROGRESS, file.size - (done or 0)) else stalls + 1
        if stalls > _STALLS_ALLOWED:
            raise remote.unavailable(listing.hub_id, f"the connection broke ({reason}); what was downloaded is kept")
        if stalls:
            time.sleep(_FIRST_WAIT_S * 2 ** (stalls - 1))
    if not _matches(partial, file):
        partial.unlink()
        if resumed:  # what an earlier run left was wrong, not what came now
            return _download(listing, file, blob, progress)
        raise DamagedModelError(
            f"{listing.hub_id}: {file.name} arrived with a wrong hash and was deleted",
            hint="try again; if it happens twice, a proxy or mirror (HF_ENDPOINT) changes files on the way",
        )
    os.replace(partial, blob)


def _append(listing: Listing, file: RemoteFile, partial: Path, progress: _Shown) -> None:
    with remote.open_stream(listing, file, _size(partial) or 0) as (start, chunks):
        with partial.open("ab" if start else "wb") as stream:
            for chunk in chunks:
                stream.write(chunk[: file.size - stream.tell()])
                progress.show(stream.tell())
                if stream.tell() >= file.size:  # whatever else there is
                    return


def _matches(path: Path, file: RemoteFile) -> bool:
    return _size(path) == file.size and file_digest(path, is_sha256=file.is_sha256) == file.digest


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _link(blob: Path, pointer: Path) -> None:
    from huggingface_hub.file_download import are_symlinks_supported

    if are_symlinks_supported(blob.parent):
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    else:
        os.replace(blob, pointer)


def _write_ref(folder: Path, revision: str, commit: str) -> None:
    """Note which commit a branch or tag means; written last, so that a half-fetched snapshot is never its meaning."""
    if revision == commit:
        return
    ref = folder / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    with replacing(ref) as stream:
        stream.write(commit.encode("ascii"))


def _check_family(hub_id: str, config: Path) -> None:
    """Refuse a model that cannot be run before its weights are fetched."""
    model_type = read_json(config).get("model_type")
    if model_type not in MODEL_TYPES:
        raise UnsupportedModelError(
            f"{hub_id} is a {model_type!r} model, which this program does not run",
            hint=f"supported families: {', '.join(FAMILIES)}",
        )


def _check_space(hub_id: str, snapshot: Path, files: tuple[RemoteFile, ...]) -> None:
    blobs = snapshot.parent.parent / "blobs"
    absent = [file for file in files if not ((blobs / file.digest).exists() or (snapshot / file.name).exists())]
    needed = sum(file.size - (_size(blobs / f"{file.digest}.incomplete") or 0) for file in absent)
    if needed > shutil.disk_usage(blobs).free:
        raise _disk_full(hub_id, blobs, f"needs {needed / 1e6:,.0f} MB more")


@contextmanager
def _writing(hub_id: str, folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into errors that say what to do next."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _disk_full(hub_id, folder, "does not fit") from error
        if error.errno in _FORBIDDEN:
            raise ClipError(
                f"the model cache cannot be written: {error.filename or folder}: {error.strerror}",
                hint="set HF_HOME (or HF_HUB_CACHE) to a folder of your own, or fix its permissions",
            ) from error
        raise ClipError(
            f"{hub_id} could not be stored in {folder}: {error}", hint="set HF_HOME to a folder on another disk"
        ) from error


def _disk_full(hub_id: str, folder: Path, what: str) -> ClipError:
    free = shutil.disk_usage(folder).free
    return ClipError(
        f"the disk is full: {hub_id} {what}, and {folder} has {free / 1e6:,.0f} MB free",
        hint="free space (`clip models list` shows what is stored, `clip models rm ID` removes it), or set HF_HOME "
        "to a folder on a larger disk; what was downloaded so far is kept",
    )
