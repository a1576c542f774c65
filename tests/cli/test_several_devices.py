"""`--device cuda:all` from the shell, with the CPU standing in for every GPU."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TWO_DEVICES = """
import torch
from clipcli.compute import devices as device
device.choose_devices = lambda name: [torch.device("cpu")] * 2
from clipcli.__main__ import main
main()
"""
# Above what loading takes on a busy machine.
WAIT_S = 120


@pytest.fixture
def running(clip_checkpoint: Path, images: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run of many images, past its first row."""
    names = tmp_path / "names"
    names.write_text(f"{images / 'a.png'}\n" * 100_000)
    arguments = ["classify", "--from-file", names, "-l", "cat,dog", "-m", clip_checkpoint, "--no-cache", "-b", "2"]
    command = [sys.executable, "-c", TWO_DEVICES, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["status"] == "ok"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("stop", "status", "words"), [(signal.SIGINT, 130, b"clip: interrupted"), (signal.SIGKILL, -signal.SIGKILL, b"")]
)
def test_no_process_outlives_the_run(
    stop: signal.Signals, status: int, words: bytes, running: "subprocess.Popen[bytes]"
) -> None:
    running.send_signal(stop)
    _, stderr = running.communicate(timeout=WAIT_S)  # standard error ends when the last process that has it does
    assert running.returncode == status and stderr.startswith(words)
