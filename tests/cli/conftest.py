"""Runs `clip` in this process, or as a program where pipes, signals or descriptors matter."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipcli.cli.app import app

SUMMARY = re.compile(r"^clip: [\d,]+ images? in .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def remarks(self) -> str:
        """What stderr says besides the summary of a run."""
        return SUMMARY.sub("", self.stderr)


# Far above what the slowest run takes on a busy machine.
_HANGS_AFTER_S = 120

Clip = Callable[..., Outcome]
Program = Callable[..., "subprocess.Popen[bytes]"]


@contextmanager
def reading(pipe: Path) -> Iterator[list[bytes]]:
    """Make a named pipe and read it to its end; what came out is in the list after the block."""
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    yield received
    reader.join(timeout=60)


@pytest.fixture
def clip(clip_checkpoint: Path) -> Clip:
    """Run `clip` with the tiny CLIP as its model, unless the arguments name another."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Outcome:
        result = CliRunner().invoke(
            app,
            [str(argument) for argument in arguments],
            input=stdin,
            env={"CLIPCLI_MODEL": str(clip_checkpoint), **environment},
            catch_exceptions=False,
        )
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program(clip_checkpoint: Path) -> Iterator[Program]:
    """Start `clip` as a program of its own; what still runs at the end of the test, or hangs, is killed."""
    started: list[tuple[subprocess.Popen[bytes], threading.Timer]] = []

    def start(
        *arguments: object, environment: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        settings = {"CLIPCLI_MODEL": str(clip_checkpoint), "OMP_NUM_THREADS": "1", **(environment or {})}
        command = [sys.executable, "-m", "clipcli", *(os.fsencode(str(argument)) for argument in arguments)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env={**os.environ, **settings}, **{**streams, **options})
        timer = threading.Timer(_HANGS_AFTER_S, process.kill)
        timer.start()
        started.append((process, timer))
        return process

    yield start
    for process, timer in started:
        timer.cancel()
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small images: a.png, b.jpg and c.gif."""
    folder = tmp_path_factory.mktemp("images")
    for name, colour in (("a.png", "red"), ("b.jpg", "green"), ("c.gif", "blue")):
        image = Image.linear_gradient("L").resize((40, 48)).convert("RGB")
        image.paste(colour, (0, 0, 20, 20))
        image.save(folder / name)
    return folder
