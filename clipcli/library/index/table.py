"""The rows of a library, in SQLite: one per image, with its place in the matrix. Knows no features.

A rollback journal, not a write-ahead log: the library is then one file that can be read on a read-only disk, and a
reader holds writers back for no longer than a query.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from clipcli.errors import ClipError
from clipcli.library.index.places import is_below

FILE_NAME = "rows.sqlite"
# "clil": marks a database as a library's.
_APPLICATION_ID = 0x636C696C
_BUSY_TIMEOUT_S = 30.0
_VALUES_A_QUERY = 500

_SCHEMA = """
CREATE TABLE state (generation INTEGER NOT NULL, slots INTEGER NOT NULL, updated INTEGER);
INSERT INTO state VALUES (0, 0, NULL);
CREATE TABLE folder (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE image (
    id INTEGER PRIMARY KEY, folder INTEGER NOT NULL REFERENCES folder, name BLOB NOT NULL, slot INTEGER UNIQUE,
    digest BLOB, stamp BLOB NOT NULL, bytes INTEGER NOT NULL, width INTEGER, height INTEGER, format TEXT,
    taken TEXT, modified TEXT NOT NULL, checksum INTEGER, error TEXT, UNIQUE (folder, name)
);
CREATE INDEX image_digest ON image (digest);
CREATE TABLE dead (slot INTEGER PRIMARY KEY);
CREATE TABLE look (digest BLOB PRIMARY KEY, fingerprint BLOB) WITHOUT ROWID;
CREATE TABLE pixels (digest BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID
"""

Kind = Literal["look", "pixels"]

_COLUMNS = (
    "image.id, folder.path, image.name, slot, digest, bytes, width, height, format, taken, modified, checksum, error"
)


class State(NamedTuple):
    """What a transaction sees: which file holds the matrix, how many of its rows count, when it was last compared."""

    generation: int
    slots: int
    updated: int | None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image of a library.

    Attributes:
        id: Its number in the table.
        path: Absolute; bytes that are not UTF-8 as surrogate escapes.
        slot: Its row in the matrix; None where the image could not be used.
        digest: SHA-256 of the file.
        size_bytes: Of the file.
        width: In pixels, upright; None where the image could not be used.
        height: In pixels, upright.
        format: As Pillow names it.
        taken: When the image was taken, as its metadata says, `YYYY-MM-DDTHH:MM:SS`.
        modified: When the file was last changed, local time, in the same form.
        checksum: Of its features.
        error: Why the image could not be used.
    """

    id: int
    path: str
    slot: int | None
    digest: bytes | None
    size_bytes: int
    width: int | None
    height: int | None
    format: str | None
    taken: str | None
    modified: str
    checksum: int | None
    error: str | None


class KnownFile(NamedTuple):
    """What the table knows of a file without its features."""

    id: int
    stamp: bytes
    size_bytes: int
    digest: bytes | None
    slot: int | None


class NewRow(NamedTuple):
    """A row as it is written; `slot` is None for an image that could not be used."""

    path: str
    slot: int | None
    digest: bytes | None
    stamp: bytes
    size_bytes: int
    width: int | None
    height: int | None
    format: str | None
    taken: str | None
    modified: str
    checksum: int | None
    error: str | None


class Table:
    """The rows of one library. Every question and every change happens in a transaction."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._name = folder

    def create(self) -> None:
        """Make an empty table.

        Raises:
            ClipError: It cannot be made.
        """
        with self._connected(write=True, new=True) as db:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("BEGIN IMMEDIATE")
            if not db.execute("PRAGMA application_id").fetchone()[0]:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See the table as it is now until the end of the block."""
        with self._connected(write=False) as db:
            db.execute("BEGIN")
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Change the table, all or nothing, with no other writer."""
        with self._connected(write=True) as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def _connected(self, *, write: bool, new: bool = False) -> Iterator[sqlite3.Connection]:
        # Also to read: what a killed writer has left must be taken back first.
        mode = "rwc" if new else "rw" if write or os.access(self._path, os.W_OK) else "ro"
        uri = f"file:{quote(os.fsencode(self._path))}?mode={mode}"
        try:
            # Closing takes an unfinished transaction back.
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as db:
                if not new and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                    raise ClipError(
                        f"{self._path} is not the table of a library", hint="make the library again (`clip library rm`)"
                    )
                yield db
        except sqlite3.Error as error:
            raise self._failure(error, write=write) from error

    def _failure(self, error: sqlite3.Error, *, write: bool) -> ClipError:
        code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        library = f"the library {self._name}"
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ClipError(f"{library} is in use by another process", hint="wait until that is done, and try again")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return ClipError(f"{library} is damaged ({error})", hint="make it again: `clip library rm`, then `create`")
        if code == sqlite3.SQLITE_FULL:
            return ClipError(f"{library}: no space left on its disk", hint="what was written before is safe; make room")
        doing = "written to" if write else "read"
        return ClipError(f"{library} cannot be {doing}: {error}", hint="check its permissions, and its disk")


def read_state(db: sqlite3.Connection) -> State:
    """The state of the library."""
    return State(*db.execute("SELECT generation, slots, updated FROM state").fetchone())


def dead_slots(db: sqlite3.Connection) -> list[int]:
    """Rows of the matrix that belong to no image any more."""
    return [slot for (slot,) in db.execute("SELECT slot FROM dead")]


def rows_of_slots(db: sqlite3.Connection, slots: Sequence[int]) -> list[ImageRow]:
    """The images of some rows of the matrix, in the order asked for."""
    found: dict[int, ImageRow] = {}
    for part in _parts(slots):
        marks = ",".join("?" * len(part))
        query = f"SELECT {_COLUMNS} FROM image JOIN folder ON folder = folder.id WHERE slot IN ({marks})"
        found.update({row[3]: _row(row) for row in db.execute(query, part)})
    return [found[slot] for slot in slots]


def row_of_id(db: sqlite3.Connection, number: int) -> ImageRow | None:
    """The image of a number, if there is one."""
    query = f"SELECT {_COLUMNS} FROM image JOIN folder ON folder = folder.id WHERE image.id = ?"
    row = db.execute(query, (number,)).fetchone()
    return None if row is None else _row(row)


def all_rows(db: sqlite3.Connection) -> Iterator[ImageRow]:
    """Every image, those that could not be used included, by path."""
    query = f"SELECT {_COLUMNS} FROM image JOIN folder ON folder = folder.id ORDER BY folder.path, image.name"
    return map(_row, db.execute(query))


def slots_between(db: sqlite3.Connection, after: str | None, before: str | None) -> list[int]:
    """Rows of the matrix whose images were taken (without that, last changed) in a span of time, ends included."""
    query = "SELECT slot FROM image WHERE slot IS NOT NULL AND COALESCE(taken, modified) BETWEEN ? AND ?"
    return [slot for (slot,) in db.execute(query, (after or "", before or "~"))]


def paths_of_slots(db: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    """Every row of the matrix that has an image, with its path."""
    folders = dict(db.execute("SELECT id, path FROM folder").fetchall())
    for slot, folder, name in db.execute("SELECT slot, folder, name FROM image WHERE slot IS NOT NULL"):
        yield slot, _path(folders[folder], name)


def slots_below(db: sqlite3.Connection, folders: Sequence[str]) -> list[int] | None:
    """Rows of the matrix whose images lie in one of some folders, at any depth; None if that is every image."""
    known = known_folders(db)
    wanted = [number for path, number in known.items() if any(is_below(path, folder) for folder in folders)]
    if len(wanted) == len(known):
        return None
    found: list[int] = []
    for part in _parts(wanted):
        query = f"SELECT slot FROM image WHERE slot IS NOT NULL AND folder IN ({','.join('?' * len(part))})"
        found.extend(slot for (slot,) in db.execute(query, part))
    return found


def slots_of_digests(db: sqlite3.Connection, digests: Iterable[bytes]) -> list[int]:
    """Rows of the matrix whose files have one of some contents."""
    found: list[int] = []
    for part in _parts(list(digests)):
        query = f"SELECT slot FROM image WHERE slot IS NOT NULL AND digest IN ({','.join('?' * len(part))})"
        found.extend(slot for (slot,) in db.execute(query, part))
    return found


def remembered(db: sqlite3.Connection, kind: Kind, digests: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """What is known of the looks or pixels of some contents; None where they could not be decoded."""
    found: dict[bytes, bytes | None] = {}
    column = "fingerprint" if kind == "look" else "value"
    for part in _parts(digests):
        found.update(
            db.execute(f"SELECT digest, {column} FROM {kind} WHERE digest IN ({','.join('?' * len(part))})", part)
        )
    return found


def remember(db: sqlite3.Connection, kind: Kind, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Keep what has been found out of contents."""
    db.executemany(f"INSERT OR REPLACE INTO {kind} VALUES (?, ?)", entries)


def known_folders(db: sqlite3.Connection) -> dict[str, int]:
    """Every folder that has images in the table."""
    query = "SELECT path, id FROM folder WHERE EXISTS (SELECT 1 FROM image WHERE folder = folder.id)"
    return {os.fsdecode(path): number for path, number in db.execute(query)}


def known_files(db: sqlite3.Connection, folder: int, names: Sequence[str]) -> dict[str, KnownFile]:
    """What is known of some files of a folder, by name."""
    found: dict[str, KnownFile] = {}
    for part in _parts([os.fsencode(name) for name in names]):
        marks = ",".join("?" * len(part))
        query = f"SELECT name, id, stamp, bytes, digest, slot FROM image WHERE folder = ? AND name IN ({marks})"
        found.update((os.fsdecode(name), KnownFile(*rest)) for name, *rest in db.execute(query, (folder, *part)))
    return found


def unseen_files(
    db: sqlite3.Connection, folder: int, seen: Callable[[int], bool]
) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, size and digest of the images of a folder whose numbers were not seen."""
    for (number,) in db.execute("SELECT id FROM image WHERE folder = ?", (folder,)):
        if not seen(number):
            yield db.execute("SELECT id, bytes, digest FROM image WHERE id = ?", (number,)).fetchone()


def insert_rows(db: sqlite3.Connection, rows: Sequence[NewRow]) -> None:
    """Write rows; those of the same path are replaced, and their rows of the matrix are dead."""
    for row in rows:
        folder, name = folder_id(db, os.path.dirname(row.path)), os.fsencode(os.path.basename(row.path))
        bury(db, "folder = ? AND name = ?", (folder, name))
        db.execute(
            "INSERT INTO image (folder, name, slot, digest, stamp, bytes, width, height, format, taken, modified, "
            "checksum, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (folder, name, *row[1:]),
        )


def bury(db: sqlite3.Connection, condition: str, values: Sequence[object]) -> int:
    """Delete the rows that meet a condition; their rows of the matrix are dead. Returns how many."""
    db.execute(
        f"INSERT OR IGNORE INTO dead SELECT slot FROM image WHERE slot IS NOT NULL AND {condition}", tuple(values)
    )
    return db.execute(f"DELETE FROM image WHERE {condition}", tuple(values)).rowcount


def move_row(db: sqlite3.Connection, number: int, path: str, stamp: bytes, modified: str) -> None:
    """Give a row another path, or only another stamp; a row that has the path already is buried."""
    folder, name = folder_id(db, os.path.dirname(path)), os.fsencode(os.path.basename(path))
    bury(db, "folder = ? AND name = ? AND id <> ?", (folder, name, number))
    db.execute(
        "UPDATE image SET folder = ?, name = ?, stamp = ?, modified = ? WHERE id = ?",
        (folder, name, stamp, modified, number),
    )


def folder_id(db: sqlite3.Connection, path: str) -> int:
    """The number of a folder, a new one if need be."""
    key = os.fsencode(path)
    db.execute("INSERT OR IGNORE INTO folder (path) VALUES (?)", (key,))
    return int(db.execute("SELECT id FROM folder WHERE path = ?", (key,)).fetchone()[0])


def _parts(values: Sequence[object]) -> Iterator[tuple[object, ...]]:
    stream = iter(values)
    while part := tuple(islice(stream, _VALUES_A_QUERY)):
        yield part


def _row(values: tuple[object, ...]) -> ImageRow:
    number, folder, name, *rest = values
    return ImageRow(number, _path(folder, name), *rest)  # type: ignore[arg-type]


def _path(folder: object, name: object) -> str:
    return os.fsdecode(os.path.join(folder, name))  # type: ignore[call-overload]
