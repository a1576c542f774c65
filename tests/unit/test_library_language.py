"""The rooms below the command line speak of parameters: no option of a program is in what they say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import clipcli

PACKAGE = Path(clipcli.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines, docstrings and other bare expressions left out."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def test_only_the_command_line_has_options() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "cli"]
    assert len(modules) > 80
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in modules
        for line, text in texts(path.read_text(encoding="utf-8"))
        if OPTION.search(text)
    ]
    assert found == []


def test_the_search_finds_options() -> None:
    source = '"""For `--top`."""\nraise UsageError(f"--top must be {least} or more")\n'
    assert [text for _, text in texts(source) if OPTION.search(text)] == ["--top must be "]
