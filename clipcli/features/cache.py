"""Features cached on disk, so that nothing is computed twice.

One SQLite file in the user's cache folder stores image features and text features, the digests of unchanged files (so
that they need not be read again), and what a run needs to answer without loading a network: the checkpoint's scale and
bias, and the device and dtype that `auto` chose. All of it can be computed again; `clip cache clear` is always safe.

How a run uses it:

    cache = open_cache()
    space = FeatureSpace("image", checkpoint, f"{preprocessing.digest} {decode_options}", "cpu float32")
    digests = cache.known_digests(paths)                # None for a file that is new or has changed: read it, then
    cache.remember_digests([(path, stamp, content_digest(data))])  # with the stamp taken before reading
    found = cache.get(space, digests)                   # key -> CachedFeature; ask for many keys at once
    cache.put(space, {digest: CachedFeature(features)})    # a transaction: put a batch at a time

Features are kept as float32, as they were computed: a run that reads them prints the same digits as the run that wrote
them. Half precision would save half of 2 kB per image and change cosines by 1e-5.

Device and dtype are part of a `FeatureSpace`: a float32 run must not read features in half precision, and a run on the
CPU must not read a GPU's.

Every row has a checksum over its content and its key. SQLite detects damage to its own structures only; a row that
fails its checksum, or has another type than was written, counts as unknown, is computed again and replaced.

A cache that cannot be used (see `cache_file`) stores nothing and returns "unknown" for every key. Must not import
torch.
"""

import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from clipcli.errors import ClipError, UsageError
from clipcli.features.cache_file import CacheFile, DamagedFileError
from clipcli.features.cache_tables import (
    SCHEMA,
    checksum_of,
    clear_kind,
    count_lookups,
    delete_oldest,
    is_sound,
    kind_figures,
    live_bytes,
    select_features,
    select_files,
)
from clipcli.files import FileStamp, cache_folder
from clipcli.scoring import Floats, Logits

Kind = Literal["image", "text"]

DEFAULT_LIMIT_MB = 2048

# A file with another layout has another name, so that two versions of the program do not share one.
_FILE_NAME, _EARLIER = "features-3.sqlite", (1, 2)

# 10^12 MB are more than any disk has, and within the integers of SQLite.
_MOST_DIGITS = 12
# Eviction makes this much room, so that a full cache does not evict at every batch.
_KEPT_OF_LIMIT = 0.9
# Bytes written between two checks of the size.
_BYTES_BETWEEN_CHECKS = 8 * 2**20


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """Everything that a feature depends on besides the image or the text itself.

    Attributes:
        kind: `image` or `text`.
        checkpoint: Digest of config and weights (`digests.checkpoint_digest`).
        preparation: Digest of how the input is converted to numbers: the tokenizer, or decoding and preprocessing.
        numerics: Device type and dtype, such as `cpu float32`.
        version: Version of the code; raise it when a code change changes features.
    """

    kind: Kind
    checkpoint: str
    preparation: str
    numerics: str
    version: int = 2

    @property
    def name(self) -> str:
        """The space as one text, unique."""
        return "\n".join((self.kind, str(self.version), self.checkpoint, self.preparation, self.numerics))


@dataclass(frozen=True, slots=True)
class CachedFeature:
    """Features (P,) of one image or label, and a few bytes of the caller's own."""

    features: Floats
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class KindInfo:
    """How many features of one kind the cache has, and how often it was asked for them."""

    features: int
    size_bytes: int
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """The state of the cache; `size_bytes` is the size of the file on disk."""

    path: Path
    size_bytes: int
    limit_bytes: int
    files: int
    image: KindInfo
    text: KindInfo


