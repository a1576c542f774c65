import hashlib
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipcli.errors import ClipWarning, DamagedModelError, UsageError
from clipcli.features import cache as feature_cache
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace, cache_path, open_cache
from clipcli.features.cache_file import CacheFile
from clipcli.features.digests import (
    checkpoint_digest,
    content_digest,
    file_digest,
    known_checkpoint_digest,
    texts_digest,
    tokens_digest,
)
from clipcli.files import FileStamp
from clipcli.scoring import Logits

SPACE = FeatureSpace("image", "checkpoint", "preparation", "cpu float32")
DAY_S = 86400


def features(seed: int, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def key(i: int) -> bytes:
    return i.to_bytes(32, "big")


def entries(*numbers: int, width: int = 8) -> dict[bytes, CachedFeature]:
    return {key(i): CachedFeature(features(i, width)) for i in numbers}


def write_settled(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def cache() -> FeatureCache:
    return open_cache()


@pytest.fixture(autouse=True)
def no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ClipWarning)
        yield


def test_features_come_back_bit_for_bit_in_another_cache_object(cache: FeatureCache) -> None:
    cache.put(SPACE, {key(1): CachedFeature(features(1), b"note"), key(2): CachedFeature(features(2))})
    found = open_cache().get(SPACE, [key(2), key(3), key(1), key(1)])
    assert found.keys() == {key(1), key(2)}
    assert found[key(1)].features.tobytes() == features(1).tobytes()
    assert found[key(2)].features.tobytes() == features(2).tobytes()
    assert (found[key(1)].note, found[key(2)].note) == (b"note", b"")


def test_more_keys_than_one_statement_takes(cache: FeatureCache) -> None:
    cache.put(SPACE, entries(*range(1234)))
    found = cache.get(SPACE, [key(i) for i in range(2000)])
    assert found.keys() == {key(i) for i in range(1234)}
    assert all(found[key(i)].features[0] == features(i)[0] for i in range(1234))


@pytest.mark.parametrize("part", ["kind", "checkpoint", "preparation", "numerics", "version"])
def test_every_part_of_the_space_keeps_features_apart(cache: FeatureCache, part: str) -> None:
    cache.put(SPACE, entries(1))
    assert cache.get(replace(SPACE, **{part: "text"}), [key(1)]) == {}
    assert cache.get(SPACE, [key(1)]).keys() == {key(1)}


def test_the_later_feature_counts(cache: FeatureCache) -> None:
    cache.put(SPACE, {key(1): CachedFeature(features(1))})
    cache.put(SPACE, {key(1): CachedFeature(features(2))})
    assert cache.get(SPACE, [key(1)])[key(1)].features.tobytes() == features(2).tobytes()
    assert cache.info().image.features == 1


def test_logits_and_placement(cache: FeatureCache) -> None:
    assert cache.logits("a") is None and cache.placement("auto") is None
    cache.remember_logits("a", Logits(100.00000762939453, -12.75))
    cache.remember_placement("auto", "cpu", "float32")
    cache.remember_placement("auto", "cuda:0", "float16")
    again = open_cache()
    assert again.logits("a") == Logits(100.00000762939453, -12.75)
    assert again.logits("b") is None
    assert again.placement("auto") == ("cuda:0", "float16")


def test_info_counts_features_bytes_hits_and_misses(cache: FeatureCache) -> None:
    cache.put(SPACE, entries(1, 2, 3))
    cache.put(replace(SPACE, kind="text"), entries(1, width=4))
    cache.get(SPACE, [key(1), key(2), key(9)])
    cache.get(SPACE, [key(1)])
    info = open_cache().info()
    assert (info.image.features, info.image.size_bytes, info.image.hits, info.image.misses) == (3, 3 * 32, 3, 1)
    assert (info.text.features, info.text.size_bytes, info.text.hits, info.text.misses) == (1, 16, 0, 0)
    assert info.path == cache_path() and info.size_bytes > 0 and info.limit_bytes == 2048 * 2**20


def test_clear_forgets_one_kind_and_leaves_the_other(cache: FeatureCache, tmp_path: Path) -> None:
    text = replace(SPACE, kind="text")
    cache.put(SPACE, entries(1, 2))
    cache.put(text, entries(1))
    image = write_settled(tmp_path / "a.jpg", b"a")
    cache.remember_digests([(str(image), FileStamp.of(image), b"d")])
    assert cache.clear(["text"]) == 1
    assert cache.get(text, [key(1)]) == {} and len(cache.get(SPACE, [key(1), key(2)])) == 2
    assert cache.known_digests([str(image)]) == [b"d"]
    assert cache.clear(["image"]) == 2
    assert cache.get(SPACE, [key(1)]) == {} and cache.known_digests([str(image)]) == [None]


def test_clear_removes_what_earlier_versions_left(cache: FeatureCache) -> None:
    cache.put(SPACE, entries(1))
    old = [cache_path().with_name(name) for name in ("features-1.sqlite", "features-2.sqlite-wal")]
    newer = cache_path().with_name("features-9.sqlite")
    for file in (*old, newer):
        file.write_bytes(bytes(10**6))
    assert cache.info().size_bytes > 2 * 10**6
    cache.clear(["image", "text"])
    assert [file.exists() for file in (*old, newer)] == [False, False, True]
    assert cache.info().size_bytes < 10**6


def test_clear_gives_the_room_back(cache: FeatureCache) -> None:
    cache.put(SPACE, entries(*range(2000), width=512))
    before = cache.info().size_bytes
    cache.clear(["image", "text"])
    assert before > 4_000_000 and cache.info().size_bytes < 500_000


def test_a_disabled_cache_keeps_nothing_and_makes_no_file() -> None:
    cache = FeatureCache.disabled()
    cache.put(SPACE, entries(1))
    cache.remember_logits("a", Logits(1.0))
    assert cache.get(SPACE, [key(1)]) == {} and cache.logits("a") is None
    assert cache.known_digests(["a"]) == [None] and not cache.usable
    assert not cache_path().parent.exists()


def test_folder_and_limit_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("CLIPCLI_CACHE_MB", "7")
    assert open_cache().info().limit_bytes == 7 * 2**20
    assert cache_path().parent == tmp_path / "mine" and cache_path().exists()
    for limit in ("2 GB", "9" * 5000, "0", "-1", "1.5"):
        monkeypatch.setenv("CLIPCLI_CACHE_MB", limit)
        with pytest.raises(UsageError, match="CLIPCLI_CACHE_MB"):
            open_cache()


class TestEviction:
    def test_the_least_recently_used_go_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLIPCLI_CACHE_MB", "4")
        cache = open_cache()
        day = {"now": 100.0 * DAY_S}
        monkeypatch.setattr(feature_cache.time, "time", lambda: day["now"])
        cache.put(SPACE, entries(*range(0, 2000), width=128))
        day["now"] += DAY_S
        cache.put(SPACE, entries(*range(2000, 4000), width=128))
        day["now"] += DAY_S
        assert len(cache.get(SPACE, [key(i) for i in range(800)])) == 800
        cache.put(SPACE, entries(*range(4000, 8000), width=128))
        found = {int.from_bytes(k, "big") for k in cache.get(SPACE, [key(i) for i in range(8000)])}
        assert set(range(800)) <= found, "features read lately were thrown away"
        assert not found & set(range(800, 2000)) and set(range(6000, 8000)) <= found
        assert cache.info().size_bytes < 6 * 2**20

    def test_digests_of_files_not_seen_for_long_go_too(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CLIPCLI_CACHE_MB", "2")
        cache = open_cache()
        monkeypatch.setattr(feature_cache.time, "time", lambda: 100.0 * DAY_S)
        old, seen = (write_settled(tmp_path / name, b"x") for name in ("old", "seen"))
        os.utime(old, (0, 0)), os.utime(seen, (0, 0))
        cache.remember_digests([(str(path), FileStamp.of(path), b"d") for path in (old, seen)])
        monkeypatch.setattr(feature_cache.time, "time", lambda: 101.0 * DAY_S)
        assert cache.known_digests([str(seen)]) == [b"d"]
        cache.put(SPACE, entries(*range(2000), width=512))
        assert cache.known_digests([str(old), str(seen)]) == [None, b"d"]


class TestChecksums:
    """SQLite notices damage to its structures, not to what is in them."""

    @pytest.mark.parametrize("column", ["value", "note", "checksum"])
    @pytest.mark.parametrize("put", ["zeroblob(32)", "x'00'", "7", "1.5", "'text'", "1e300", "x''"])
    def test_what_is_not_as_it_was_written_is_a_miss_and_written_again(self, column: str, put: str) -> None:
        cache = open_cache()
        cache.put(SPACE, {key(1): CachedFeature(features(1), b"note"), key(2): CachedFeature(features(2), b"note")})
        change(f"UPDATE feature SET {column} = {put} WHERE key = ?", key(1))
        assert cache.get(SPACE, [key(1), key(2)]).keys() == {key(2)}
        cache.put(SPACE, {key(1): CachedFeature(features(1), b"note")})
        assert cache.get(SPACE, [key(1)])[key(1)].features.tobytes() == features(1).tobytes()

    def test_each_bit_of_a_feature_counts(self) -> None:
        cache = open_cache()
        cache.put(SPACE, entries(1))
        good = features(1).tobytes()
        for bit in range(len(good) * 8):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            change("UPDATE feature SET value = ?", bytes(bad))
            assert cache.get(SPACE, [key(1)]) == {}, bit

    def test_a_feature_that_has_come_under_another_key_or_space(self) -> None:
        cache, other = open_cache(), replace(SPACE, checkpoint="other")
        cache.put(SPACE, entries(1, 2))
        cache.put(other, entries(3))
        change("UPDATE feature SET key = ? WHERE key = ?", key(9), key(1))
        change("UPDATE feature SET space = (SELECT space FROM feature WHERE key = ?) WHERE key = ?", key(3), key(2))
        assert cache.get(SPACE, [key(9)]) == {} and cache.get(other, [key(2)]) == {}
        assert cache.get(other, [key(3)]).keys() == {key(3)}

    def test_the_digest_of_a_file(self, tmp_path: Path) -> None:
        cache = open_cache()
        path = write_settled(tmp_path / "a.jpg", b"abc")
        cache.remember_digests([(str(path), FileStamp.of(path), content_digest(b"abc"))])
        for bad in (content_digest(b"abd"), 5, "text", b""):
            change("UPDATE file SET digest = ?", bad)
            assert cache.known_digests([str(path)]) == [None]

    @pytest.mark.parametrize("bad", [7.5, "text", b"bytes", -1])
    def test_what_else_a_run_relies_on(self, bad: object) -> None:
        cache = open_cache()
        cache.remember_logits("a", Logits(scale=100.0, bias=-10.0))
        cache.remember_placement("auto", "cpu", "float32")
        change("UPDATE checkpoint SET logit_scale = ?", bad)
        change("UPDATE placement SET dtype = ?", bad)
        change("INSERT OR REPLACE INTO lookup VALUES ('image', ?, ?)", bad, bad)
        assert cache.logits("a") is None and cache.placement("auto") is None
        assert isinstance(cache.info().image.hits, int)


def change(statement: str, *values: object) -> None:
    with sqlite3.connect(cache_path()) as db:
        db.execute(statement, values)


class TestFileDigests:
    def test_an_unchanged_file_is_known_without_being_opened(self, cache: FeatureCache, tmp_path: Path) -> None:
        path = write_settled(tmp_path / "a.jpg", b"abc")
        cache.remember_digests([(str(path), FileStamp.of(path), content_digest(b"abc"))])
        path.chmod(0)  # changes ctime, so ask for the stamp that has it
        assert cache.known_digests([str(path)]) == [None]
        cache.remember_digests([(str(path), FileStamp.of(path), content_digest(b"abc"))])
        assert cache.known_digests([str(path), str(tmp_path / "b.jpg")]) == [content_digest(b"abc"), None]

    def test_the_path_may_be_spelled_otherwise(
        self, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_settled(tmp_path / "a.jpg", b"abc")
        cache.remember_digests([(str(path), FileStamp.of(path), b"d")])
        monkeypatch.chdir(tmp_path)
        assert cache.known_digests(["a.jpg", "./a.jpg"]) == [b"d", b"d"]

    def test_names_that_are_not_utf8(self, cache: FeatureCache, tmp_path: Path) -> None:
        path = write_settled(tmp_path / os.fsdecode(b"a\xff\n.jpg"), b"abc")
        cache.remember_digests([(str(path), FileStamp.of(path), b"d")])
        assert cache.known_digests([str(path)]) == [b"d"]

    def test_any_change_is_seen(self, cache: FeatureCache, tmp_path: Path) -> None:
        def rewritten_with_old_times(path: Path) -> None:
            status = path.stat()
            path.write_bytes(b"abd")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

        def replaced(path: Path) -> None:
            other = path.with_name("other")
            other.write_bytes(b"abd")
            os.replace(other, path)

        changes = [
            lambda path: path.write_bytes(b"abcd"),
            lambda path: os.utime(path, ns=(10**18, 10**18 + 1)),
            rewritten_with_old_times,
            replaced,
            Path.unlink,
        ]
        for number, change in enumerate(changes):
            path = write_settled(tmp_path / str(number), b"abc")
            cache.remember_digests([(str(path), FileStamp.of(path), b"d")])
            assert cache.known_digests([str(path)]) == [b"d"]
            change(path)
            assert cache.known_digests([str(path)]) == [None], number

    def test_a_file_changed_moments_ago_is_not_trusted(self, cache: FeatureCache, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(b"abc")
        cache.remember_digests([(str(path), FileStamp.of(path), b"d")])
        assert cache.known_digests([str(path)]) == [None]


class TestDigests:
    def test_texts_have_distinct_digests(self) -> None:
        groups = [["ab"], ["a", "b"], ["b", "a"], ["a", ""], ["", "a"], ["a"], ["A"], [], ["\udcff"]]
        assert len({texts_digest(group) for group in groups}) == len(groups)

    def test_tokens_are_a_set(self) -> None:
        assert tokens_digest([(1, 2), (3,)]) == tokens_digest([[3], [1, 2], [3]])
        assert len({tokens_digest(ids) for ids in ([(1, 2)], [(1,), (2,)], [(12,)], [(2, 1)])}) == 4

    @pytest.mark.parametrize("size", [0, 1, 2**24, 2**24 + 5])
    def test_files_are_hashed_whole_whatever_the_stride(self, size: int, tmp_path: Path) -> None:
        config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
        config.write_bytes(b"{}")
        weights.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
        expected = hashlib.sha256(b"{}" + hashlib.sha256(weights.read_bytes()).digest()).hexdigest()
        assert checkpoint_digest(tmp_path, [weights], FeatureCache.disabled()) == expected

    def test_a_file_without_end_is_hashed_as_far_as_it_says(self) -> None:
        assert file_digest("/dev/zero") == hashlib.sha256().digest()

    def test_checkpoint_depends_on_config_and_weights(self, cache: FeatureCache, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        weights = write_settled(tmp_path / "model.safetensors", b"weights")
        first = checkpoint_digest(tmp_path, [weights], cache)
        assert checkpoint_digest(tmp_path, [weights], FeatureCache.disabled()) == first
        write_settled(weights, b"weightz")
        second = checkpoint_digest(tmp_path, [weights], cache)
        (tmp_path / "config.json").write_text('{"hidden_act": "gelu"}')
        assert len({first, second, checkpoint_digest(tmp_path, [weights], cache)}) == 3

    def test_weights_are_read_once(self, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config.json").write_text("{}")
        weights = write_settled(tmp_path / "model.safetensors", b"weights")
        first = checkpoint_digest(tmp_path, [weights], cache)
        monkeypatch.setattr("clipcli.features.digests.file_digest", lambda _: pytest.fail("read again"))
        assert checkpoint_digest(tmp_path, [weights], open_cache()) == first

    def test_the_name_of_a_link_is_not_believed(self, cache: FeatureCache, tmp_path: Path) -> None:
        """A folder that somebody hands over would otherwise poison the features of any model it claims to be."""
        snapshot, blobs = tmp_path / "snapshots" / "1", tmp_path / "blobs"
        for folder in (snapshot, blobs):
            folder.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        name = content_digest(b"weights").hex()
        write_settled(blobs / name, b"weights")
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{name}")
        whole = checkpoint_digest(snapshot, [snapshot / "model.safetensors"], cache)
        write_settled(blobs / name, b"poisons")
        assert checkpoint_digest(snapshot, [snapshot / "model.safetensors"], cache) != whole
        write_settled(blobs / name, b"weights")  # fixed
        assert checkpoint_digest(snapshot, [snapshot / "model.safetensors"], cache) == whole

    def test_a_blob_is_read_once_for_all_its_links(
        self, cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blob = write_settled(tmp_path / "blob", b"weights")
        digests = []
        for name in ("1", "2"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text("{}")
            (tmp_path / name / "model.safetensors").symlink_to(blob)
            assert (known_checkpoint_digest(tmp_path / name, [blob], cache) is None) == (name == "1")
            digests.append(checkpoint_digest(tmp_path / name, [tmp_path / name / "model.safetensors"], cache))
            monkeypatch.setattr("clipcli.features.digests.file_digest", lambda _: pytest.fail("read again"))
        assert digests[0] == digests[1] == known_checkpoint_digest(tmp_path / "1", [blob], cache)

    def test_a_missing_file_is_named(self, cache: FeatureCache, tmp_path: Path) -> None:
        with pytest.raises(DamagedModelError, match=r"config\.json"):
            checkpoint_digest(tmp_path, [], cache)


def damage_text(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20000])


def damage_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[16384:] = b"\xff" * (len(data) - 16384)
    path.write_bytes(data)


def damage_tables(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE feature")


def damage_schema(path: Path) -> None:
    """What SQLite says of it is not UTF-8."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE file", b"CREATE \xd4ABLE file"))


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


class TestBadFiles:
    @pytest.mark.parametrize(
        "damage", [damage_text, damage_truncated, damage_pages, damage_tables, damage_schema, foreign]
    )
    def test_is_set_aside_with_one_warning_and_replaced(self, damage) -> None:
        cache = open_cache()
        cache.put(SPACE, entries(*range(500), width=64))
        cache.close()
        damage(cache_path())
        content = cache_path().read_bytes()
        with pytest.warns(ClipWarning, match=r"features-3\.sqlite\.damaged") as caught:
            cache = open_cache()
            assert cache.get(SPACE, [key(1)]) == {}
            cache.put(SPACE, entries(2))
        assert len(caught) == 1
        assert cache.get(SPACE, [key(2)]).keys() == {key(2)}
        assert open_cache().get(SPACE, [key(2)]).keys() == {key(2)}
        assert Path(f"{cache_path()}.damaged").read_bytes()[100:10000] == content[100:10000]
        cache.clear(["image", "text"])
        assert not Path(f"{cache_path()}.damaged").exists()

    def test_an_empty_file_is_a_new_cache(self) -> None:
        cache_path().parent.mkdir(parents=True)
        cache_path().touch()
        cache = open_cache()
        cache.put(SPACE, entries(1))
        assert cache.get(SPACE, [key(1)]).keys() == {key(1)}

    def test_a_good_file_that_another_process_put_in_place_stays(self) -> None:
        cache = open_cache()
        cache.put(SPACE, entries(1))
        other = open_cache()
        with pytest.warns(ClipWarning):
            cache._file._replace("is damaged")
        cache.put(SPACE, entries(2))
        other._file._replace("is damaged")  # finds a file that is not the one it opened: no warning, no renaming
        assert open_cache().get(SPACE, [key(2)]).keys() == {key(2)}

    @pytest.mark.parametrize("what", ["a file in place of the folder", "a folder in place of the file"])
    def test_what_cannot_be_opened_is_given_up_with_one_warning(
        self, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))
        if what.startswith("a file"):
            (tmp_path / "cache").write_text("")
        else:
            cache_path().mkdir(parents=True)
        with pytest.warns(ClipWarning, match=re.escape(str(cache_path()))) as caught:
            cache = open_cache()
            cache.put(SPACE, entries(1))
            assert cache.get(SPACE, [key(1)]) == {} and not cache.usable
        assert len(caught) == 1

    def test_a_full_disk_ends_remembering_but_not_the_run(self) -> None:
        cache = open_cache()
        cache.put(SPACE, entries(1))
        pages = cache._file.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        cache._file.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
        with pytest.warns(ClipWarning, match="full") as caught:
            cache.put(SPACE, entries(*range(2, 500), width=512))
            cache.put(SPACE, entries(501))
            assert cache.get(SPACE, [key(1)]) == {}
        assert len(caught) == 1
        assert open_cache().get(SPACE, [key(i) for i in range(500)]).keys() == {key(1)}, "all or nothing"

    def test_a_lock_that_is_never_released(self) -> None:
        file = CacheFile(cache_path(), "CREATE TABLE feature (key BLOB)", patience_s=0.1)
        blocker = sqlite3.connect(cache_path(), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.warns(ClipWarning, match="locked"):
            assert file.write(lambda db: db.execute("INSERT INTO feature VALUES (?)", (key(1),))) is None
        blocker.close()
        assert Path(cache_path()).exists() and not Path(f"{cache_path()}.damaged").exists()


def fill(number: int, count: int) -> None:
    warnings.simplefilter("error")
    cache = open_cache()
    for start in range(0, count, 10):
        cache.put(SPACE, entries(*range(number * 10**6 + start, number * 10**6 + start + 10)))
        cache.get(SPACE, [key(start)])


def test_processes_fill_one_new_cache_at_once() -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(number, 200)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert open_cache().info().image.features == 4 * 200
    assert open_cache().info().image.hits + open_cache().info().image.misses == 4 * 20


def test_kill_in_the_middle_of_writing_leaves_a_cache_that_opens() -> None:
    code = "from tests.unit.test_feature_cache import fill; fill(1, 10**6)"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (cache_path().exists() and _count_features() > 50):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cache = open_cache()
    count = cache.info().image.features
    assert count > 50 and count % 10 == 0, "a batch was written in part"
    assert len(cache.get(SPACE, [key(10**6 + i) for i in range(count)])) == count
    cache.put(SPACE, entries(7))


def _count_features() -> int:
    try:
        with sqlite3.connect(cache_path()) as db:
            return db.execute("SELECT count(*) FROM feature").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_threads_share_one_cache(cache: FeatureCache) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> int:
        cache.put(SPACE, entries(*range(number * 100, number * 100 + 20)))
        return len(cache.get(SPACE, [key(number * 100 + i) for i in range(100)]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [20] * 16


def test_neither_the_cache_nor_the_digests_import_torch() -> None:
    code = (
        "import sys; from clipcli.features.cache import open_cache; import clipcli.features.digests; "
        "open_cache().info(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
