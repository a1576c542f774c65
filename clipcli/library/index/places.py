"""Where libraries lie: a folder of the user's own, by name, or wherever a path says."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from clipcli.errors import ClipError, UsageError
from clipcli.library.index.description import FILE_NAME, Description, read_description

_VARIABLE = "CLIPCLI_LIBRARY_DIR"
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,120}")


def libraries_folder() -> Path:
    """The folder of libraries that have a name: `CLIPCLI_LIBRARY_DIR`, else the platform's; it need not exist."""
    override = os.environ.get(_VARIABLE)
    if override:
        return Path(override)
    from platformdirs import user_data_path

    return user_data_path("clipcli", appauthor=False) / "libraries"


def library_folder(name: str) -> Path:
    """The folder that a name or a path stands for; it need not exist.

    Raises:
        UsageError: It is neither.
    """
    if os.sep in name or name.startswith(("~", ".")):
        return Path(os.path.abspath(os.path.expanduser(name)))
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a library", hint="use a short name, or a path with a slash")
    return libraries_folder() / name


def usual_name(*folders: str) -> str:
    """The name of the library that a search in some folders makes: theirs, and a few digits that make it unique."""
    paths = sorted(os.path.realpath(folder) for folder in folders)
    digits = hashlib.sha256(b"\0".join(map(os.fsencode, paths))).hexdigest()[:6]
    base = re.sub(r"[^\w.-]+", "-", "-".join(map(os.path.basename, paths))).strip("-.") or "library"
    return f"{base[:60]}-{digits}"


def named_libraries() -> Iterator[tuple[Path, Description | ClipError]]:
    """Yield the libraries that have a name, and what they say of themselves or why they cannot be read."""
    try:
        folders = sorted(entry for entry in libraries_folder().iterdir() if (entry / FILE_NAME).is_file())
    except OSError:
        return
    for folder in folders:
        try:
            yield folder, read_description(folder)
        except ClipError as error:
            yield folder, error


def find_library(name: str) -> Path | None:
    """The library that a name, its own folder, or a folder of images stands for; None where there is none.

    Raises:
        UsageError: It cannot be a name.
    """
    path = os.path.expanduser(name)
    if os.path.isfile(os.path.join(path, FILE_NAME)):
        return Path(os.path.abspath(path))
    covering = library_over(path) if os.path.isdir(path) else None
    if covering is not None:
        return covering
    place = library_folder(name)
    return place if (place / FILE_NAME).is_file() else None


def library_over(*folders: str) -> Path | None:
    """The named library that covers some folders: their own, or that of the closest folders above them."""
    paths = [os.path.realpath(folder) for folder in folders]
    found: list[tuple[tuple[int, int], Path]] = []
    for place, description in named_libraries():
        if isinstance(description, ClipError):
            continue
        covering = [max((len(r) for r in description.folders if is_below(path, r)), default=0) for path in paths]
        if all(covering):
            found.append(((sum(covering), -len(description.folders)), place))
    return max(found, default=(None, None), key=lambda pair: pair[0])[1]


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
