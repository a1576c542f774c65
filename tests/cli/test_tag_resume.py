"""`clip tag --resume` after a real end: killed at a random moment, or stopped by Ctrl-C."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Clip, Program, reading

# With damaged images between, so that batches end at odd places; the last batch is full.
IMAGES, DAMAGED, BATCH = 96, 5, 4
OPTIONS = ["-l", "cat,dog,tree", "--threshold", 0, "-b", BATCH, "--workers", 2, "--no-cache"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take a while to decode."""
    folder = tmp_path_factory.mktemp("library")
    base = Image.effect_noise((1200, 900), 90).convert("RGB")
    for i in range(IMAGES):
        base.paste((i, 255 - i, 2 * i), (0, 0, 300 + i, 200))
        base.save(folder / f"{i:03}.jpg", quality=60)
    for i in range(DAMAGED):
        (folder / f"{17 * i:03}x.jpg").write_bytes((folder / f"{i:03}.jpg").read_bytes()[:5000])
    return folder


def wait_for_rows(process: "subprocess.Popen[bytes]", output: Path, count: int) -> None:
    """Wait until so many lines are there, or the program has ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if output.exists() and output.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)


def finish(program: Program, *arguments: object) -> tuple[int, str]:
    """Run to the end, in a process like those that are killed: digits may depend on the number of threads."""
    process = program("tag", *arguments)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr.decode()


def rows(output: Path) -> list[bytes]:
    return output.read_bytes().splitlines(keepends=True)


def test_killed_and_resumed_equals_undisturbed_line_for_line(program: Program, library: Path, tmp_path: Path) -> None:
    undisturbed, output = tmp_path / "undisturbed.jsonl", tmp_path / "tags.jsonl"
    assert finish(program, library, *OPTIONS, "-o", undisturbed)[0] == 3
    assert len(rows(undisturbed)) == IMAGES + DAMAGED
    random.seed(7)
    killed = 0
    for least in (1, 40):
        process = program("tag", library, *OPTIONS, "-o", output, "--resume")
        wait_for_rows(process, output, least)
        time.sleep(random.random() / 20)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        there = rows(output)
        paths = [json.loads(line)["path"] for line in there if line.endswith(b"\n")]
        assert len(paths) == len(set(paths)) >= least
        assert [line for line in there if line.endswith(b"\n")] == rows(undisturbed)[: len(paths)]
    assert killed, "the program was too fast to be killed"
    status, stderr = finish(program, library, *OPTIONS, "-o", output, "--resume")
    assert status == 3
    assert f"failures  {DAMAGED} UnreadableImage" in stderr
    assert rows(output) == rows(undisturbed)


def test_ctrl_c_says_how_to_continue(clip: Clip, program: Program, library: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    there: list[bytes] = []
    for _ in range(2):
        before = len(there)
        process = program("tag", library, *OPTIONS, "-o", output, "--resume")
        wait_for_rows(process, output, before + 4)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        there = rows(output)
        assert before + 4 <= len(there) < IMAGES
        assert all(json.loads(line)["path"] for line in there)
        assert f" {len(there)} images" in stderr.decode() and str(output) in stderr.decode()
        assert "--resume" in stderr.decode()
    outcome = clip("tag", library, *OPTIONS, "-o", output, "--resume")
    assert str(len(there)) in outcome.stderr
    assert len(rows(output)) == IMAGES + DAMAGED


def summary(stderr: str) -> dict[str, str]:
    (headline,) = [line for line in stderr.splitlines() if line.startswith("clip: ")]
    lines = [line.split(maxsplit=1) for line in stderr.splitlines() if line.startswith("  ")]
    return {"images": headline.removeprefix("clip: "), **dict(lines)}


def test_the_counts_of_a_resumed_run_that_fails(clip: Clip, images: Path, tmp_path: Path) -> None:
    names, options = sorted(images.iterdir()), [*OPTIONS, "-o", tmp_path / "tags.jsonl", "--resume"]
    assert clip("tag", *names, *options).status == 0
    outcome = clip("tag", *names, "missing.png", *options)
    assert outcome.status == 3
    told = summary(outcome.stderr)
    assert told["images"] == "4 images, 3 of them finished before, 1 failed"
    assert told["tags"] == "9, none on 0 images"
    assert told["failures"] == "1 MissingFile; the rows say why"


def test_the_counts_where_a_image_is_named_twice(clip: Clip, images: Path, tmp_path: Path) -> None:
    names = [images / "a.png", images / "b.jpg", images / "a.png"]
    options = [*OPTIONS, "-o", tmp_path / "tags.jsonl", "--resume"]
    first = clip("tag", *names, *options)
    assert "3 images" in first.stderr and "1 image" in first.stderr
    for _ in range(2):
        told = summary(clip("tag", *names, *options).stderr)
        assert told["images"] == "3 images, 3 of them finished before"
    assert clip("tag", names[0], *options).status == 0
    assert len(rows(tmp_path / "tags.jsonl")) == 1, "rows of other inputs have gone"


def test_a_second_run_into_the_same_file_is_refused(clip: Clip, program: Program, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    arguments = ("tag", "--from-file", "-", *OPTIONS, "-o", output)
    process = program(*arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(bytes(images / "a.png") + b"\n")
    process.stdin.flush()
    wait_for_rows(process, output, 1)
    for more in ((), ("--resume",)):
        second = clip("tag", images, "-l", "other", "-o", output, *more, "--model", "no-such-model")
        assert (second.status, second.stdout) == (1, "")
        assert second.stderr.startswith(f"clip: error: {output} is being written by another run\n")
    assert clip("tag", images, *OPTIONS, "-o", tmp_path / "other.jsonl").status == 0
    process.stdin.write(bytes(images / "b.jpg") + b"\n")
    assert process.communicate(timeout=60)[1].startswith(b"clip: 2 images in ")
    assert process.returncode == 0
    written = [json.loads(line) for line in rows(output)]
    assert [row["path"] for row in written] == [str(images / "a.png"), str(images / "b.jpg")]
    assert [row["size"] for row in written] == [(images / name).stat().st_size for name in ("a.png", "b.jpg")]
    assert sorted(path.name for path in tmp_path.glob("tags*")) == ["tags.jsonl"]


def test_a_run_that_was_killed_leaves_no_lock(clip: Clip, program: Program, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    process = program("tag", "--from-file", "-", *OPTIONS, "-o", output, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(bytes(images / "a.png") + b"\n")
    process.stdin.flush()
    wait_for_rows(process, output, 1)
    process.kill()
    process.wait()
    assert clip("tag", images, *OPTIONS, "-o", output, "--resume").status == 0
    assert len(rows(output)) == 3


def test_a_run_that_cannot_begin_leaves_nothing_beside_its_output(clip: Clip, images: Path, tmp_path: Path) -> None:
    assert clip("tag", images, *OPTIONS, "-o", tmp_path / "tags.jsonl", "-m", "no-such-model").status == 4
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_comes_through_a_pipe_is_read_once(clip: Clip, images: Path, tmp_path: Path) -> None:
    """Not a second time to count the images, which would take them from the run."""
    pipe = tmp_path / "list"
    os.mkfifo(pipe)
    names = [str(images / "a.png")] * 300
    threading.Thread(target=lambda: pipe.write_text("\n".join(names)), daemon=True).start()
    outcome = clip("tag", "--from-file", pipe, *OPTIONS, "-f", "jsonl")
    assert outcome.status == 0
    assert len(outcome.rows) == 300


def test_a_pipe_cannot_be_continued(clip: Clip, images: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with reading(pipe) as received:
        assert clip("tag", images, *OPTIONS, "-o", pipe).status == 0
    assert received[0].count(b"\n") == 3
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [("config.json", "logit_scale_init_value", 1.0), ("preprocessor_config.json", "image_mean", [0.1, 0.2, 0.3])],
)
def test_another_model_under_the_same_name_is_refused(
    file: str, key: str, value: object, clip: Clip, images: Path, clip_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(clip_checkpoint, tmp_path / "model")
    options = ["tag", images, *OPTIONS, "-m", folder, "-o", tmp_path / "tags.jsonl"]
    assert clip(*options, "--resume").status == 0
    before = (tmp_path / "tags.jsonl").read_bytes()
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, key: value}))
    outcome = clip(*options, "--resume")
    assert outcome.status == 2
    assert "model's" in outcome.stderr
    assert (tmp_path / "tags.jsonl").read_bytes() == before
