"""Weights that were never hashed: features are used at once and kept once there is a digest to keep them under."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace, open_cache
from clipcli.features.digests import checkpoint_digest, known_checkpoint_digest
from clipcli.features.late import UNIDENTIFIED, LateCache, hash_new_weights

ENTRY = {b"key": CachedFeature(np.ones(4, dtype=np.float32), b"note")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files that were written long ago."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        write(folder / name, name, age_s=100)
    return folder


def write(path: Path, content: str, age_s: float) -> None:
    path.write_text(content)
    when = path.stat().st_mtime - age_s
    os.utime(path, (when, when))


def late(folder: Path, cache: FeatureCache, small_bytes: int = 0) -> LateCache:
    return LateCache(cache, folder, [folder / "model.safetensors"], small_bytes=small_bytes)


def space_of(cache: LateCache) -> FeatureSpace:
    return FeatureSpace("image", cache.identity, "preparation", "cpu float32")


def digest_of(folder: Path) -> str:
    return checkpoint_digest(folder, [folder / "model.safetensors"], FeatureCache.disabled())


def found(cache: FeatureCache, space: FeatureSpace) -> dict[bytes, CachedFeature]:
    return cache.get(space, [b"key", b"other"])


def test_features_are_held_and_then_kept_under_the_digest(folder: Path) -> None:
    kept = open_cache()
    cache = late(folder, kept)
    space = space_of(cache)
    assert space.checkpoint == UNIDENTIFIED
    assert not found(cache, space)
    cache.put(space, ENTRY)
    assert found(cache, space) == ENTRY
    named = replace(space, checkpoint=digest_of(folder))
    assert not found(kept, named)
    cache.settle()
    assert found(kept, named)[b"key"].note == b"note"
    cache.put(space, {b"other": ENTRY[b"key"]})
    assert set(found(cache, space)) == set(found(kept, named)) == {b"key", b"other"}
    assert late(folder, kept).identity == named.checkpoint  # known from now on


def test_nothing_is_hashed_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.features.late.checkpoint_digest", lambda *_: pytest.fail("hashed"))
    cache = late(folder, open_cache())
    assert not found(cache, space_of(cache))
    cache.settle()


def test_weights_that_change_meanwhile_leave_nothing(folder: Path) -> None:
    kept = open_cache()
    cache = late(folder, kept)
    space = space_of(cache)
    cache.put(space, ENTRY)
    write(folder / "model.safetensors", "other weights!!!!", age_s=50)
    cache.settle()
    assert not found(kept, replace(space, checkpoint=digest_of(folder)))


def test_weights_that_vanish_meanwhile(folder: Path) -> None:
    cache = late(folder, open_cache())
    cache.put(space_of(cache), ENTRY)
    shutil.rmtree(folder)
    cache.settle()
    assert open_cache().info().image.features == 0


def test_young_or_small_weights_are_hashed_at_once(folder: Path) -> None:
    assert late(folder, open_cache(), small_bytes=10**6).identity == digest_of(folder)
    (folder / "model.safetensors").write_text("just now")
    assert late(folder, open_cache()).identity == digest_of(folder)


def test_fetched_weights_are_known_before_they_are_used(folder: Path) -> None:
    weights = [folder / "model.safetensors"]
    hash_new_weights(open_cache(), folder, weights)  # few bytes: nobody waits for these
    assert known_checkpoint_digest(folder, weights, open_cache()) is None
    hash_new_weights(open_cache(), folder, weights, small_bytes=0)
    assert known_checkpoint_digest(folder, weights, open_cache()) == digest_of(folder)


def test_many_features_are_not_held(folder: Path) -> None:
    kept = open_cache()
    cache = late(folder, kept)
    space = space_of(cache)
    cache.put(space, {str(i).encode(): ENTRY[b"key"] for i in range(2000)})
    assert len(kept.get(replace(space, checkpoint=digest_of(folder)), [b"0", b"1999"])) == 2


def test_a_process_keeps_its_features_when_it_ends(clip_checkpoint: Path, tmp_path: Path) -> None:
    code = """
import sys
from clipcli.features import late
late.LateCache.__init__.__kwdefaults__["small_bytes"] = 0
import clipcli
model = clipcli.load(sys.argv[1])
model.encode_texts(["a cat"])
print(model.encoders.cache.identity, model.cache.info().text.features)
"""
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "copy"))
    for path in folder.iterdir():
        os.utime(path, (10**9, 10**9))
    command = [sys.executable, "-c", code, str(folder)]
    lines = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert lines[0] == [UNIDENTIFIED, "0"]
    assert lines[1] == [checkpoint_digest(folder, [folder / "model.safetensors"], FeatureCache.disabled()), "1"]
