"""`clip tag --resume` after a real end: killed at a random moment, or stopped by Ctrl-C."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Clip, Program

# With damaged pictures between, so that batches end at odd places; the last batch is full.
PICTURES, DAMAGED, BATCH = 96, 5, 4
OPTIONS = ["-l", "cat,dog,tree", "--threshold", 0, "-b", BATCH, "--workers", 2, "--no-cache"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take a while to decode."""
    folder = tmp_path_factory.mktemp("library")
    base = Image.effect_noise((1200, 900), 90).convert("RGB")
    for i in range(PICTURES):
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
    assert len(rows(undisturbed)) == PICTURES + DAMAGED
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


def test_ctrl_c_finishes_the_batch_and_says_how_to_go_on(
    clip: Clip, program: Program, library: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tags.jsonl"
    process = program("tag", library, *OPTIONS, "-o", output, "--resume")
    wait_for_rows(process, output, 4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    there = rows(output)
    assert 4 <= len(there) < PICTURES
    assert all(json.loads(line)["path"] for line in there)
    assert f"interrupted after {len(there)} pictures; {output} holds them" in stderr.decode()
    assert "give the same command with --resume" in stderr.decode()
    outcome = clip("tag", library, *OPTIONS, "-o", output, "--resume")
    assert f"of which {len(there)} were finished before" in outcome.stderr
    assert len(rows(output)) == PICTURES + DAMAGED
