"""From what the user typed after `--model` to a folder with a checkpoint in it. Must not import torch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from clipcli.errors import DamagedModelError, ModelNotFoundError, UsageError
from clipcli.hub import cache
from clipcli.hub.registry import CHECKPOINTS, DEMO, find_checkpoint

ProgressCallback = Callable[[int, int], None]


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


def resolve_model(
    name: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ModelFiles:
    """Find a model's files, fetching them only if they are not on this machine.

    Args:
        name: A folder with a `config.json`, an alias, a hub id, or `demo`.
        revision: A branch, tag or commit of a hub model; default the registry's pin, else `main`.
        offline: Never fetch (as `HF_HUB_OFFLINE=1` does).
        on_progress: Called with bytes done and bytes in all while files are fetched.

    Raises:
        ModelNotFoundError: if the model is neither here nor to be had.
        DamagedModelError: if its folder lacks files.
        UsageError: if `revision` is given for something that has none.
    """
    folder = Path(name).expanduser()
    if name == DEMO:
        _refuse_revision(name, revision)
        return _local_folder(DEMO, demo_folder(), "bundled")
    row = find_checkpoint(name)
    if row is None and folder.is_dir():
        _refuse_revision(name, revision)
        return _local_folder(name, folder, "folder")
    if row is None and not is_hub_id(name):
        raise _unknown_name(name)
    hub_id = row.hub_id if row else name
    wanted = revision or (row.revision if row else None) or cache.DEFAULT_REVISION
    snapshot = cache.snapshot_folder(hub_id, wanted)
    if snapshot is not None and not cache.missing_files(snapshot):
        return ModelFiles(hub_id, snapshot, snapshot.name, "cache")
    raise ModelNotFoundError(f"{hub_id} is not on this machine")


def demo_folder() -> Path:
    """Where the bundled model lies."""
    return Path(__file__).parent.parent / "demo"


def is_hub_id(name: str) -> bool:
    """Whether a name is spelled like a model on the hub: `owner/name`."""
    owner, slash, model = name.partition("/")
    return bool(slash and owner and model) and "/" not in model and not owner.startswith((".", "~"))


def _local_folder(name: str, folder: Path, source: Literal["folder", "bundled"]) -> ModelFiles:
    missing = cache.missing_files(folder)
    if missing:
        raise DamagedModelError(f"{folder} lacks {', '.join(missing)}")
    return ModelFiles(name, folder, None, source)


def _refuse_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise UsageError(
            f"--revision {revision} does not go with {name}: only models on the hub have revisions"
        )


def _unknown_name(name: str) -> ModelNotFoundError:
    if os.sep in name or name.startswith(("~", ".")):
        return ModelNotFoundError(f"No such model folder: {name}")
    nearest = get_close_matches(name, [row.alias for row in CHECKPOINTS] + [DEMO], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    return ModelNotFoundError(
        f"No model is called {name}", hint=f"{hint}`clip models list` names all aliases."
    )
