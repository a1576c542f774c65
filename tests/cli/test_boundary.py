"""What the library says in its parameters is said in options, and a variable is blamed only for its own value."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipcli import ClassifyOptions
from clipcli.errors import ClipError, ClipWarning, UsageError
from tests.cli.conftest import Clip
from tests.helpers.apps import app_that_raises
from tests.helpers.errors import about

LABELS = ("-l", "cat,dog")


def said(problem: Exception, *arguments: str, **environment: str) -> list[str]:
    result = CliRunner().invoke(app_that_raises(problem), list(arguments), env=environment)
    return result.stderr.splitlines()


def test_the_parameter_that_a_message_begins_with() -> None:
    error = UsageError("drying_time must be above 0, not -1", parameter="drying_time", value=-1)
    assert said(error) == ["clip: error: --drying-time must be above 0, not -1"]


@pytest.mark.parametrize(
    ("library", "command_line"),
    [
        ("use another `coats`", "use another --coats"),
        ("use `drying_time=2.5` or `wet=True`", "use --drying-time 2.5 or --wet"),
        ("`primer=False` is quicker", "--no-primer is quicker"),
        ('`colours=["deep red", "blue"]`', "--colours 'deep red,blue'"),
        ("`colours='it\\'s'`", """--colours 'it'"'"'s'"""),
        ("`colours=FILE`", "--colours FILE"),
        ("`clip labels list`, `unknown` and `unknown=1` stay", "`clip labels list`, `unknown` and `unknown=1` stay"),
        ("/home/drying_time=2/wet.jpg stays", "/home/drying_time=2/wet.jpg stays"),
    ],
)
def test_parameters_in_backticks(library: str, command_line: str) -> None:
    assert said(ClipError(f"wrong: {library}", hint=library)) == [
        f"clip: error: wrong: {command_line}",
        f"  hint: {command_line}",
    ]
    assert said(ClipWarning(library)) == [f"clip: warning: {command_line}"]


def test_a_variable_is_blamed_for_its_own_value_only() -> None:
    error = UsageError("coats must be 1 or more", parameter="coats", value=0)
    blame = "  CLIPCLI_COATS=0 is set, which stands for --coats"
    assert blame in said(error, CLIPCLI_COATS="0")
    assert blame not in said(error, "--coats", "0", CLIPCLI_COATS="0")
    assert blame not in said(UsageError("something else"), CLIPCLI_COATS="0")
    assert blame in said(UsageError("something else with `coats=0`"), CLIPCLI_COATS="0")


def test_python_and_the_command_line_name_the_same_mistake(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=about("top")) as raised:
        ClassifyOptions(top=0)
    assert (raised.value.parameter, raised.value.value) == ("top", 0)

    outcome = clip("classify", tmp_path, *LABELS, "--top", 0)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr == f"clip: error: --{raised.value}\n"


def test_a_flag_that_replaces_a_variable_is_not_blamed_on_it(clip: Clip, tmp_path: Path) -> None:
    outcome = clip("classify", tmp_path, *LABELS, "--device", "gpu", CLIPCLI_DEVICE="cuda:9")
    assert outcome.status == 2
    assert "--device gpu" in outcome.stderr and "CLIPCLI_DEVICE" not in outcome.stderr
    outcome = clip("classify", tmp_path, *LABELS, CLIPCLI_DEVICE="gpu")
    assert all(part in outcome.stderr for part in ("CLIPCLI_DEVICE=gpu", "--device"))
