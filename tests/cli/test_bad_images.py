"""One bad image never costs the run: it becomes a row, the rest is finished, the status says so."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Clip, Program
from tests.helpers.bad_images import (
    bomb,
    dangling_link,
    empty,
    may_not_read_everything,
    missing,
    text_named_jpg,
    truncated,
)
from tests.helpers.schemas import check_rows

BAD = [
    (missing, "MissingFile", "no such file"),
    (dangling_link, "MissingFile", "leads nowhere"),
    (text_named_jpg, "UnreadableImage", "text"),
    (truncated, "UnreadableImage", "truncated JPEG"),
    (empty, "UnreadableImage", "empty"),
    (bomb, "ImageTooLarge", "3600 megapixels, more than the limit of 256"),
]


@pytest.mark.parametrize(("make", "kind", "words"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_it_becomes_a_row_and_the_rest_is_finished(
    make: Callable[[Path], None], kind: str, words: str, clip: Clip, images: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    make(bad)
    for command in (["classify", "--labels", "cat,dog"], ["score", "--text", "a cat", "--text", "a dog"]):
        outcome = clip(*command, images / "a.png", bad, images / "b.jpg")
        assert outcome.status == 3
        assert [row["status"] for row in outcome.rows] == ["ok", "error", "ok"]
        assert outcome.rows[1]["path"] == str(bad)
        assert outcome.rows[1]["error"]["type"] == kind
        assert outcome.rows[1]["error"]["message"].startswith(str(bad))
        assert words in outcome.rows[1]["error"]["message"]
        assert " 1 failed\n  failures  1 " in outcome.stderr
        check_rows(f"clipcli.{command[0]}-2", outcome.rows)


def test_when_every_image_fails_the_status_is_the_same(clip: Clip, tmp_path: Path) -> None:
    outcome = clip("classify", tmp_path / "x.jpg", tmp_path / "y.jpg", "-l", "cat,dog")
    assert outcome.status == 3
    assert [row["status"] for row in outcome.rows] == ["error", "error"]
    assert all(part in outcome.stderr for part in ("2 failed", "2 MissingFile"))


def test_quiet_leaves_the_row_and_the_status(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "nowhere.jpg", "-l", "cat,dog", "--quiet")
    assert (outcome.status, outcome.stderr) == (3, "")
    assert len(outcome.rows) == 4


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_fail_fast_stops_after_the_first_bad_image(batch_size: int, clip: Clip, images: Path) -> None:
    inputs = [images / "a.png", "nowhere.jpg", images / "b.jpg", "nowhere-else.jpg"]
    outcome = clip("classify", *inputs, "-l", "cat,dog", "--fail-fast", "-b", batch_size)
    assert outcome.status == 3
    assert [row["status"] for row in outcome.rows] == ["ok", "error"]
    assert outcome.stderr == (
        "clip: stopped at the first image that could not be used (--fail-fast), after 1 that could\n"
    )


def test_fail_fast_leaves_a_whole_document(clip: Clip, images: Path) -> None:
    outcome = clip("classify", "nowhere.jpg", images, "-l", "cat,dog", "--fail-fast", "--json")
    assert outcome.status == 3
    assert '"summary": {"images": 1, "ok": 0, "failed": 1}' in outcome.stdout


def test_a_folder_without_images(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").touch()
    for format in ("json", "jsonl", "csv", "table"):
        outcome = clip("classify", tmp_path / "photos", "-l", "cat,dog", "-f", format)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert str(tmp_path / "photos") in outcome.stderr
        assert "hint:" in outcome.stderr


def test_an_empty_folder_beside_a_full_one_costs_nothing(clip: Clip, images: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    outcome = clip("classify", tmp_path / "photos", images, "-l", "cat,dog")
    assert (outcome.status, len(outcome.rows)) == (0, 3)


def test_the_limit_of_megapixels_is_the_users(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images / "a.png", "-l", "cat,dog", "--max-megapixels", 0.001)
    assert outcome.status == 3
    assert outcome.rows[0]["error"]["type"] == "ImageTooLarge"
    for value in ("0", "-1", "nan"):
        outcome = clip("classify", images / "a.png", "-l", "cat,dog", "--max-megapixels", value)
        assert (outcome.status, outcome.stdout) == (2, "")
        assert "--max-megapixels" in outcome.stderr


def test_a_file_that_may_not_be_read(program: Program, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(images, folder)
    (folder / "b.jpg").chmod(0)
    process = program("classify", folder, "-l", "cat,dog", "-f", "csv", preexec_fn=may_not_read_everything)
    stdout, stderr = process.communicate(timeout=60)
    lines = stdout.decode().splitlines()
    assert process.returncode == 3
    (unreadable,) = [line for line in lines if line.startswith(f"{folder / 'b.jpg'},")]
    assert ",error,PermissionDenied: " in unreadable
    assert len([line for line in lines if line.endswith(",ok,")]) == 4
    assert b" 1 failed\n" in stderr


def test_a_name_that_is_not_utf8(program: Program, images: Path, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    shutil.copy(images / "a.png", name)
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png")
    outputs = {}
    for format in ("jsonl", "csv", "table"):
        process = program("classify", name, bad, "-l", "cat,dog", "-f", format)
        outputs[format], stderr = process.communicate(timeout=60)
        assert process.returncode == 3
        assert b" 1 failed\n" in stderr
    first, second = outputs["jsonl"].splitlines()
    assert [json.loads(line)["path"] for line in (first, second)] == [name, bad]
    assert b"bad\\udcff.png" in second
    assert all(b"caf\\udce9.png" in output for output in outputs.values())
