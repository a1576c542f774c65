"""The SQLite file of the feature cache: set aside when damaged, and no longer used when it fails.

A problem with the cache must never stop a run. If the file is truncated, belongs to another program, is in a folder
without write permission, is locked forever, or its disk is full, the caller gets `None` instead of an answer, and the
user one warning.
"""

import os
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import TypeVar

from clipcli.errors import warn

T = TypeVar("T")

# "clip" in ASCII: marks a database as ours (https://sqlite.org/pragma.html, application_id).
_APPLICATION_ID = 0x636C6970
_SIDE_FILES = ("", "-wal", "-shm")
# Our statements are fixed: one that fails with SQLITE_ERROR, SQLITE_CONSTRAINT or SQLITE_TOOBIG has met tables that are
# not ours, or are damaged.
_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
)


class DamagedFileError(sqlite3.DatabaseError):
    """Raised by an action that finds contradictory data."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class CacheFile:
    """A database that several processes and threads may use at once, and that may be deleted while they do."""

    def __init__(self, path: Path | None, schema: str, patience_s: float = 15.0) -> None:
        """Open the file; it and its folder are created if they are missing.

        Args:
            path: The database; None for one that stores nothing.
            schema: SQL that creates its tables; run once, in one transaction.
            patience_s: Seconds to wait for a lock of another process.
        """
        self._path = path or Path(os.devnull)
        self._aside = self._path.with_name(f"{self._path.name}.damaged")
        self._schema, self._patience_s = schema, patience_s
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        if path is not None:
            self._guarded(lambda: self._open(path))

    @property
    def usable(self) -> bool:
        """False once the file has failed."""
        return self._connection is not None

    def read(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """Run queries; None if the file could not answer."""
        return self._run("BEGIN", action)

    def write(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """Run statements in one transaction, all or nothing; None if they could not be stored."""
        # IMMEDIATE: a transaction that turns from reading to writing cannot wait for a lock, it fails at once.
        return self._run("BEGIN IMMEDIATE", action)

    def shrink(self) -> None:
        """Hand unused pages back to the file system."""
        # A script, because `execute` stops after the first page: the statement has rows, but no columns.
        script = "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)"
        self._guarded(lambda: self._connection and self._connection.executescript(script))

    def remove_damaged(self) -> None:
        """Delete a damaged file that was set aside."""
        with self._lock, suppress(OSError):
            for suffix in _SIDE_FILES:
                Path(f"{self._aside}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; later calls find nothing and store nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _run(self, begin: str, action: Callable[[sqlite3.Connection], T]) -> T | None:
        def transaction() -> T | None:
            connection = self._connection
            if connection is None:
                return None
            connection.execute(begin)
            try:
                result = action(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        return self._guarded(transaction)

    def _guarded(self, action: Callable[[], T]) -> T | None:
        """Turn every failure of the file into None and at most one warning."""
        with self._lock:
            try:
                return action()
            except sqlite3.DatabaseError as error:
                if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in _DAMAGE:
                    self._replace("is damaged")
                else:
                    self._give_up(str(error))
            except UnicodeDecodeError:  # SQLite's message about a damaged schema quotes it unchanged
                self._replace("is damaged")
            except OSError as error:
                self._give_up(error.strerror or str(error))
            return None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=self._patience_s, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, connection.close)
        connection.text_factory = bytes  # damaged text need not be UTF-8
        self._connection = connection
        self._identity = _identity(path)
        connection.execute("PRAGMA page_size = 16384")  # a feature is 2 or 3 kB: with 4 kB pages half would be wasted
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 256")  # pages: 4 MB
        if not _is_ours(connection):
            connection.execute("BEGIN IMMEDIATE")
            mine = _is_ours(connection)  # another process may have been quicker
            foreign = not mine and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not mine and not foreign:
                for statement in self._schema.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute("COMMIT")
            if foreign:
                self._replace("belongs to another program")
                return
        connection.execute("PRAGMA journal_mode = WAL")

    def _replace(self, reason: str) -> None:
        """Move the file out of the way, unless another process has done so, and start an empty one."""
        self.close()
        try:
            if _identity(self._path) == self._identity:
                for suffix in _SIDE_FILES:
                    source = Path(f"{self._path}{suffix}")
                    if source.exists():
                        os.replace(source, f"{self._aside}{suffix}")
                warn(f"the feature cache {self._path} {reason}: renamed to {self._aside.name}, a new one is started")
            self._open(self._path)
        except (sqlite3.DatabaseError, OSError) as error:
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self.close()
        warn(f"the feature cache {self._path} cannot be used ({reason}); this run continues without it")


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether this program made the file; it has no triggers or views, which would change what statements do."""
    marked = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
    strange = "SELECT count(*) FROM sqlite_master WHERE type NOT IN ('table', 'index')"
    return bool(marked and connection.execute(strange).fetchone()[0] == 0)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
