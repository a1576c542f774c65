"""What is cheap stays cheap: commands that only talk import no heavy library. Each runs in a fresh interpreter."""

import subprocess
import sys

import pytest

import clipcli

HEAVY = ("torch", "PIL", "numpy", "transformers", "tokenizers", "safetensors", "huggingface_hub", "yaml")

RUN = """
import os, sys
import clipcli
from clipcli.__main__ import main
os._exit = sys.exit
sys.argv = ["clip", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    status = end.code
sys.stdout.flush()
names = {name.partition(".")[0] for name in sys.modules}
print(status or 0, *sorted(names), file=sys.stderr)
"""


def run(code: str, *arguments: str) -> tuple[str, int, set[str]]:
    """What was printed, the exit status, and the packages imported."""
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    status, *modules = result.stderr.splitlines()[-1].split()
    return result.stdout, int(status), set(modules)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["classify", "--help"], 0),
        (["classify", "--no-such-flag"], 2),
        (["classify", "a.jpg", "-l", "cat,dog", "--json", "--format", "csv"], 2),
        (["no-such-command"], 2),
        ([], 2),
    ],
)
def test_talk_imports_nothing_heavy(arguments: list[str], status: int) -> None:
    stdout, ended, modules = run(RUN, *arguments)
    assert ended == status
    assert "clipcli" in modules
    assert not modules.intersection(HEAVY)
    # Its import alone would take as long as the rest.
    assert "rich" not in modules
    assert bool(stdout) == (status == 0)


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = """
import sys, clipcli
print(clipcli.errors.ClipError.__name__, *dir(clipcli))
print(0, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)
"""
    stdout, _, modules = run(code)
    assert stdout.split() == ["ClipError", *clipcli.__all__]
    assert not modules.intersection(HEAVY)


def test_a_model_says_what_it_is_without_torch() -> None:
    code = """
import sys, clipcli
print(clipcli.load("demo"))
print(0, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)
"""
    stdout, _, modules = run(code)
    assert stdout == "<clipcli model demo: clip, dtype=auto, device=auto>\n"
    assert "torch" not in modules


def test_label_sets_need_no_torch() -> None:
    modules = run(RUN, "labels", "list")[2]
    assert not modules.intersection({"torch", "PIL", "numpy", "transformers", "tokenizers"})


def test_a_mistake_is_found_before_torch_is_imported() -> None:
    _, status, modules = run(RUN, "classify", "a.jpg", "-l", "cat,cat")
    assert status == 2
    assert "torch" not in modules


def test_a_command_imports_neither_pydantic_nor_other_commands() -> None:
    code = RUN.replace(
        "for name in sys.modules}", 'for name in sys.modules} | {name for name in sys.modules if "commands" in name}'
    )
    _, status, modules = run(code, "models", "list")
    assert status == 0
    assert "pydantic" not in modules  # Typer reads values with it, where there is something to read
    assert "clipcli.cli.commands.models" in modules
    assert not {f"clipcli.cli.commands.{name}" for name in ("classify", "search", "serve", "labels")} & modules


def test_a_number_is_read_by_typer() -> None:
    _, status, modules = run(RUN, "classify", "a.jpg", "-l", "cat,dog", "--top", "x")
    assert status == 2
    assert "pydantic" in modules
