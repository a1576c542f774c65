"""What a machine lacks, requests to stop, surprises in a checkpoint: a sentence and a status, no traceback."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.cli.conftest import Clip, Program
from tests.helpers.apps import app_that_raises
from tests.helpers.full_disk import full_disk

LABELS = ("-l", "cat,dog")
LONG = "a" * 300


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "too little memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "too little memory"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit"),
        (EOFError("marshal data too short"), "short"),
    ],
)
def test_what_a_machine_lacks(error: Exception, words: str) -> None:
    result = CliRunner().invoke(app_that_raises(error), [])
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr and "  hint: " in result.stderr


@pytest.mark.parametrize("bug", [OSError(errno.EIO, "what"), RuntimeError("a bug"), KeyError("a bug")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    assert CliRunner().invoke(app_that_raises(bug), []).exception is bug


def test_a_removed_working_folder(tmp_path: Path, clip_checkpoint: Path) -> None:
    gone = tmp_path / "gone"
    code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    code += "from clipcli.__main__ import main; main()"
    for arguments in (["models", "default", "x"], ["classify", "x.jpg", *LABELS, "-m", str(clip_checkpoint)]):
        gone.mkdir()
        ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
        assert ran.returncode in (1, 2, 3, 4), ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "convert", LONG, "out"),
        ("models", "convert", "labels.yaml", LONG),
        ("models", "path", LONG),
        ("labels", "show", f"{LONG}/{LONG}"),
        ("labels", "check", LONG),
        ("labels", "new", LONG),
        ("classify", "x.jpg", "-s", f"{LONG}/{LONG}"),
        ("classify", "x.jpg", "-l", f"@{LONG}"),
        ("classify", "x.jpg", *LABELS, "-t", f"{LONG}/{LONG}"),
    ],
)
def test_names_too_long_for_the_file_system(
    arguments: tuple[str, ...], clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.yaml").write_text("labels: [cat]\n")
    outcome = clip(*arguments)
    assert outcome.status in (1, 2, 4) and outcome.stderr.startswith("clip: error: ")


@pytest.mark.parametrize("size", ["9" * 5000, "-1", "1e3", "", "²"])
def test_an_absurd_cache_size(size: str, clip: Clip) -> None:
    outcome = clip("cache", "info", CLIPCLI_CACHE_MB=size)
    assert outcome.status == 2
    assert len(outcome.stderr) < 300


def test_a_surprise_in_a_checkpoint(
    clip: Clip, images: Path, clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprised(*_: object, **__: object) -> None:
        raise KeyError("vocab_size")

    monkeypatch.setattr("clipcli.compute.checkpoint.load_tokenizer", surprised)
    outcome = clip("classify", images, *LABELS, "--no-cache")
    assert outcome.status == 4
    assert str(clip_checkpoint) in outcome.stderr and "KeyError" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    debugged = clip("classify", images, *LABELS, "--no-cache", CLIPCLI_DEBUG="1").stderr
    assert debugged.startswith(outcome.stderr.splitlines()[0])
    assert "Traceback" in debugged and "KeyError: 'vocab_size'" in debugged


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_request_to_stop_leaves_no_temporary_file(number: int, program: Program, tmp_path: Path) -> None:
    stuck = tmp_path / "stuck.jpg"
    os.mkfifo(stuck)
    process = program("classify", stuck, *LABELS, "-o", tmp_path / "out.jsonl")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        try:
            writer = os.open(stuck, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:
            time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate()
    os.close(writer)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("module", ["cli/shell/completion", "cli/app", "cli/commands/labels"])
def test_a_compiled_file_that_is_cut_short(module: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "clipcli", "labels", "list"]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    (compiled,) = tmp_path.glob(f"**/clipcli/{module}.*.pyc")
    compiled.write_bytes(compiled.read_bytes()[:900])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "short" in done.stderr and "  hint: " in done.stderr
    assert "Traceback" not in done.stderr and "Aborted" not in done.stderr


def test_nohup_stays_heeded() -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code += "from clipcli.cli.shell.interrupt import stop_like_interrupt as stop; stop()\n"
    code += "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM).__name__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["True", "default_int_handler"]


def test_nothing_is_imported_before_the_guard() -> None:
    code = "import clipcli, sys; before = set(sys.modules); import clipcli.__main__; print(*set(sys.modules) - before)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["clipcli.__main__"]


@pytest.mark.parametrize("way", [(), ("--sort-into", "sorted", "--copy")])
def test_no_room_for_the_rows_of_a_run(
    way: tuple[str, ...], clip: Clip, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more = way or ("--report", "report.html")
    with full_disk(30):
        outcome = clip("tag", images, *LABELS, "--no-cache", *more)
    assert outcome.status == 1 and "  hint: " in outcome.stderr and "Traceback" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["new", "import"])
def test_half_a_label_set_is_not_left(command: str, clip: Clip, tmp_path: Path) -> None:
    source = tmp_path / "prompts.json"
    source.write_text('{"cat": ["a cat"], "dog": ["a dog"]}')
    path = tmp_path / "mine.yaml"
    with full_disk(20):
        outcome = clip("labels", command, *([source] if command == "import" else []), path)
    assert outcome.status == 1 and outcome.stderr.startswith("clip: error: ")
    assert not path.exists()
    assert clip("labels", command, *([source] if command == "import" else []), path).status == 0


@pytest.mark.parametrize("room", [0, 30, 127, 128, 200, 300])
def test_features_that_found_no_room_are_continued(room: int, clip: Clip, images: Path, tmp_path: Path) -> None:
    command = ("embed", images, "--no-cache", "-o", tmp_path / "x.npy", "--resume")
    with full_disk(room):
        assert clip(*command).status == 1
    assert clip(*command).status == 0
    assert np.load(tmp_path / "x.npy").shape[0] == 3
    assert len((tmp_path / "x.paths.jsonl").read_text().splitlines()) == 3


def test_another_file_is_not_continued(clip: Clip, images: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"mine")
    outcome = clip("embed", images, "--no-cache", "-o", tmp_path / "x.npy", "--resume")
    assert outcome.status == 2
    assert (tmp_path / "x.npy").read_bytes() == b"mine"
