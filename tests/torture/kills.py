"""Runs over shards whose process is killed at any moment: what is there at the end must not show it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.shards import write_tars

_MOST_KILLS = 10


def start(folder: Path, output: str) -> "subprocess.Popen[bytes]":
    """Begin the run, or go on with it; a shard may be tried as often as it takes."""
    arguments = ("embed", str(folder / "*.tar"), "--output", f"{folder / output}/", "--keep-columns", "uid")
    command = [sys.executable, "-m", "clipcli", *arguments, "--model", "demo", "--tries", "99", "--quiet"]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def files(folder: Path) -> dict[str, bytes]:
    """All that readers see, and the markers."""
    found = [*folder.glob("data/*"), *folder.glob(".clip/done/*"), *folder.glob("_SUCCESS")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def trial(chance: random.Random, folder: Path) -> str:
    """Kill a run some times, and let it end; returns how often it was hit."""
    write_tars(folder, chance.randint(1, 4), chance.randint(1, 40))
    begin = time.monotonic()
    assert start(folder, "whole").wait() == 0
    longest, hits = time.monotonic() - begin, 0
    for _ in range(chance.randint(1, _MOST_KILLS)):
        process = start(folder, "killed")
        try:
            status = process.wait(chance.uniform(0.3, 1) * longest)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            status = process.wait()
        hits += status == -signal.SIGKILL
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert start(folder, "killed").wait() == 0
    assert files(folder / "killed") == files(folder / "whole")
    return f"killed {hits} times"
