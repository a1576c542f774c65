"""Every message of the program, read from its source: errors, warnings and hints, with {} for what is filled in.

`tests/data/messages.txt` holds them all, so that wording is asserted once and a change of it can be read as one diff.
`python -m tests.helpers.messages` (`make messages`) writes it anew.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import clipcli
import clipcli.errors
import clipcli.serve.errors

PACKAGE = Path(clipcli.__file__).parent
GOLDEN = Path(__file__).parents[1] / "data" / "messages.txt"
CLASSES = {**vars(clipcli.errors), **vars(clipcli.serve.errors)}
SPEAKERS = {name for name, value in CLASSES.items() if isinstance(value, type)} | {"say", "warn", "error"}


def messages() -> Iterator[tuple[str, str]]:
    """The module of each message, and its words."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) in SPEAKERS:
                for text in [*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg == "hint")]:
                    if words := "".join(_words(text)):
                        yield place, words


def golden() -> str:
    """The messages of all modules, as the file holds them."""
    found: dict[str, list[str]] = {}
    for place, words in messages():
        found.setdefault(place, []).append(words)
    blocks = ("\n".join([place, *(f"    {words!r}" for words in sorted(set(said)))]) for place, said in found.items())
    return "\n\n".join(blocks) + "\n"


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _words(text: ast.expr) -> Iterator[str]:
    """The words of a string; of a choice between two, both."""
    match text:
        case ast.Constant(value=str() as words):
            yield words
        case ast.JoinedStr(values=parts):
            for part in parts:
                yield str(part.value) if isinstance(part, ast.Constant) else "{}"
        case ast.IfExp(body=body, orelse=orelse):
            yield from _words(body)
            yield " | "
            yield from _words(orelse)


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf-8")
    sys.stdout.write(f"{GOLDEN}\n")
