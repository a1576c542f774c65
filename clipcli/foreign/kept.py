"""What checkpoints of other layouts were converted into: a folder each in the user's cache."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from clipcli import hub
from clipcli.errors import ClipError
from clipcli.files import FileStamp, bytes_under, cache_folder, remove_folder

_LAYOUT = "2"  # counts up when what is written for the same file changes
_OURS = re.compile(r"\.?[0-9a-f]{20}-[0-9a-f]{20}(\.\d+\.tmp)?")


@dataclass(frozen=True, slots=True)
class KeptConversions:
    """The conversions that are kept in the user's cache, unfinished ones among them."""

    path: Path
    folders: tuple[Path, ...]
    size_bytes: int


def kept_in() -> Path:
    """The folder of all conversions, which need not exist."""
    return cache_folder() / "converted"


def kept_folder(source: Path) -> Path:
    """Where a file as it is now is converted into: named by its path, and by the state of all that is read.

    Raises:
        ClipError: The file cannot be looked at.
    """
    beside = (source.parent / name for name in ("open_clip_config.json", *hub.TOKENIZER_FILES))
    files = sorted(source.iterdir()) if source.is_dir() else [source, *beside]
    try:
        stamps = [(path.name, FileStamp.of(path)) for path in files if path.is_file()]
    except OSError as error:
        raise ClipError(f"{error.filename} cannot be read: {error.strerror}") from error
    names = (str(source.resolve()), repr((_LAYOUT, stamps)))
    return kept_in() / "-".join(hashlib.sha256(os.fsencode(name)).hexdigest()[:20] for name in names)


def kept_conversion(source: Path) -> Path | None:
    """The folder that a file of another layout was converted into when it was last run, or None if it never was.

    Raises:
        ClipError: The file cannot be looked at.
    """
    folder = kept_folder(source)
    return folder if folder.is_dir() else None


def forget_older(folder: Path) -> None:
    """Remove the conversions of the same path in an older state."""
    for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def kept_conversions() -> KeptConversions:
    """What files of other layouts were converted into."""
    path = kept_in()
    folders = tuple(sorted(folder for folder in path.glob("*") if _OURS.fullmatch(folder.name) and folder.is_dir()))
    return KeptConversions(path, folders, sum(map(bytes_under, folders)))


def forget_conversions() -> int:
    """Remove all conversions that are kept, and return how many there were; each is made again when it is needed.

    Raises:
        ClipError: One cannot be removed.
    """
    folders = kept_conversions().folders
    for folder in folders:
        remove_folder(folder)
    return len(folders)
