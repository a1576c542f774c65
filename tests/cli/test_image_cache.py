"""Image features are remembered: what a second run needs, what it does not trust, and what disturbs it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import clipcli
from tests.cli.conftest import Clip, Program

LONG_AGO_S = 10**9
NO_TORCH = """
import sys
from clipcli.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {"torch", "tokenizers"} & {*sys.modules}, "a remembered run imported what it does not need"
"""


@pytest.fixture
def album(images: Path, tmp_path: Path) -> Path:
    """Images of one's own, that did not change lately."""
    folder = tmp_path / "album"
    shutil.copytree(images, folder)
    for path in folder.iterdir():
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counts(clip: Clip) -> tuple[int, int, int]:
    image = json.loads(clip("cache", "info", "--json").stdout)["results"][0]["image"]
    return image["features"], image["hits"], image["misses"]


@pytest.mark.usefixtures("cache")
def test_the_limit_on_pixels_guards_decoding_not_what_is_remembered(clip: Clip, album: Path) -> None:
    def status(*more: str) -> list[str]:
        outcome = clip("classify", album / "a.png", "-l", "cat,dog", *more)
        return [row["error"]["type"] if "error" in row else row["status"] for row in outcome.rows]

    small = ("--max-megapixels", "0.001")
    assert status(*small) == ["ImageTooLarge"]
    assert status() == ["ok"]
    assert status(*small) == ["ok"]
    assert status(*small, "--no-cache") == ["ImageTooLarge"]


def test_a_remembered_run_imports_no_torch_and_prints_the_same(
    clip: Clip, cache: Path, album: Path, clip_checkpoint: Path
) -> None:
    arguments = ["classify", str(album), "--labels", "cat,dog", "-m", str(clip_checkpoint)]
    first = clip(*arguments)
    again = subprocess.run([sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def test_other_labels_need_no_images(clip: Clip, cache: Path, album: Path) -> None:
    clip("classify", album, "--labels", "cat,dog")
    assert counts(clip) == (3, 0, 3)
    assert clip("classify", album, "--labels", "bird,cow").status == 0
    assert counts(clip) == (3, 3, 3)


def test_decoding_options_are_part_of_the_key(clip: Clip, cache: Path, album: Path) -> None:
    clip("classify", album, "--labels", "cat,dog")
    for flags in (["--no-exif"], ["--exact-decode"], ["--alpha", "drop"], ["--dtype", "int8"]):
        hits = counts(clip)[1]
        clip("classify", album, "--labels", "cat,dog", *flags)
        assert counts(clip)[1] == hits, flags


def test_python_finds_what_the_command_remembered(clip: Clip, cache: Path, album: Path, clip_checkpoint: Path) -> None:
    clip("classify", album, "--labels", "cat,dog")
    clipcli.load(str(clip_checkpoint)).encode_images(sorted(album.iterdir()))
    assert counts(clip) == (3, 3, 3)


def test_a_changed_image_is_read_again(clip: Clip, cache: Path, album: Path) -> None:
    before = clip("classify", album, "--labels", "cat,dog").rows
    Image.new("RGB", (40, 48), "white").save(album / "a.png")
    after = clip("classify", album, "--labels", "cat,dog").rows
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_bad_images_are_rows_with_an_error_every_time(clip: Clip, cache: Path, album: Path) -> None:
    (album / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    Image.new("RGB", (40, 48), "orange").save(album / "line\nbreak.png")
    (album / "gone.png").symlink_to(album / "nowhere.png")
    first, again = (clip("classify", album, "--labels", "cat,dog") for _ in range(2))
    assert (first.status, again.status) == (3, 3)
    assert first.rows == again.rows
    assert sum(row["status"] == "error" for row in again.rows) == 2


def test_a_cache_that_cannot_be_written_costs_one_warning(clip: Clip, album: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = clip("classify", album, "--labels", "cat,dog", CLIPCLI_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert result.status == 0
    assert len(result.rows) == 3
    assert result.stderr.count("feature cache") == 1


def test_a_full_disk_costs_one_warning(clip: Clip, cache: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite reports a limit on its pages as it reports a full disk."""
    connect = sqlite3.connect

    def limited(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 1")
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", limited)
    result = clip("classify", album, "--labels", "cat,dog")
    assert result.status == 0
    assert len(result.rows) == 3
    assert result.stderr.count("feature cache") == 1


def test_two_processes_fill_one_cache(program: Program, clip: Clip, cache: Path, album: Path) -> None:
    both = [program("classify", album, "--labels", "cat,dog") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    # Which images shared a batch decides the last digit of a feature, and a cache between the two decides that.
    first, second = ([json.loads(line) for line in stdout.splitlines()] for stdout, _ in outputs)
    for one, other in zip(first, second, strict=True):
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    assert counts(clip)[0] == 3


def test_a_killed_run_leaves_a_cache_that_opens(program: Program, clip: Clip, cache: Path, album: Path) -> None:
    for i in range(300):
        Image.new("RGB", (40, 48), (i % 256, i // 256, 0)).save(album / f"{i}.png")
    running = program("classify", album, "--labels", "cat,dog")
    assert running.stdout is not None
    running.stdout.readline()  # in the middle of it
    running.send_signal(signal.SIGKILL)
    running.communicate()
    begin = time.monotonic()
    result = clip("classify", album, "--labels", "cat,dog")
    assert (result.status, len(result.rows)) == (0, 303)
    assert "warning" not in result.stderr
    assert time.monotonic() - begin < 60  # no lock of the dead is waited for


def test_a_limit_on_pixels_does_not_part_what_is_remembered(clip: Clip, cache: Path, album: Path) -> None:
    clip("classify", album, "--labels", "cat,dog")
    clip("classify", album, "--labels", "cat,dog", "--max-megapixels", "300")
    assert counts(clip) == (3, 3, 3)
