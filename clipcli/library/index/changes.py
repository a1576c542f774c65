"""What an update has to do, in a temporary database: millions of names then take no memory."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from clipcli.errors import ClipError
from clipcli.library.index.table import KnownFile

_ROWS_AT_ONCE = 1000
_SCHEMA = """
CREATE TABLE pending (number INTEGER PRIMARY KEY, path BLOB NOT NULL, image INTEGER, bytes INTEGER, digest BLOB);
CREATE TABLE missing (root BLOB NOT NULL, image INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, digest BLOB);
CREATE INDEX missing_content ON missing (bytes, digest)
"""


class Pending(NamedTuple):
    """A file to encode.

    Attributes:
        number: Its place in the order.
        path: Absolute.
        image: The number of the image that has the path in the table; None for a new one.
        size_bytes: Of the file as the table knows it.
        digest: Of what the table has features of; None where it has none.
    """

    number: int
    path: str
    image: int | None
    size_bytes: int | None
    digest: bytes | None


class Changes:
    """What a walk has found. Use it in a `with` block; it is forgotten at the end.

    Attributes:
        unchanged: Images that are as they were.
        unreachable: Folders and files that could not be looked at, and why; what lies there is kept.
        empty: Covered folders in which not one of the images that the library has is left.
    """

    def __init__(self) -> None:
        self.unchanged = 0
        self.unreachable: list[tuple[str, str]] = []
        self.empty: list[str] = []
        # A database without a name lies in the folder of temporary files, as far as it outgrows a small cache.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        """Begin to collect."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget everything.

        Raises:
            ClipError: There was no room for it.
        """
        self._db.close()
        if isinstance(error, sqlite3.Error):
            raise ClipError(
                f"the list of changes cannot be stored: {error}",
                hint="free space in the folder of temporary files, or set SQLITE_TMPDIR to another folder",
            ) from error

    def add_new(self, paths: Sequence[str]) -> None:
        """Note files that the library does not have."""
        rows = [(os.fsencode(path),) for path in paths]
        self._db.executemany("INSERT INTO pending (path) VALUES (?)", rows)

    def add_changed(self, files: Sequence[tuple[str, KnownFile]]) -> None:
        """Note files that have another stamp than the library knows."""
        rows = [
            (os.fsencode(path), file.id, file.size_bytes, file.digest if file.slot is not None else None)
            for path, file in files
        ]
        self._db.executemany("INSERT INTO pending (path, image, bytes, digest) VALUES (?, ?, ?, ?)", rows)

    def add_missing(self, root: str, images: Iterable[tuple[int, int, bytes | None]]) -> None:
        """Note images, by number, size and digest, below a covered folder whose files are no longer there."""
        key = os.fsencode(root)
        self._db.executemany("INSERT INTO missing VALUES (?, ?, ?, ?)", ((key, *image) for image in images))

    def missing_below(self, root: str) -> int:
        """How many images are missing below a covered folder."""
        query = "SELECT count(*) FROM missing WHERE root = ?"
        return int(self._db.execute(query, (os.fsencode(root),)).fetchone()[0])

    def keep_below(self, root: str) -> int:
        """Take what is missing below a covered folder out of the list; returns how many images that were."""
        return self._db.execute("DELETE FROM missing WHERE root = ?", (os.fsencode(root),)).rowcount

    def is_missing(self, size_bytes: int) -> bool:
        """Whether an image of a size in bytes is missing."""
        query = "SELECT EXISTS (SELECT 1 FROM missing WHERE bytes = ?)"
        return bool(self._db.execute(query, (size_bytes,)).fetchone()[0])

    def take_missing(self, size_bytes: int, digest: bytes) -> int | None:
        """Take an image of a content out of what is missing; returns its number, None if there is none."""
        query = "SELECT image FROM missing WHERE bytes = ? AND digest = ? ORDER BY image DESC LIMIT 1"
        found = self._db.execute(query, (size_bytes, digest)).fetchone()
        if found is None:
            return None
        self._db.execute("DELETE FROM missing WHERE image = ?", found)
        return int(found[0])

    def missing(self) -> Iterator[list[int]]:
        """The numbers of what is missing, batch by batch."""
        after = -1
        query = f"SELECT image FROM missing WHERE image > ? ORDER BY image LIMIT {_ROWS_AT_ONCE}"
        while batch := [number for (number,) in self._db.execute(query, (after,))]:
            yield batch
            after = batch[-1]

    def pending(self) -> Iterator[list[Pending]]:
        """What is to be encoded, batch by batch, in the order in which it was found."""
        after = 0
        query = f"SELECT * FROM pending WHERE number > ? ORDER BY number LIMIT {_ROWS_AT_ONCE}"
        while rows := self._db.execute(query, (after,)).fetchall():
            yield [Pending(number, os.fsdecode(path), *rest) for number, path, *rest in rows]
            after = rows[-1][0]

    def settle(self, files: Iterable[Pending]) -> None:
        """Take files out of what is to be encoded."""
        self._db.executemany("DELETE FROM pending WHERE number = ?", ((file.number,) for file in files))

    def count(self) -> tuple[int, int]:
        """How many new and how many changed files are to be encoded."""
        new, changed = self._db.execute("SELECT count(*) - count(image), count(image) FROM pending").fetchone()
        return new, changed
