"""The tables of the feature cache, and the SQL that reads and writes them.

Every row has a checksum over its content and its key: SQLite detects damage to its own structures only.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

SCHEMA = """
CREATE TABLE space (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL UNIQUE);
CREATE TABLE feature (
    space INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, note BLOB NOT NULL, checksum INTEGER NOT NULL,
    used INTEGER NOT NULL, UNIQUE (space, key)
);
CREATE INDEX feature_used ON feature (used);
CREATE TABLE file (
    path BLOB NOT NULL UNIQUE, stamp BLOB NOT NULL, digest BLOB NOT NULL, checksum INTEGER NOT NULL,
    used INTEGER NOT NULL
);
CREATE INDEX file_used ON file (used);
CREATE TABLE checkpoint (
    digest TEXT PRIMARY KEY, logit_scale REAL NOT NULL, logit_bias REAL NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE placement (
    asked TEXT PRIMARY KEY, device TEXT NOT NULL, dtype TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE lookup (kind TEXT PRIMARY KEY, hits INTEGER NOT NULL, misses INTEGER NOT NULL)
"""

_KEYS_A_QUERY = 500
_FLOAT_BYTES = 4
_EVICTED_AT_ONCE = 1000

Row = tuple[int, bytes, bytes, bytes, int]


def select_features(db: sqlite3.Connection, space: str, keys: Sequence[bytes]) -> list[Row]:
    """The undamaged rows of features with some keys: row id, key, value, note, day of last use."""
    found = db.execute("SELECT id FROM space WHERE name = ?", (space,)).fetchone()
    if found is None:
        return []
    rows: list[Row] = []
    start = checksum_of(space.encode())
    for part in _parts(keys):
        marks = ",".join("?" * len(part))
        query = f"SELECT rowid, key, value, note, used, checksum FROM feature WHERE space = ? AND key IN ({marks})"
        for *row, checksum in db.execute(query, (found[0], *part)):
            if is_sound(checksum, *row[1:4], start=start) and len(row[2]) % _FLOAT_BYTES == 0:
                rows.append(tuple(row))
    return rows


def select_files(db: sqlite3.Connection, names: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes, int]]:
    """The undamaged rows of files by path: stamp, digest, day of last use."""
    rows = {}
    for part in _parts(names):
        query = f"SELECT path, stamp, digest, used, checksum FROM file WHERE path IN ({','.join('?' * len(part))})"
        for path, stamp, digest, used, checksum in db.execute(query, part):
            if is_sound(checksum, path, stamp, digest):
                rows[path] = (stamp, digest, used)
    return rows


def checksum_of(*fields: bytes, start: int = 0) -> int:
    """CRC-32 of fields and their lengths: 4 us for a feature of 2 kB."""
    for field in fields:
        start = zlib.crc32(field, zlib.crc32(b"%d " % len(field), start))
    return start


def is_sound(checksum: object, *fields: Any, start: int = 0) -> bool:
    """Whether the fields of a row are bytes that match their checksum."""
    return all(isinstance(field, bytes) for field in fields) and checksum == checksum_of(*fields, start=start)


def _parts(keys: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Split keys into parts that fit one statement."""
    stream = iter(keys)
    while part := tuple(islice(stream, _KEYS_A_QUERY)):
        yield part


def count_lookups(db: sqlite3.Connection, kind: str, hits: int, misses: int, stale: Sequence[int], today: int) -> None:
    """Add to the lookups of a kind, and mark rows as used today."""
    db.execute("INSERT OR IGNORE INTO lookup VALUES (?, 0, 0)", (kind,))
    db.execute("UPDATE lookup SET hits = hits + ?, misses = misses + ? WHERE kind = ?", (hits, misses, kind))
    db.executemany("UPDATE feature SET used = ? WHERE rowid = ?", [(today, row_id) for row_id in stale])


def delete_oldest(db: sqlite3.Connection) -> bool:
    """Delete the features used longest ago, and the digests of files that were last seen before them."""
    query = "SELECT rowid, used FROM feature ORDER BY used, rowid LIMIT ?"
    oldest = db.execute(query, (_EVICTED_AT_ONCE,)).fetchall()
    if oldest:
        db.executemany("DELETE FROM feature WHERE rowid = ?", [(row_id,) for row_id, _ in oldest])
        db.execute("DELETE FROM file WHERE used < ?", (oldest[-1][1],))
    return bool(oldest)


def clear_kind(db: sqlite3.Connection, kind: str) -> int:
    """Delete the features of a kind, and with images the digests of files; returns how many features."""
    deleted = db.execute("DELETE FROM feature WHERE space IN (SELECT id FROM space WHERE kind = ?)", (kind,)).rowcount
    db.execute("DELETE FROM space WHERE kind = ?", (kind,))
    db.execute("DELETE FROM lookup WHERE kind = ?", (kind,))
    if kind == "image":
        db.execute("DELETE FROM file")
    return deleted


def kind_figures(db: sqlite3.Connection, kind: str) -> tuple[int, int, int, int]:
    """Features of a kind, their bytes, and how often it was asked with and without success."""
    count = size = 0
    for (space_id,) in db.execute("SELECT id FROM space WHERE kind = ?", (kind,)).fetchall():
        rows = db.execute("SELECT count(*) FROM feature WHERE space = ?", (space_id,)).fetchone()[0]
        # The features of a space are of one length, so none but the first needs to be looked at.
        length = db.execute("SELECT length(value) FROM feature WHERE space = ? LIMIT 1", (space_id,)).fetchone()
        count, size = count + rows, size + rows * (length[0] or 0 if length else 0)
    query = "SELECT CAST(hits AS INTEGER), CAST(misses AS INTEGER) FROM lookup WHERE kind = ?"
    hits, misses = db.execute(query, (kind,)).fetchone() or (0, 0)
    return count, size, hits, misses


def live_bytes(db: sqlite3.Connection) -> int:
    """The size of the rows in bytes, without free pages."""
    pages, free, page_size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_size)