class FeatureCache:
    """Cached features. Safe in several threads and processes at once; see the module for its use."""

    def __init__(self, file: CacheFile, limit_bytes: int) -> None:
        self._file = file
        self._limit_bytes = limit_bytes
        self._unchecked_bytes = 0

    @classmethod
    def disabled(cls) -> Self:
        """A cache that neither reads nor writes."""
        return cls(CacheFile(None, SCHEMA), 0)

    @property
    def usable(self) -> bool:
        """Whether the cache can store anything."""
        return self._file.usable

    def get(self, space: FeatureSpace, keys: Sequence[bytes]) -> dict[bytes, CachedFeature]:
        """Look up features; unknown keys are absent from the result. Counts hits and misses."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        rows = self._file.read(lambda db: select_features(db, space.name, wanted)) or []
        today = _today()
        stale = [row_id for row_id, _, _, _, used in rows if used != today]
        self._file.write(lambda db: count_lookups(db, space.kind, len(rows), len(wanted) - len(rows), stale, today))
        return {key: CachedFeature(np.frombuffer(value, dtype="<f4"), note) for _, key, value, note, _ in rows}

    def put(self, space: FeatureSpace, entries: Mapping[bytes, CachedFeature]) -> None:
        """Store features, in one transaction; evicts the least recently used ones beyond the limit."""
        if not entries:
            return
        today = _today()
        start = checksum_of(space.name.encode())
        values = [(key, entry.features.astype("<f4").tobytes(), entry.note) for key, entry in entries.items()]

        def insert(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR IGNORE INTO space (kind, name) VALUES (?, ?)", (space.kind, space.name))
            found = db.execute("SELECT id FROM space WHERE name = ?", (space.name,)).fetchone()
            if found is None:
                raise DamagedFileError("a row that was written is not found")
            db.executemany(
                "INSERT OR REPLACE INTO feature (space, key, value, note, checksum, used) VALUES (?, ?, ?, ?, ?, ?)",
                [(found[0], *value, checksum_of(*value, start=start), today) for value in values],
            )

        self._file.write(insert)
        self._unchecked_bytes += sum(len(value) for _, value, _ in values)
        if self._unchecked_bytes >= min(_BYTES_BETWEEN_CHECKS, self._limit_bytes // 10):
            self._unchecked_bytes = 0
            self._evict()

    def known_digests(self, paths: Sequence[str]) -> list[bytes | None]:
        """Content digest of each file that has not changed since it was stored, without opening it; else None."""
        names = [_path_key(path) for path in paths]
        rows = self._file.read(lambda db: select_files(db, names)) or {}
        today = _today()
        stale = [(today, name) for name, (_, _, used) in rows.items() if used != today]
        if stale:
            self._file.write(lambda db: db.executemany("UPDATE file SET used = ? WHERE path = ?", stale))
        return [
            row[1] if (row := rows.get(name)) and row[0] == _stamp_bytes(path) else None
            for name, path in zip(names, paths, strict=True)
        ]

    def remember_digests(self, digests: Iterable[tuple[str, FileStamp, bytes]]) -> None:
        """Store content digests by path and stamp (taken before the file was read).

        A file that changed moments ago is left out: it can change again without a change of its times.
        """
        today = _today()
        files = [(_path_key(path), stamp.to_bytes(), digest) for path, stamp, digest in digests if stamp.settled]
        rows = [(*file, checksum_of(*file), today) for file in files]
        if rows:
            statement = "INSERT OR REPLACE INTO file (path, stamp, digest, checksum, used) VALUES (?, ?, ?, ?, ?)"
            self._file.write(lambda db: db.executemany(statement, rows))

    def logits(self, checkpoint: str) -> Logits | None:
        """The scale and bias of a checkpoint, or None if they are not known."""
        query = "SELECT logit_scale, logit_bias, checksum FROM checkpoint WHERE digest = ?"
        row = self._file.read(lambda db: db.execute(query, (checkpoint,)).fetchone())
        if row is None or not all(isinstance(number, float) for number in row[:2]):
            return None
        logits = Logits(scale=row[0], bias=row[1])
        return logits if row[2] == _logits_checksum(checkpoint, logits) else None

    def remember_logits(self, checkpoint: str, logits: Logits) -> None:
        """Store the scale and bias of a checkpoint."""
        statement = "INSERT OR REPLACE INTO checkpoint (digest, logit_scale, logit_bias, checksum) VALUES (?, ?, ?, ?)"
        row = (checkpoint, logits.scale, logits.bias, _logits_checksum(checkpoint, logits))
        self._file.write(lambda db: db.execute(statement, row))

    def placement(self, asked: str) -> tuple[str, str] | None:
        """Device and dtype that a choice was last resolved to by torch, or None if it never was."""
        query = "SELECT device, dtype, checksum FROM placement WHERE asked = ?"
        row = self._file.read(lambda db: db.execute(query, (asked,)).fetchone())
        if row is None or not is_sound(row[2], asked.encode(), *row[:2]):
            return None
        return row[0].decode(), row[1].decode()

    def remember_placement(self, asked: str, device: str, dtype: str) -> None:
        """Store the device and dtype that a choice resolves to on this machine."""
        if self.placement(asked) != (device, dtype):
            statement = "INSERT OR REPLACE INTO placement (asked, device, dtype, checksum) VALUES (?, ?, ?, ?)"
            row = (asked, device, dtype)
            checksum = checksum_of(*(text.encode() for text in row))
            self._file.write(lambda db: db.execute(statement, (*row, checksum)))

    def info(self) -> CacheInfo:
        """Describe the content of the cache.

        Raises:
            ClipError: The cache cannot be read; a warning has said why.
        """
        image = self._file.read(lambda db: KindInfo(*kind_figures(db, "image")))
        text = self._file.read(lambda db: KindInfo(*kind_figures(db, "text")))
        files = self._file.read(lambda db: int(db.execute("SELECT count(*) FROM file").fetchone()[0]))
        if image is None or text is None or files is None:
            raise ClipError("the feature cache cannot be read", hint="set CLIPCLI_CACHE_DIR to a folder of your own")
        path = cache_path()
        return CacheInfo(path, _size_on_disk(path), self._limit_bytes, files, image, text)

    def clear(self, kinds: Sequence[Kind]) -> int:
        """Delete all features of the given kinds (with images also the digests of files); returns how many.

        A damaged file that was set aside is deleted too, and so are the files of earlier versions.
        """
        removed = self._file.write(lambda db: sum(clear_kind(db, kind) for kind in kinds))
        self._file.shrink()
        self._file.remove_damaged()
        for file in _earlier_files(cache_path()):
            file.unlink(missing_ok=True)
        return removed or 0

    def close(self) -> None:
        """Close the file; the cache then stores nothing more."""
        self._file.close()

    def _evict(self) -> None:
        if (self._file.read(live_bytes) or 0) <= self._limit_bytes:
            return
        room = self._limit_bytes * _KEPT_OF_LIMIT
        while (self._file.read(live_bytes) or 0) > room and self._file.write(delete_oldest):
            pass
        self._file.shrink()


def open_cache() -> FeatureCache:
    """Open the user's cache; one that cannot be used warns once and stores nothing.

    Raises:
        UsageError: `CLIPCLI_CACHE_MB` is not a number of megabytes.
    """
    limit = os.environ.get("CLIPCLI_CACHE_MB", str(DEFAULT_LIMIT_MB))
    if not limit.isdecimal() or len(limit) > _MOST_DIGITS or int(limit) < 1:
        raise UsageError(f"CLIPCLI_CACHE_MB={limit[:20]} is not a number of megabytes", hint="use 1 or more")
    return FeatureCache(CacheFile(cache_path(), SCHEMA), int(limit) * 2**20)


def cache_path() -> Path:
    """The path of the cache; it need not exist."""
    return cache_folder() / _FILE_NAME


def _logits_checksum(checkpoint: str, logits: Logits) -> int:
    return checksum_of(checkpoint.encode(), struct.pack("<2d", logits.scale, logits.bias))


def _size_on_disk(path: Path) -> int:
    files = [*path.parent.glob(f"{path.name}*"), *_earlier_files(path)]
    return sum(file.stat().st_size for file in files)


def _earlier_files(path: Path) -> list[Path]:
    """Cache files of earlier versions of this program, which this one does not read."""
    return [file for version in _EARLIER for file in path.parent.glob(f"features-{version}.sqlite*")]


def _today() -> int:
    """Days since 1970: the last use is stored by day, so that reading a feature rarely causes a write."""
    return int(time.time() // 86400)


def _path_key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _stamp_bytes(path: str) -> bytes | None:
    try:
        return FileStamp.of(path).to_bytes()
    except OSError:
        return None
