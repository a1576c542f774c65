"""Options of `clip tag` that do not go together are refused before anything is read or written."""

import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Clip

CALIBRATE = ["-l", "cat", "--calibrate", "labelled", "--calibrate-into", "mine.yaml"]
UNDO = ["--undo", "manifest.jsonl"]
TAG = ["photos", "-l", "cat"]


@pytest.fixture(autouse=True)
def nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A run that is not refused would end with another status: 4.
    monkeypatch.setenv("CLIPCLI_MODEL", "no-such-model")
    for folder in ("photos", "labelled/cat"):
        Path(folder).mkdir(parents=True)
    for file in ("photos/a.png", "labelled/cat/a.png", "manifest.jsonl", "list.txt", "image", "labels.csv"):
        Path(file).write_text(f"content of {file}")


def everything() -> dict[str, str]:
    return {str(path): path.read_text() for path in Path().rglob("*") if path.is_file()}


def refused(clip: Clip, *arguments: object) -> str:
    before = everything()
    outcome = clip("tag", *arguments)
    assert (outcome.status, outcome.stdout) == (2, ""), outcome.stderr
    assert everything() == before
    error, hint = outcome.stderr.splitlines()
    assert hint.startswith("  hint: ")
    return error.removeprefix("clip: error: ")


@pytest.mark.parametrize(
    "other",
    [
        ["photos"],
        ["--from-file", "list.txt"],
        ["--exclude", "x*"],
        ["--include-hidden"],
        ["--follow-symlinks"],
        ["--threshold", "0.2"],
        ["--top", "3"],
        ["--exclusive", "weather"],
        ["--write-sidecars"],
        ["--sidecar-name", "full"],
        ["--prefix", "ai/"],
        ["--sort-into", "sorted"],
        ["--format", "exiftool"],
        ["-o", "tags.jsonl", "--resume"],
        ["--report", "report.html"],
        ["--fail-fast"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("mode", [CALIBRATE, UNDO], ids=["--calibrate", "--undo"])
def test_what_calibrating_and_taking_back_would_ignore(mode: list[str], other: list[str], clip: Clip) -> None:
    option = "--format exiftool" if "exiftool" in other else other[-1] if "--resume" in other else other[0]
    name = "--undo" if mode is UNDO else "--calibrate"
    error = refused(clip, *mode, *other)
    assert name in error and option in error


def test_calibrating_does_nothing_that_could_be_tried(clip: Clip) -> None:
    for other in (["--dry-run"], UNDO):
        error = refused(clip, *CALIBRATE, *other)
        assert "--calibrate" in error and other[0] in error


@pytest.mark.parametrize(
    ("option", "needs"),
    [
        (["--sidecar-name", "full"], ["--write-sidecars"]),
        (["--prefix", "ai/"], ["--write-sidecars", "--format exiftool"]),
        (["--prefix", "ai/", "--sort-into", "sorted"], ["--write-sidecars", "--format exiftool"]),
        (["--dry-run"], ["--write-sidecars", "--remove-tags", "--sort-into DIR", "--undo DIR"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_alone_do_nothing(option: list[str], needs: list[str], clip: Clip) -> None:
    error = refused(clip, *TAG, *option)
    assert error.startswith(option[0]) and all(other in error for other in needs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([*TAG, "-o", "r.html", "--report", "r.html"], "--output .*--report .*r.html"),
        (
            [*TAG, "-o", "photos/../r.html", "--report", "r.html"],
            "--output .*--report .*photos/../r.html",
        ),
        ([*TAG, "--report", "-"], "--output .*--report .*standard output"),
        ([*CALIBRATE, "-o", "mine.yaml"], "--output .*--calibrate-into .*mine.yaml"),
        ([*TAG, "image", "-o", "./image"], "--output ./image"),
        ([*TAG, "image", "--report", "image"], "--report image"),
        (
            ["--from-file", "list.txt", "-l", "cat", "-o", "list.txt"],
            "--output list.txt",
        ),
        (
            ["-l", "cat", "--calibrate", "labels.csv", "--calibrate-into", "labels.csv"],
            "--calibrate-into labels.csv",
        ),
    ],
)
def test_no_file_is_written_over_another(options: list[str], words: str, clip: Clip) -> None:
    assert re.match(words, refused(clip, *options))


def test_two_outputs_may_end_in_nothing(clip: Clip, images: Path, clip_checkpoint: Path) -> None:
    options = ["-l", "cat", "-o", os.devnull, "--report", os.devnull]
    assert clip("tag", images, *options, "--model", clip_checkpoint).status == 0
