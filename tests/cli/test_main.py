"""The guard around everything: Ctrl-C during the import of the program, closed pipes of small commands."""

import builtins
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clipcli import __main__
from tests.cli.conftest import Program


def test_ctrl_c_while_the_program_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def interrupted(name: str, *rest: Any) -> Any:
        if name == "clipcli.cli.app":
            raise KeyboardInterrupt
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "clip: interrupted\n")


def test_ctrl_c_does_not_wait_for_what_threads_are_doing(program: Program, tmp_path: Path) -> None:
    stuck = tmp_path / "stuck.jpg"
    os.mkfifo(stuck)
    process = program("classify", stuck, "-l", "cat,dog")
    while (writer := _open_if_read(stuck)) is None:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    os.close(writer)
    assert (process.returncode, stderr) == (130, b"clip: interrupted\n")


def _open_if_read(pipe: Path) -> int | None:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads yet
        return None


every_kind_of_text = pytest.mark.parametrize(
    "command",
    ["--help", "classify -h", "--version", "--show-completion bash", "labels check pets", "cache path", "labels list"],
)


@every_kind_of_text
def test_a_closed_pipe_ends_every_command_quietly(command: str, program: Program) -> None:
    process = program(*command.split())
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


@every_kind_of_text
def test_text_that_cannot_be_written_is_an_error(command: str, program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # A descriptor that is open for reading only refuses what is written, as a full disk does.
    with (tmp_path / "file").open("rb") as refusing:
        process = program(*command.split(), stdout=refusing)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.decode() == (
        "clip: error: standard output cannot be written: Bad file descriptor\n  hint: write to another place\n"
    )


@every_kind_of_text
def test_a_closed_standard_output_is_an_error(command: str, program: Program) -> None:
    process = program(*command.split(), preexec_fn=lambda: os.close(1))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr == b"clip: error: standard output is closed\n  hint: send it to a file: > FILE\n"


@pytest.mark.parametrize("command", ["", "labels show no-such-set"])
def test_a_standard_error_that_takes_nothing_changes_no_status(command: str, program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as refusing:
        process = program(*command.split(), stderr=refusing)
    assert process.wait(timeout=60) == 2
