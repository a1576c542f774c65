"""What a name means that is not a file of another layout, and where its files lie."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipcli.checkpoints.other_formats import refusal
from clipcli.errors import DamagedModelError, ModelNotFoundError, UsageError
from clipcli.hub import cache, fetch, remote
from clipcli.hub.registry import DEMO, HUB_PREFIX, find_checkpoint, usual_revisions
from clipcli.progress import Progress

_LONGEST_ID = 96
_LOCAL_PREFIX = "local-dir:"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A checkpoint on this machine.

    Attributes:
        id: The model's name as shown to the user: its hub id, the folder as typed, or `demo`.
        folder: Where `config.json` and the other files lie.
        revision: The commit of a cached snapshot, else None.
        source: Where it came from.
    """

    id: str
    folder: Path
    revision: str | None
    source: Literal["folder", "cache", "bundled"]


def fetch_model(
    name: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    on_progress: Progress | None = None,
) -> ModelFiles:
    """Find a model's files, fetching them only if they are not on this machine.

    Args:
        name: A folder with a `config.json`, an alias, a hub id, or `demo`.
        revision: A branch, tag or commit of a hub model; by default the registry's pin, or `main` if only that is
            here or nothing is pinned.
        offline: Never fetch (as `HF_HUB_OFFLINE=1` does).
        on_progress: Called with bytes done and bytes in all while files are fetched.

    Raises:
        ModelNotFoundError: The model is neither here nor to be had.
        DamagedModelError: Its folder lacks files, or they arrive damaged.
        UnsupportedModelError: The hub has it, but not in a form that this program runs.
        UsageError: `revision` is given for something that has none.
        ClipError: It cannot be stored.
    """
    if not is_local(name):
        hub_id, revisions = _hub_reference(name, revision)
        snapshot, missing = cache.best_snapshot(hub_id, revisions)
        if snapshot is None or missing:
            reason = _why_offline(offline)
            if reason is not None:
                raise remote.unavailable(hub_id, reason, revision=revision, missing=missing)
            fetch.download_model(hub_id, revisions[0], on_progress)
    return find_model(name, revision=revision)


def find_model(name: str, *, revision: str | None = None) -> ModelFiles:
    """Find a model that is whole on this machine; never fetches.

    Raises:
        ModelNotFoundError: It is not here, or incomplete in the cache.
        DamagedModelError: Its folder lacks files.
        UsageError: `revision` is given for something that has none.
    """
    if is_local(name):
        return _local_model(name, revision)
    hub_id, revisions = _hub_reference(name, revision)
    snapshot, missing = cache.best_snapshot(hub_id, revisions)
    if snapshot is None or missing:
        raise remote.unavailable(hub_id, revision=revision, missing=missing)
    return ModelFiles(hub_id, snapshot, cache.commit_of(snapshot), "cache")


def pull_model(
    name: str,
    *,
    revision: str | None = None,
    on_progress: Progress | None = None,
) -> ModelFiles:
    """Bring a hub model up to date: ask for its files at a revision, check those that are here, fetch the others.

    Raises:
        UsageError: It is not a hub model.
        ModelError: As `fetch_model`.
        ClipError: It cannot be stored.
    """
    if is_local(name):
        raise UsageError(f"{name} is on this machine already: only hub models can be pulled", hint="use it as it is")
    hub_id, revisions = _hub_reference(name, revision)
    reason = _why_offline(offline=False)
    if reason is not None:
        raise ModelNotFoundError(f"{hub_id} cannot be pulled: {reason}", hint="unset HF_HUB_OFFLINE")
    fetch.download_model(hub_id, revisions[0], on_progress)
    return find_model(name, revision=revision)


def model_folder(name: str, *, revision: str | None = None) -> Path:
    """Where a model lies on this machine, whole or not.

    Raises:
        ModelNotFoundError: It is not here at all.
    """
    if name == DEMO:
        return demo_folder()
    if is_local(name):
        return local_path(name)
    hub_id, revisions = _hub_reference(name, revision)
    snapshot, _ = cache.best_snapshot(hub_id, revisions)
    if snapshot is None:
        raise remote.unavailable(hub_id, revision=revision)
    return snapshot


