"""Many images, some of them damaged, in folders that change and caches that others use: each gets its row."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipcli.images import prepare
from tests.cli.conftest import Clip, Program
from tests.helpers.bad_images import bomb, dangling_link, empty, may_not_read_everything, text_named_jpg, truncated
from tests.helpers.checkpoints import write_clip


def noise_with_the_start_of_a_png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (text_named_jpg, "UnreadableImage"),
    (truncated, "UnreadableImage"),
    (empty, "UnreadableImage"),
    (bomb, "ImageTooLarge"),
    (dangling_link, "MissingFile"),
    (noise_with_the_start_of_a_png, "UnreadableImage"),
]


def fill(album: Path, count: int) -> dict[str, str | None]:
    """Make so many images, one in twenty damaged and one in fifty with a line break in its name.

    Returns what is wrong with each, by path, in the order of a walk.
    """
    album.mkdir()
    wrong: dict[str, str | None] = {}
    for i in range(count):
        path = album / (f"{i:05}\nname.png" if i % 50 == 7 else f"{i:05}.png")
        if i % 20 == 3:
            damage, wrong[str(path)] = DAMAGE[i // 20 % len(DAMAGE)]
            damage(path)
        else:
            Image.new("RGB", (40, 36), (i % 256, i // 256, 90)).save(path)
            wrong[str(path)] = None
    return wrong


def check(stdout: bytes, wrong: dict[str, str | None]) -> None:
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert {row["path"]: row["error"]["type"] if row["status"] == "error" else None for row in rows} == wrong
    assert [row["path"] for row in rows] == list(wrong)


def peak_megabytes(checkpoint: Path, album: Path, rows: Path) -> tuple[float, int]:
    """Classify an album; returns the most memory that took at a time, and the exit status."""
    command = ["classify", album, "-l", "cat,dog", "-m", checkpoint, "--no-cache", "--quiet"]
    with rows.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "clipcli", *map(str, command)], stdout=output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024), process.returncode


def test_every_image_has_its_row_whatever_is_wrong_with_others(program: Program, tmp_path: Path) -> None:
    wrong = fill(tmp_path / "album", 240)
    for _ in ("new", "remembered"):
        process = program("classify", tmp_path / "album", "-l", "cat,dog")
        stdout, stderr = process.communicate()
        check(stdout, wrong)
        assert process.returncode == 3
        assert stderr.count(b"\n") == 2  # the summary


def test_files_that_disappear_after_they_were_found(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = fill(tmp_path / "album", 200)
    last = list(wrong)[-1]
    decode = prepare.decode

    def decode_while_somebody_tidies_up(*arguments: Any) -> Image.Image:
        Path(last).unlink(missing_ok=True)
        return decode(*arguments)

    monkeypatch.setattr(prepare, "decode", decode_while_somebody_tidies_up)
    outcome = clip("classify", tmp_path / "album", "-l", "cat,dog")
    check(outcome.stdout.encode(), {**wrong, last: "MissingFile"})
    assert outcome.status == 3


def test_a_folder_without_permission_is_a_row(program: Program, images: Path, tmp_path: Path) -> None:
    locked = tmp_path / "album" / "locked"
    locked.mkdir(parents=True)
    for name in ("a.png", "z.png"):
        (tmp_path / "album" / name).write_bytes((images / "a.png").read_bytes())
    locked.chmod(0)
    process = program("classify", tmp_path / "album", "-l", "cat,dog", preexec_fn=may_not_read_everything)
    stdout, _ = process.communicate()
    locked.chmod(0o700)
    album = tmp_path / "album"
    check(stdout, {str(album / "a.png"): None, str(locked): "PermissionDenied", str(album / "z.png"): None})
    assert process.returncode == 3


def test_a_thousand_images_need_the_memory_of_a_hundred(tmp_path: Path) -> None:
    """Kept as pixels, the 900 more would take 135 MB; as the model's float32 input, four times that."""
    checkpoint = write_clip(tmp_path / "checkpoint", vision={"image_size": 224, "patch_size": 56})
    image = tmp_path / "image.png"
    Image.linear_gradient("L").resize((224, 224)).convert("RGB").save(image)
    peaks = []
    for count in (100, 1000):
        album = tmp_path / str(count)
        album.mkdir()
        for i in range(count):
            os.link(image, album / f"{i:04}.png")
        peak, status = peak_megabytes(checkpoint, album, tmp_path / "rows")
        assert status == 0
        assert len((tmp_path / "rows").read_bytes().splitlines()) == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 60


@pytest.mark.slow
def test_ten_thousand_images_need_the_memory_of_few(clip_checkpoint: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (200, 10_000):
        wrong = fill(tmp_path / str(count), count)
        peak, status = peak_megabytes(clip_checkpoint, tmp_path / str(count), tmp_path / "rows")
        assert status == 3
        peaks.append(peak)
        check((tmp_path / "rows").read_bytes(), wrong)
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.slow
def test_ten_thousand_images_by_two_runs_with_one_cache_of_which_one_is_killed(
    program: Program, tmp_path: Path
) -> None:
    wrong = fill(tmp_path / "album", 10_000)
    killed, survivor = (program("classify", tmp_path / "album", "-l", "cat,dog") for _ in range(2))
    assert killed.stdout is not None
    for _ in range(1000):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    stdout, stderr = survivor.communicate()
    check(stdout, wrong)
    assert stderr.count(b"\n") == 2  # nothing about the cache
    again = program("classify", tmp_path / "album", "-l", "cat,dog")
    check(again.communicate()[0], wrong)
