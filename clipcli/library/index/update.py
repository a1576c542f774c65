"""Brings a library up to date with its folders: what is new is encoded, what has moved is recognized by its content.

Yields events and prints nothing. Every batch is safe on disk before the next begins, so an interrupted update goes on
where it stopped.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.features.digests import content_digest
from clipcli.files import FileStamp
from clipcli.images.find import FindOptions, ImageSource
from clipcli.library.index.changes import Changes, Pending
from clipcli.library.index.store import NewImage, Store
from clipcli.library.index.table import NewRow
from clipcli.library.index.walk import find_changes
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.images.header import Header

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
    with Changes() as changes:
        _walk(store, changes, retry=retry)
        kept = yield from _keep(changes, prune)
        renamed, touched = _move(store, changes)
        removed = sum(store.remove(batch) for batch in changes.missing())
        added, changed = changes.count()
        yield Walked(added + changed, changes.unchanged + touched)
        failed = (yield from _encode(store, encode, changes)) if added + changed else 0
        store.finish_update()
    yield Updated(added, changed, renamed, removed, changes.unchanged + touched, failed, kept)


def _walk(store: Store, changes: Changes, *, retry: bool) -> None:
    description = store.description
    options = FindOptions(
        tuple(description.exclude),
        description.include_hidden,
        description.follow_symlinks,
        os.path.realpath(store.folder),
    )
    with store.snapshot() as snapshot:
        find_changes(changes, snapshot.db, description.folders, options, retry=retry)


def _encode(store: Store, encode: Encode, changes: Changes) -> Generator[Event, None, int]:
    """Encode what is pending; returns how many images could not be used."""
    from concurrent.futures import ThreadPoolExecutor

    from clipcli.features.pipeline import default_workers

    failed = 0
    sources = (ImageSource(file.path) for batch in changes.pending() for file in batch)
    with ThreadPoolExecutor(default_workers(), thread_name_prefix="header") as pool:
        for batch in encode(sources):
            present = [file for file in batch if file.features is not None or os.path.lexists(file.path)]
            store.add(list(pool.map(_new_image, present)))
            for file in present:
                if file.features is None:
                    failed += 1
                    yield Unusable(file.path, file.error or "it cannot be used")
            yield Added(len(batch))
    return failed


def _keep(changes: Changes, prune: bool) -> Generator[Event, None, int]:
    """Take images out of what is missing whose folder may only be out of reach; returns how many."""
    kept = 0
    for path, reason in changes.unreachable:
        yield Kept(path, reason)
    if not prune:
        for folder in changes.empty:
            images = changes.keep_below(folder)
            kept += images
            yield Kept(folder, f"none of its {images:,} images is there; is it mounted?")
    return kept


def _move(store: Store, changes: Changes) -> tuple[int, int]:
    """Recognize files by their content: under a new name, or touched but unchanged. Returns how many of each."""
    renamed = touched = 0
    for batch in changes.pending():
        moves: list[tuple[int, str, bytes, str]] = []
        settled: list[Pending] = []
        for file in batch:
            stamp, digest = _content(file.path, _looked_for(file, changes))
            image = None
            if file.image is None:
                image = changes.take_missing(stamp.size, digest) if digest is not None else None
                renamed += image is not None
            elif digest is not None and digest == file.digest:
                image = file.image
                touched += 1
            if image is not None:
                moves.append((image, file.path, _kept_stamp(stamp), _local_time(stamp)))
                settled.append(file)
        if moves:
            store.move(moves)
            changes.settle(settled)
    return renamed, touched


def _looked_for(file: Pending, changes: Changes) -> Callable[[int], bool]:
    """Whether the content of a file is worth reading, by its size."""
    if file.image is None:
        return changes.is_missing
    return lambda size: file.digest is not None and size == file.size_bytes


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
    from clipcli.images.header import read_header

    header = read_header(file.path) if file.features is not None else None
    return NewImage(_row(file, stamp, digest, header), file.features)


def _row(file: EncodedFile, stamp: FileStamp, digest: bytes | None, header: "Header | None") -> NewRow:
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
