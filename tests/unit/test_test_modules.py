"""What tests share lies in `tests/helpers`, so that a test module can be read, moved or deleted by itself.

What they replace is a parameter or a public name, so that what is private can change without them.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_test_module_imports_another() -> None:
    imports = re.compile(r"^\s*(?:from|import) tests\.\w+\.test_", re.MULTILINE)
    assert [path.name for path in TESTS.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))] == []


def test_no_test_patches_a_private_name() -> None:
    """Python's own (`__call__`, `os._exit`) apart."""
    found = [f"{path.name}: {name}" for path in TESTS.rglob("*.py") for name in _patched(path) if _is_private(name)]
    assert found == []


def _patched(path: Path) -> Iterator[str]:
    """What is patched: `setattr(module, name, value)`, `setattr("module.name", value)`, `setitem(module.NAME, ...)`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr"), args=[target, *more]):
                spelled = [ast.unparse(part).strip("'") for part in (target, *more[:1])]
                yield ".".join(spelled if len(more) > 1 else spelled[:1])
            case ast.Call(func=ast.Attribute(attr="setitem" | "delitem"), args=[target, *_]):
                yield ast.unparse(target)


def _is_private(name: str) -> bool:
    return name != "os._exit" and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
