"""One folder per label; `train`, `val` and `test` side by side; the `metadata` file of the hub's imagefolder."""

import os
from collections.abc import Iterable
from pathlib import Path

from clipcli.errors import UsageError
from clipcli.labels.truth.labelling import Labelled, Labelling

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHOWN_SPLITS = 8
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def from_folder(folder: str, images: Iterable[str]) -> Labelling:
    """Take the folders between `folder` and an image for its label: `cat`, or `animal/cat` for folders inside folders.

    Args:
        folder: The folder of labeled images.
        images: The paths of the images in it.
    """
    return Labelling.of(folder, (_of_path(folder, path) for path in images))


def _of_path(folder: str, path: str) -> Labelled:
    name = os.path.relpath(os.path.dirname(path), folder).replace(os.sep, "/")
    return Labelled(path, () if name == "." else (name,), f"folder {name}")


def metadata_file(folder: str) -> str | None:
    """The file that labels a folder's images, as the hub's `imagefolder` has it; it outranks the folders' names."""
    return next((path for name in METADATA if os.path.isfile(path := os.path.join(folder, name))), None)


def choose_split(splits: Iterable[str], split: str | None, source: str, *, are_splits: bool = False) -> str | None:
    """Decide which of the splits that there are is meant, so that they are never mixed by accident.

    Args:
        splits: Names of folders, or the values of a column.
        split: What the user asked for, in any of its spellings ("val", "validation"); None for nothing.
        source: Names the folder or file in errors.
        are_splits: Whether they are splits whatever they are called, as in a column `split`.

    Returns:
        One of `splits`, or None where they are no splits.

    Raises:
        UsageError: There are several and none was chosen, or the chosen one is not among them.
    """
    found = [name for name in dict.fromkeys(splits) if name]
    known = [name for name in found if name.lower() in _SPLITS]
    if split is not None:
        wanted = split.lower()
        exact = next((name for name in found if name.lower() == wanted), None)
        chosen = exact or next((n for n in known if _SPLITS[n.lower()] == _SPLITS.get(wanted)), None)
        if chosen is None:
            there = f"there are: {', '.join(sorted(found)[:_SHOWN_SPLITS])}" if found else "there are none"
            raise UsageError(f"{source} has no split {split!r}", hint=there)
        return chosen
    mixed = found if are_splits else known
    if len(mixed) > 1:
        raise UsageError(
            f"{source} holds the splits {', '.join(sorted(mixed)[:_SHOWN_SPLITS])}, which must not be mixed",
            hint=f"choose one: `split={sorted(mixed)[0]!r}`",
        )
    return None if not mixed or len(mixed) < len(found) else mixed[0]  # a single one beside others may be a label


def subfolders(folder: str) -> list[str]:
    """Names of the folders in a folder, hidden ones left out.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        return sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from error
