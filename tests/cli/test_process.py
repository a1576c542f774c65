"""What only shows in a program of its own: streaming, closed pipes, Ctrl-C, terminals, closed descriptors."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Program
from tests.helpers.schemas import check_document

LABELS = ("-l", "cat,dog")
WAIT_S = 60


def feed(process: "subprocess.Popen[bytes]", path: Path, count: int) -> None:
    assert process.stdin is not None
    process.stdin.write((os.fsencode(path) + b"\n") * count)
    process.stdin.flush()


def start_endless(program: Program, images: Path, *arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
    """A run that has finished a few batches of two, and a half one, and waits for more paths."""
    process = program("classify", "--from-file", "-", *LABELS, "-b", 2, *arguments, stdin=subprocess.PIPE, **options)
    feed(process, images / "a.png", 21)
    return process


def test_rows_come_while_paths_are_still_read(program: Program, images: Path) -> None:
    process = start_endless(program, images)
    assert process.stdout is not None
    rows = [json.loads(process.stdout.readline()) for _ in range(21)]
    assert {row["path"] for row in rows} == {str(images / "a.png")}
    assert process.poll() is None
    feed(process, images / "b.jpg", 1)
    assert json.loads(process.stdout.readline())["path"] == str(images / "b.jpg")
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stdout) == (0, b"")
    assert stderr.startswith(b"clip: 22 images in ")


@pytest.mark.parametrize("format", ["jsonl", "csv", "json", "table"])
def test_a_closed_pipe_ends_quietly(format: str, program: Program, images: Path) -> None:
    process = start_endless(program, images, "-f", format)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    feed(process, images / "a.png", 20)
    assert process.wait(timeout=WAIT_S) == 0
    assert process.stderr.read() == b""


def test_ctrl_c(program: Program, images: Path) -> None:
    process = start_endless(program, images)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert re.match(rb"clip: interrupted after \d+ images\n  hint: their features are cached", stderr)
    assert all(json.loads(line)["status"] == "ok" for line in stdout.splitlines())


@pytest.mark.parametrize("command", [("classify", *LABELS), ("score", "--text", "a cat"), ("tag", *LABELS)])
def test_ctrl_c_leaves_a_whole_document(command: tuple[str, ...], program: Program, images: Path) -> None:
    process = program(*command, "--from-file", "-", "--json", "-b", 2, stdin=subprocess.PIPE)
    feed(process, images / "a.png", 21)
    assert process.stdout is not None
    start = [process.stdout.readline() for _ in range(8)]
    process.send_signal(signal.SIGINT)
    document = json.loads(b"".join(start) + process.stdout.read())
    assert process.wait(timeout=WAIT_S) == 130
    check_document(f"clipcli.{command[0]}-2", document)
    assert document["summary"] == {"images": len(document["results"]), "ok": len(document["results"]), "failed": 0}
    assert len(document["results"]) >= 4


def test_ctrl_c_leaves_no_half_written_file(program: Program, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "labels.csv"
    output.parent.mkdir()
    output.write_text("what was there before")
    process = start_endless(program, images, "-o", output)
    while not any(path.stat().st_size for path in output.parent.glob(".labels.csv.*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.startswith(b"clip: interrupted after ")
    assert list(output.parent.iterdir()) == [output]
    assert output.read_text() == "what was there before"


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_descriptor(descriptor: int, program: Program, images: Path, tmp_path: Path) -> None:
    def close() -> None:
        os.close(descriptor)

    output = tmp_path / "labels.jsonl"
    process = program("classify", images, "nowhere.jpg", *LABELS, "-o", output, preexec_fn=close)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 3
    assert (b" 1 failed\n" in stderr) == (descriptor != 2)
    assert len(output.read_text().splitlines()) == 4


def test_a_closed_standard_output_without_a_file(program: Program, images: Path) -> None:
    process = program("classify", images, *LABELS, preexec_fn=lambda: os.close(1))
    _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert stderr == b"clip: error: standard output is closed\n  hint: send it to a file: > FILE\n"


def test_a_reader_of_a_named_pipe_that_leaves_needs_no_standard_output(
    program: Program, images: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start_endless(program, images, "-o", pipe, preexec_fn=lambda: os.close(1))
    with pipe.open("rb") as reader:
        reader.readline()
    feed(process, images / "a.png", 20)
    _, stderr = process.communicate(timeout=WAIT_S)
    assert (process.returncode, stderr) == (0, b"")


def on_terminal(program: Program, *arguments: object, **environment: str) -> str:
    """What `clip` shows on a terminal of 100 columns, stdout and stderr together."""
    keyboard, screen = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", **environment}
    process = program(*arguments, stdout=screen, stderr=screen, environment=settings)
    os.close(screen)
    shown = b""
    while select.select([keyboard], [], [], WAIT_S)[0]:
        try:
            block = os.read(keyboard, 1 << 16)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not block:
            break
        shown += block
    os.close(keyboard)
    assert process.wait(timeout=WAIT_S) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_table(program: Program, images: Path) -> None:
    shown = on_terminal(program, "classify", images, *LABELS)
    assert "\x1b[1mimage" in shown
    assert "█" in shown
    assert "fetching" not in shown


def test_no_color_means_no_escape_codes(program: Program, images: Path) -> None:
    shown = on_terminal(program, "classify", images, *LABELS, "--no-progress", NO_COLOR="1")
    assert shown.startswith(f"in {images}/\nimage")
    assert "\x1b" not in shown


def test_a_path_cannot_send_control_characters(program: Program, tmp_path: Path) -> None:
    shown = on_terminal(program, "labels", "new", tmp_path / "a\x1b[31mb.yaml")
    assert shown == f"{tmp_path}/a\\x1b[31mb.yaml\n"


def test_a_file_from_a_terminal_is_json_lines_with_a_counter(program: Program, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.jsonl"
    shown = on_terminal(program, "classify", images, *LABELS, "-o", output)
    assert "images" in shown
    assert len(output.read_text().splitlines()) == 3
    for flag in ("--no-progress", "--quiet"):
        assert "\x1b" not in on_terminal(program, "classify", images, *LABELS, "-o", output, flag)
