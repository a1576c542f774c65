"""The way from the name of a model to its checkpoint, for everything that runs one.

Whatever the name means (the bundled model, an alias, a hub id, a folder, a file of another layout), what comes out is
a folder in the hub's layout. A file is converted once and kept in the user's cache; a file that was converted before
costs no more than a folder, and no torch.
"""

import os
from dataclasses import replace
from pathlib import Path

from clipcli import hub
from clipcli.checkpoints.open_clip import is_open_clip
from clipcli.errors import ClipError, UsageError
from clipcli.foreign.kept import forget_older, kept_folder
from clipcli.progress import Progress

_OLDER_WEIGHTS = ("flax_model.msgpack", "tf_model.h5")


def resolve_model(
    name: str,
    *,
    revision: str | None = None,
    fetch: bool = True,
    offline: bool = False,
    on_progress: Progress | None = None,
) -> hub.ModelFiles:
    """Find a model, fetching or converting it if it must be.

    Args:
        name: An alias, a hub id, `demo`, or the path of a folder or file.
        revision: A branch, tag or commit of a hub model.
        fetch: Whether the model may be fetched; else only what is installed is found.
        offline: Whether the user forbids fetching, which an error then names as the reason.
        on_progress: Told bytes done and bytes in all while files are fetched.

    Raises:
        UsageError: A foreign file does not say which activation its network has, or a revision is given for it.
        ModelError: As `hub.fetch_model`, or as `read_foreign`.
        ClipError: What is fetched or converted cannot be stored.
    """
    if is_foreign(name):
        if revision is not None:
            raise UsageError(
                f"revision {revision} does not go with {name}: only hub models have revisions",
                parameter="revision",
                value=revision,
            )
        return hub.ModelFiles(name, _converted(hub.local_path(name)), None, "folder")
    if fetch:
        found = hub.fetch_model(name, revision=revision, offline=offline, on_progress=on_progress)
    else:
        found = hub.find_model(name, revision=revision)
    return replace(found, folder=_converted(found.folder)) if is_open_clip(found.folder) else found


def is_foreign(name: str) -> bool:
    """Whether a name means a file, or a folder without weights in the hub's newer formats. Needs no torch to tell."""
    if name == hub.DEMO or not name or hub.find_checkpoint(name) is not None:
        return False
    source = hub.local_path(name)
    if not os.path.exists(source / "config.json"):  # unlike Path's, false for what cannot be a path
        return os.path.isfile(source) or os.path.isfile(source / "open_clip_config.json")
    newer = any(source.glob("*.safetensors")) or any(source.glob("*.bin"))
    return not newer and any(os.path.isfile(source / older) for older in _OLDER_WEIGHTS)


def _converted(source: Path) -> Path:
    """The folder that a checkpoint is converted into, once."""
    folder = kept_folder(source)
    if not folder.is_dir():
        from clipcli.foreign.convert import convert

        try:
            convert(source, folder)
        except ClipError:
            if not folder.is_dir():  # else another run was faster
                raise
        forget_older(folder)
    return folder
