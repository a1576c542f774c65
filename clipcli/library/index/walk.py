"""What has changed in a library's folders since they were last looked at, without opening a file that has not."""

import os
import sqlite3
from collections.abc import Iterator, Sequence

from clipcli.errors import ClipError, ImageError
from clipcli.files import FileStamp
from clipcli.images.find import FindOptions, ImageSource, find_images, images_of
from clipcli.library.index.changes import Changes
from clipcli.library.index.places import is_below
from clipcli.library.index.table import KnownFile, known_files, known_folders, unseen_files

# Names of one folder that are compared at once.
_NAMES_AT_ONCE = 4096


class Seen:
    """Which images, by number, were found where they should be: a bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        """Note an image."""
        byte = number >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1024 - len(self._bits)))
        self._bits[byte] |= 1 << (number & 7)

    def has(self, number: int) -> bool:
        """Whether an image was found."""
        byte = number >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (number & 7) & 1)


def find_changes(
    changes: Changes, db: sqlite3.Connection, folders: Sequence[str], options: FindOptions, *, retry: bool
) -> None:
    """Compare folders with the table.

    Args:
        changes: Takes what is found.
        db: A transaction of the library.
        folders: What it covers, absolute; none inside another.
        options: Which images of them are taken.
        retry: Take images that could not be used for changed ones.
    """
    known, seen = known_folders(db), Seen()
    for folder in folders:
        found = 0
        for path, names in _by_folder(folder, options, changes.unreachable):
            before = known_files(db, known[path], list(names)) if path in known else {}
            for file in before.values():
                seen.add(file.id)
            _compare(path, names, before, changes, retry=retry)
            found += len(names)
        out_of_reach = [path for path, _ in changes.unreachable]
        for path in out_of_reach:
            parent, name = os.path.split(path)
            for file in known_files(db, known[parent], [name]).values() if parent in known else ():
                seen.add(file.id)
        for path, number in known.items():
            if is_below(path, folder) and not any(is_below(path, other) for other in out_of_reach):
                changes.add_missing(folder, unseen_files(db, number, seen.has))
        if not found and changes.missing_below(folder):
            changes.empty.append(folder)


def _compare(
    folder: str, names: dict[str, bytes], before: dict[str, KnownFile], changes: Changes, *, retry: bool
) -> None:
    new: list[str] = []
    changed: list[tuple[str, KnownFile]] = []
    for name, stamp in names.items():
        file = before.get(name)
        if file is None:
            new.append(os.path.join(folder, name))
        elif file.stamp != stamp or (retry and file.slot is None):
            changed.append((os.path.join(folder, name), file))
        else:
            changes.unchanged += 1
    changes.add_new(new)
    changes.add_changed(changed)


def _by_folder(
    root: str, options: FindOptions, unreachable: list[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield folders that have images, with names and stamps of theirs; one with many images comes several times.

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
        if len(open_folders[-1][1]) >= _NAMES_AT_ONCE:
            yield open_folders.pop()
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