def hub_id_of(name: str) -> str:
    """The hub id that a name stands for.

    Raises:
        ModelNotFoundError: The name is not an alias and not spelled like a hub id.
    """
    row = find_checkpoint(name)
    if row is not None:
        return row.hub_id
    name = name.removeprefix(HUB_PREFIX)
    if not _is_hub_id(name):
        if os.sep in name or name.startswith(("~", ".")):
            raise ModelNotFoundError(
                f"no such model folder: {name}",
                hint="`clip models list` names known models",
                parameter="model",
                value=name,
            )
        raise remote.unknown_model(name, "`clip models list` names all aliases; hub ids are spelled owner/name")
    return name


def demo_folder() -> Path:
    """Where the bundled model lies."""
    return Path(__file__).parent.parent / "demo"


def local_path(name: str) -> Path:
    """A name as a path; unlike `Path.expanduser`, `~nobody` stays as it is. open_clip marks one by `local-dir:`.

    A model of sentence-transformers is the folder in it that holds the network.
    """
    return cache.network_folder(Path(os.path.expanduser(name.removeprefix(_LOCAL_PREFIX))))


def is_local(name: str) -> bool:
    """Whether a name means the bundled model, a folder or a file; the registry's names go before those called the same.

    Whether a file is a model is not for this room to tell.
    """
    return name == DEMO or (bool(name) and find_checkpoint(name) is None and os.path.exists(local_path(name)))


def is_here(name: str, *, revision: str | None = None) -> bool:
    """Whether a model is on this machine: bundled, a folder or a file, or whole in the cache.

    Raises:
        ModelNotFoundError: As `hub_id_of`.
        UsageError: The revision is not spelled like one.
    """
    if is_local(name):
        return True
    snapshot, missing = cache.best_snapshot(*_hub_reference(name, revision))
    return snapshot is not None and not missing


def _local_model(name: str, revision: str | None) -> ModelFiles:
    if revision is not None:
        raise UsageError(
            f"revision {revision} does not go with {name}: only hub models have revisions",
            hint="leave it out",
            parameter="revision",
            value=revision,
        )
    bundled = name == DEMO
    folder = demo_folder() if bundled else local_path(name)
    missing = cache.missing_files(folder)
    if missing and bundled:
        raise DamagedModelError(
            f"the bundled model is not in this installation: {folder} has no usable {', '.join(missing)}",
            hint="install clipcli from a complete wheel or checkout, or use another model",
        )
    if missing:
        names = [path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("onnx/*"))]
        raise refusal(folder, names) or DamagedModelError(
            f"{folder} has no usable {', '.join(missing)}",
            hint=cache.A_MODEL_FOLDER,
        )
    return ModelFiles(name, folder, None, "bundled" if bundled else "folder")


def _hub_reference(name: str, revision: str | None) -> tuple[str, tuple[str, ...]]:
    """The hub id that a name stands for, and the revisions that will do, the one to fetch first.

    Raises:
        ModelNotFoundError: As `hub_id_of`.
        UsageError: The revision is not spelled like one.
    """
    hub_id = hub_id_of(name)
    if revision is None:
        return hub_id, usual_revisions(hub_id)
    if not all(part.strip(".") for part in revision.split("/")):
        raise UsageError(
            f"revision {revision} is not a branch, tag or commit",
            hint="leave it out for the usual one",
            parameter="revision",
            value=revision,
        )
    return hub_id, (revision,)


def _why_offline(offline: bool) -> str | None:
    """Why nothing may be fetched, or None if it may."""
    from huggingface_hub import constants

    if offline:
        return "`offline=True` forbids fetching it"
    return "HF_HUB_OFFLINE forbids fetching it" if constants.HF_HUB_OFFLINE else None


def _is_hub_id(name: str) -> bool:
    """Whether a name is spelled as the hub allows it; huggingface_hub refuses to ask for any other."""
    part = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?"
    forbidden = "--" in name or ".." in name or name.endswith(".git") or len(name) > _LONGEST_ID
    return re.fullmatch(f"{part}/{part}", name) is not None and not forbidden
