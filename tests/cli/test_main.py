"""The guard around everything: Ctrl-C during the import of the program, closed pipes of small commands."""

import builtins
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
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("arguments", [["labels", "show", "imagenet-1k"], ["labels", "check", "pets"]])
def test_a_closed_pipe_ends_every_command_quietly(arguments: list[str], program: Program) -> None:
    process = program(*arguments)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
