"""Feature caches that are damaged on disk: bytes, pages, rows, types, files that come and go.

What is held: a cached feature is served as it was written or not at all, and nothing is raised; after it was computed
again it is found again, in this run or, where the file had to be given up, in the next.
"""

import os
import random
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipcli.errors import ClipError, ClipWarning
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace, cache_path, open_cache
from clipcli.files import FileStamp
from clipcli.scoring import Logits
from tests.torture import campaign

SPACES = [FeatureSpace("image", "a" * 64, "p", "cpu float32"), FeatureSpace("text", "b" * 64, "p", "cpu float32")]
LOGITS = Logits(scale=100.0, bias=-10.0)
COUNT, WIDTH = 60, 64
Damage = Callable[[random.Random, Path], None]


def trial(rng: random.Random, folder: Path) -> str:
    """One cache."""
    with campaign.variables(CLIPCLI_CACHE_DIR=str(folder / "cache")), warnings.catch_warnings():
        warnings.simplefilter("ignore", ClipWarning)
        return _damage_and_use(rng, folder)


def _damage_and_use(rng: random.Random, folder: Path) -> str:
    image = folder / "a.jpg"
    image.write_bytes(b"image")
    os.utime(image, (10**9, 10**9))
    cache = open_cache()
    _fill(cache, image)
    cache.close()
    damage = rng.choice([_bytes, _bytes, _page, _row, _row, _type, _type, _cut, _side_file, _schema])
    damage(rng, cache_path())
    served = 0
    for _ in range(3):  # a damaged file may only be noticed when it is written
        cache = open_cache()
        served = _check(cache, image)
        try:
            cache.info()
        except ClipError:
            pass
        _fill(cache, image)
        cache.close()
    cache = open_cache()
    if cache.usable and _check(cache, image) < 2 * COUNT:
        raise AssertionError(f"{served} of {2 * COUNT} features are served after they were written three times")
    cache.clear(["image", "text"])
    cache.close()
    return damage.__name__.strip("_")


def _feature(space: int, number: int) -> CachedFeature:
    return CachedFeature(
        np.random.default_rng((space, number)).standard_normal(WIDTH).astype(np.float32), b"note %d" % number
    )


def _key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _fill(cache: FeatureCache, image: Path) -> None:
    for i, space in enumerate(SPACES):
        cache.put(space, {_key(number): _feature(i, number) for number in range(COUNT)})
    cache.remember_digests([(str(image), FileStamp.of(image), b"digest")])
    cache.remember_logits("c" * 64, LOGITS)
    cache.remember_placement("auto", "cpu", "float32")


def _check(cache: FeatureCache, image: Path) -> int:
    served = 0
    for i, space in enumerate(SPACES):
        for key, found in cache.get(space, [_key(number) for number in range(COUNT)]).items():
            wanted = _feature(i, int.from_bytes(key, "big"))
            if found.features.tobytes() != wanted.features.tobytes() or found.note != wanted.note:
                raise AssertionError(f"feature {key.hex()} is served otherwise than it was written")
            served += 1
    if cache.known_digests([str(image)]) not in ([None], [b"digest"]):
        raise AssertionError("another digest")
    if cache.logits("c" * 64) not in (None, LOGITS):
        raise AssertionError("other logits")
    if cache.placement("auto") not in (None, ("cpu", "float32")):
        raise AssertionError("another device")
    return served


def _bytes(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 20, 300])):
        data[rng.randrange(rng.choice([100, 16384, len(data)]))] = rng.randrange(256)
    path.write_bytes(data)


def _page(rng: random.Random, path: Path) -> None:
    """A page of zeros, of noise, or of another place."""
    data = bytearray(path.read_bytes())
    size = rng.choice([512, 4096, 16384])
    at, other = (rng.randrange(len(data) // size) * size for _ in range(2))
    data[at : at + size] = rng.choice([bytes(size), rng.randbytes(size), data[other : other + size]])
    path.write_bytes(data)


def _row(rng: random.Random, path: Path) -> None:
    """Values of the right type."""
    table, column = rng.choice([("feature", "value"), ("feature", "note"), ("feature", "key"), ("file", "digest")])
    with sqlite3.connect(path) as db:
        rows = db.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        for row_id, value in rng.sample(rows, min(len(rows), rng.randint(1, 20))):
            changed = bytearray(value)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            changed = changed[: rng.choice([len(changed), len(changed), rng.randrange(len(changed))])]
            db.execute(f"UPDATE OR REPLACE {table} SET {column} = ? WHERE rowid = ?", (bytes(changed), row_id))


def _type(rng: random.Random, path: Path) -> None:
    """Values of any type, anywhere."""
    columns = {
        "feature": ["space", "key", "value", "note", "checksum", "used"],
        "file": ["path", "stamp", "digest", "checksum", "used"],
        "checkpoint": ["logit_scale", "logit_bias", "checksum"],
        "placement": ["device", "dtype", "checksum"],
        "lookup": ["hits", "misses"],
        "space": ["kind", "name"],
    }
    with sqlite3.connect(path) as db:
        for _ in range(rng.randint(1, 4)):
            table = rng.choice(list(columns))
            value = rng.choice(["text", "", b"", b"\xff", 7, -1, 2**63 - 1, 1.5, 1e308, float("inf"), "9" * 500])
            where = rng.choice(["", " WHERE rowid % 7 = 3"]) if table in ("feature", "file") else ""
            db.execute(f"UPDATE OR REPLACE {table} SET {rng.choice(columns[table])} = ?{where}", (value,))


def _cut(rng: random.Random, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.choice([0, 1, 16, 99, 100, rng.randrange(len(data))])])


def _side_file(rng: random.Random, path: Path) -> None:
    """A journal of another database, or of none."""
    content = rng.choice([rng.randbytes(5000), bytes(5000), bytes.fromhex("377f0682") + rng.randbytes(4092)])
    Path(f"{path}{rng.choice(['-wal', '-shm', '-journal'])}").write_bytes(content)


def _schema(rng: random.Random, path: Path) -> None:
    """Other tables than ours."""
    statements = [
        "DROP TABLE feature", "DROP TABLE file", "DROP TABLE lookup", "DROP TABLE space", "DROP TABLE placement",
        "ALTER TABLE feature RENAME COLUMN note TO remark", "ALTER TABLE file RENAME TO files", "DELETE FROM space",
        "PRAGMA application_id = 1", "PRAGMA user_version = 9", "DROP INDEX feature_used", "DELETE FROM lookup",
        "CREATE TRIGGER t AFTER INSERT ON feature BEGIN DELETE FROM feature; END",
        "UPDATE space SET id = 3 - id WHERE id > 100", "CREATE TABLE bookmarks (url TEXT)",
    ]  # fmt: skip
    with sqlite3.connect(path) as db:
        db.execute(rng.choice(statements))
