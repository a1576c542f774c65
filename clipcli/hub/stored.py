"""The models in the hub's cache: list them, check them against their hashes, remove them. Sends no request."""

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clipcli.checkpoints.families import MODEL_TYPES
from clipcli.checkpoints.open_clip import CONFIG, is_open_clip, read_settings
from clipcli.errors import DamagedModelError, ModelError, ModelNotFoundError
from clipcli.files import bytes_under, read_json, remove_folder
from clipcli.hub import cache, fetch
from clipcli.hub.registry import find_checkpoint, usual_revisions

_SHA256_DIGITS = 64
_ZIP = b"PK\x03\x04"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model in the cache.

    Attributes:
        hub_id: `owner/name`.
        family: What its `config.json` says, else the registry.
        revision: The commit of the snapshot that would be used.
        folder: That snapshot.
        size_bytes: What the model takes on disk, with older snapshots and unfinished downloads.
        missing: Names of files that the snapshot lacks; empty when it can be run.
        only_at: The revision to ask for to run it, where the usual revision is not here; else None.
    """

    hub_id: str
    family: str
    revision: str
    folder: Path
    size_bytes: int
    missing: tuple[str, ...]
    only_at: str | None = None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What checking one file of a model gave.

    `ok` means its hash is the hub's; `readable`, that no hash is known and its structure is whole.
    """

    name: str
    size_bytes: int
    status: Literal["ok", "readable", "damaged", "missing"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a model would do; nothing happens before `execute` is called."""

    hub_id: str
    folder: Path
    frees_bytes: int
    execute: Callable[[], None]


def stored_models() -> tuple[StoredModel, ...]:
    """The models of the supported families in the cache, by hub id."""
    found = []
    for folder in sorted(cache.cache_folder().glob("models--*--*")):
        hub_id = folder.name.removeprefix("models--").replace("--", "/", 1)
        snapshot, only_at = _snapshot(hub_id)
        family = _family(hub_id, snapshot) if snapshot is not None else None
        if snapshot is not None and family is not None:
            missing = cache.missing_files(snapshot)
            size = bytes_under(folder)
            found.append(StoredModel(hub_id, family, cache.commit_of(snapshot), snapshot, size, missing, only_at))
    return tuple(found)


def verify_files(folder: Path) -> tuple[FileCheck, ...]:
    """Check every file of a model: against the hash that names its blob, else that it can be read.

    Sends no request: in the cache a file is a link to a blob that is named by its hash.
    """
    names = {path.name for path in folder.iterdir() if not path.is_dir()} | set(cache.missing_files(folder))
    return tuple(check_file(folder / name) for name in sorted(names))


def check_file(path: Path) -> FileCheck:
    """Check one file: against the hash that names its blob, else that it can be read."""
    if not path.is_file():
        return FileCheck(path.name, 0, "missing")
    size = path.stat().st_size
    blob = Path(os.readlink(path)).name if path.is_symlink() else ""
    if _HASH.fullmatch(blob):
        whole = fetch.file_digest(path, is_sha256=len(blob) == _SHA256_DIGITS) == blob
        return FileCheck(path.name, size, "ok" if whole else "damaged")
    return FileCheck(path.name, size, "readable" if _is_readable(path) else "damaged")


def plan_removal(hub_id: str) -> Removal:
    """Work out what removing one model frees, and how.

    Raises:
        ModelNotFoundError: It is not in the cache.
    """
    from huggingface_hub import scan_cache_dir

    folder = cache.repo_folder(hub_id)
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"{hub_id} is not in {cache.cache_folder()}", hint="`clip models list` shows what is stored"
        )
    try:
        scan = scan_cache_dir(cache.cache_folder())
    except (OSError, ValueError):  # a ref of any model that is not a text, or may not be read
        return _plain_removal(hub_id, folder)
    repo = next((repo for repo in scan.repos if repo.repo_path == folder.resolve()), None)
    if repo is None or not repo.revisions or folder.is_symlink():
        return _plain_removal(hub_id, folder)
    # Copies of a repository share their commits, and revisions are deleted by commit: leave only this one in sight.
    strategy = replace(scan, repos=frozenset({repo})).delete_revisions(*(r.commit_hash for r in repo.revisions))
    partial = sum(path.lstat().st_size for path in (folder / "blobs").glob("*.incomplete"))

    def execute() -> None:
        strategy.execute()
        if folder.exists():
            remove_folder(folder)

    return Removal(hub_id, folder, strategy.expected_freed_size + partial, execute)


def _snapshot(hub_id: str) -> tuple[Path | None, str | None]:
    """The snapshot that would be used without a revision; else the newest whole one, and what to call it."""
    meant, _ = cache.best_snapshot(hub_id, usual_revisions(hub_id))
    whole = cache.whole_revisions(hub_id) if meant is None else {}
    name = next(iter(whole), None)
    if name is not None:
        return whole[name], name
    snapshots = cache.repo_folder(hub_id).glob("snapshots/*/")
    return meant or max(snapshots, key=lambda path: path.stat().st_mtime, default=None), None


def _family(hub_id: str, snapshot: Path) -> str | None:
    """The family of a model that this program runs, or None."""
    row = find_checkpoint(hub_id)
    if row is not None:
        return row.family
    try:
        if is_open_clip(snapshot):
            return read_settings(snapshot / CONFIG).family
        model_type = read_json(snapshot / cache.CONFIG).get("model_type")
    except (ModelError, OSError):
        return None
    return str(model_type) if model_type in MODEL_TYPES else None


def _is_readable(path: Path) -> bool:
    """Whether a file without a known hash holds what its name says, as far as its structure tells."""
    import zipfile  # every run imports this module, and hardly one comes here

    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                return True
        if path.suffix == ".json":
            read_json(path)
        with path.open("rb") as stream:
            start = stream.read(len(_ZIP))
            if start == _ZIP:  # torch's: every member has a checksum
                return zipfile.ZipFile(stream).testzip() is None
    except (SafetensorError, DamagedModelError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return False
    return bool(start)


def _plain_removal(hub_id: str, folder: Path) -> Removal:
    """Removal of a repository's folder; of one that was moved and linked to, the folder and the link."""
    target = folder.resolve()

    def execute() -> None:
        remove_folder(target)
        if folder.is_symlink():
            folder.unlink()

    return Removal(hub_id, target, bytes_under(target), execute)
