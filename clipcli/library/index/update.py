"""Brings a library up to date with its folders: what is new is encoded, what has moved is recognized by its content.

Yields events and prints nothing. Every batch is safe on disk before the next begins, so an interrupted update goes on
where it stopped.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from clipcli.features.digests import content_digest
from clipcli.features.pipeline import default_workers
from clipcli.files import FileStamp
from clipcli.images.find import FindOptions, ImageSource
from clipcli.images.header import Header, read_header
from clipcli.library.index.store import NewImage, Store
from clipcli.library.index.table import KnownFile, NewRow
from clipcli.library.index.walk import Changes, find_changes
from clipcli.scoring import Floats

_NO_STAMP = FileStamp(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """One file on its way into a library: its features (D,), or why there are none.

    `digest` and `stamp` are those of what was read, if whoever read it took them.
    """

    path: str
    features: Floats | None
    error: str | None = None
    digest: bytes | None = None
    stamp: FileStamp | None = None


Encode = Callable[[Iterator[ImageSource]], Iterable[Sequence[EncodedFile]]]


@dataclass(frozen=True, slots=True)
class Walked:
    """The folders have been compared: `pending` images are to be encoded now."""

    pending: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Added:
    """A batch is in the library."""

    images: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """An image could not be used; it is not tried again until its file changes."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Images of a folder that is not there, or in which none of them is left, are kept; `message` says why."""

    folder: str
    message: str


@dataclass(frozen=True, slots=True)
class Updated:
    """The end of an update, in numbers of images."""

    added: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    kept: int = 0


Event = Walked | Added | Unusable | Kept | Updated


def update(store: Store, encode: Encode, *, prune: bool = False, retry: bool = False) -> Iterator[Event]:
    """Bring a library up to date.

    Args:
        store: The library.
        encode: Turns files into features, in order, batch by batch.
        prune: Forget images also where a whole folder seems to be empty or gone.
        retry: Try images again that could not be used.

    Raises:
        ClipError: The library cannot be read or written to.
    """
    store.forget_lost()
    description = store.description
    options = FindOptions(
        tuple(description.exclude),
        description.include_hidden,
        description.follow_symlinks,
        os.path.realpath(store.folder),
    )
    with store.snapshot() as snapshot:
        changes = find_changes(snapshot.db, description.folders, options, retry=retry)
    kept = yield from _keep(changes, prune)
    renamed, touched = _move(store, changes)
    removed = store.remove([file.id for _, file in changes.missing]) if changes.missing else 0
    pending = [*changes.new, *(path for path, _ in changes.changed)]
    yield Walked(len(pending), changes.unchanged + touched)
    failed = 0
    if pending:
        with ThreadPoolExecutor(default_workers(), thread_name_prefix="header") as pool:
            for batch in encode(ImageSource(path) for path in pending):
                present = [file for file in batch if file.features is not None or os.path.lexists(file.path)]
                store.add(list(pool.map(_new_image, present)))
                for file in present:
                    if file.features is None:
                        failed += 1
                        yield Unusable(file.path, file.error or "it cannot be used")
                yield Added(len(batch))
    store.finish_update()
    yield Updated(
        added=len(changes.new),
        changed=len(changes.changed),
        renamed=renamed,
        removed=removed,
        unchanged=changes.unchanged + touched,
        failed=failed,
        kept=kept,
    )


def _keep(changes: Changes, prune: bool) -> Generator[Event, None, int]:
    """Take images out of what is missing whose folder may only be out of reach; returns how many."""
    kept = 0
    for path, reason in changes.unreachable:
        yield Kept(path, reason)
    if not prune:
        for folder in changes.empty:
            below = [item for item in changes.missing if item[0].startswith(folder.rstrip(os.sep) + os.sep)]
            kept += len(below)
            gone = {file.id for _, file in below}
            changes.missing = [item for item in changes.missing if item[1].id not in gone]
            yield Kept(folder, f"none of its {len(below):,} images is there; is it mounted?")
    return kept


def _move(store: Store, changes: Changes) -> tuple[int, int]:
    """Recognize files by their content: under a new name, or touched but unchanged. Returns how many of each."""
    missing: dict[tuple[int, bytes], list[KnownFile]] = {}
    for _, file in changes.missing:
        if file.digest is not None:
            missing.setdefault((file.size_bytes, file.digest), []).append(file)
    sizes = {size for size, _ in missing}
    moves: list[tuple[int, str, bytes, str]] = []
    found: set[int] = set()
    new: list[str] = []
    for path in changes.new:
        stamp, digest = _content(path, lambda size: size in sizes)
        same = missing.get((stamp.size, digest)) if digest is not None else None
        if same:
            file = same.pop()
            found.add(file.id)
            moves.append((file.id, path, _kept_stamp(stamp), _local_time(stamp)))
        else:
            new.append(path)
    changed: list[tuple[str, KnownFile]] = []
    for path, file in changes.changed:
        known = file.slot is not None and file.digest is not None
        stamp, digest = _content(path, lambda size, file=file, known=known: known and size == file.size_bytes)  # type: ignore[misc]
        if digest is not None and digest == file.digest:
            moves.append((file.id, path, _kept_stamp(stamp), _local_time(stamp)))
        else:
            changed.append((path, file))
    touched = len(changes.changed) - len(changed)
    changes.new, changes.changed = new, changed
    changes.missing = [item for item in changes.missing if item[1].id not in found]
    if moves:
        store.move(moves)
    return len(found), touched


def _content(path: str, wanted: Callable[[int], bool]) -> tuple[FileStamp, bytes | None]:
    """The stamp of a file, and the digest of its content if its size is wanted and it can be read."""
    with suppress(OSError):
        stamp = FileStamp.of(path)
        return stamp, content_digest(Path(path).read_bytes()) if wanted(stamp.size) else None
    return _NO_STAMP, None


def _new_image(file: EncodedFile) -> NewImage:
    stamp, digest = file.stamp, file.digest
    if stamp is None or digest is None:
        stamp, read = _content(file.path, lambda size: digest is None and file.features is not None)
        digest = digest or read
    header = read_header(file.path) if file.features is not None else None
    return NewImage(_row(file, stamp, digest, header), file.features)


def _row(file: EncodedFile, stamp: FileStamp, digest: bytes | None, header: Header | None) -> NewRow:
    return NewRow(
        path=file.path,
        slot=None,
        digest=digest,
        stamp=_kept_stamp(stamp),
        size_bytes=stamp.size,
        width=header.width if header else None,
        height=header.height if header else None,
        format=header.format if header else None,
        taken=header.taken if header else None,
        modified=_local_time(stamp),
        checksum=None,
        error=None if file.features is not None else file.error or "it cannot be used",
    )


def _kept_stamp(stamp: FileStamp) -> bytes:
    """The stamp as it is stored: of what has just changed, one that fits nothing, so that it is looked at once more."""
    return (stamp if stamp.settled else replace(stamp, mtime_ns=0)).to_bytes()


def _local_time(stamp: FileStamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(stamp.mtime_ns / 1e9))
