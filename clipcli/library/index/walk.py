"""What has changed in a library's folders since they were last looked at, without opening a file that has not."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clipcli.errors import ClipError, ImageError
from clipcli.files import FileStamp
from clipcli.images.find import FindOptions, ImageSource, find_images, images_of
from clipcli.library.index.places import is_below
from clipcli.library.index.table import KnownFile, known_files, known_folders


@dataclass(slots=True)
class Changes:
    """What a walk has found.

    Attributes:
        unchanged: Images that are as they were.
        failed: Of those, images that could not be used then.
        new: Paths that the library does not have.
        changed: Paths whose files have another stamp, with what is known of them.
        missing: What is known of files that are no longer where they were, with their paths.
        unreachable: Folders and files that could not be looked at, and why; what lies there is kept.
        empty: Covered folders in which not one of the images that the library has is left.
    """

    unchanged: int = 0
    failed: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[tuple[str, KnownFile]] = field(default_factory=list)
    missing: list[tuple[str, KnownFile]] = field(default_factory=list)
    unreachable: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def find_changes(db: sqlite3.Connection, folders: Sequence[str], options: FindOptions, *, retry: bool) -> Changes:
    """Compare folders with the table.

    Args:
        db: A transaction of the library.
        folders: What it covers, absolute; none inside another.
        options: Which images of them are taken.
        retry: Take images that could not be used for changed ones.
    """
    changes, known, seen = Changes(), known_folders(db), set[str]()
    for folder in folders:
        unreachable: list[str] = []
        found = missing = 0
        for path, names in _by_folder(folder, options, changes.unreachable):
            seen.add(path)
            before = known_files(db, known[path]) if path in known else {}
            _compare(path, names, before, changes, retry=retry)
            gone = [(os.path.join(path, name), file) for name, file in before.items() if name not in names]
            changes.missing.extend(gone)
            missing, found = missing + len(gone), found + len(names)
        for path in [path for path in known if path not in seen and is_below(path, folder)]:
            gone = [(os.path.join(path, name), file) for name, file in known_files(db, known[path]).items()]
            changes.missing.extend(gone)
            missing += len(gone)
        unreachable = [path for path, _ in changes.unreachable]
        changes.missing = [item for item in changes.missing if not any(is_below(item[0], p) for p in unreachable)]
        if missing and not found and folder not in unreachable:
            changes.empty.append(folder)
    return changes


def _compare(
    folder: str, names: dict[str, bytes], before: dict[str, KnownFile], changes: Changes, *, retry: bool
) -> None:
    for name, stamp in names.items():
        file = before.get(name)
        if file is None:
            changes.new.append(os.path.join(folder, name))
        elif file.stamp != stamp or (retry and file.slot is None):
            changes.changed.append((os.path.join(folder, name), file))
        else:
            changes.unchanged += 1
            changes.failed += file.slot is None


def _by_folder(
    root: str, options: FindOptions, unreachable: list[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield each folder that has images once all of them are known, with their names and stamps.

    A walk goes into a folder and comes back, so what is held is that of the folders above the current one.
    """
    open_folders: list[tuple[str, dict[str, bytes]]] = []
    for source in _images(root, options, unreachable):
        folder, name = os.path.split(source.path)
        while open_folders and not is_below(folder, open_folders[-1][0]):
            yield open_folders.pop()
        if not open_folders or open_folders[-1][0] != folder:
            open_folders.append((folder, {}))
        try:
            open_folders[-1][1][name] = FileStamp.of(source.path).to_bytes()
        except FileNotFoundError:
            continue  # a link that leads nowhere, or a file that has just gone
        except OSError as error:
            unreachable.append((source.path, error.strerror or str(error)))
    yield from reversed(open_folders)


def _images(root: str, options: FindOptions, unreachable: list[tuple[str, str]]) -> Iterator[ImageSource]:
    if not os.path.isdir(root):
        unreachable.append((root, "the folder is not there"))
        return
    try:
        for source in images_of(find_images([root], options)):
            if source.error is None:
                yield source
            elif not isinstance(source.error, ImageError) or os.path.lexists(source.path):
                unreachable.append((source.path, str(source.error)))
    except ClipError:
        return  # not a single image: whether that is as it was, the caller sees
