"""What tests share lies in `tests/helpers`, so that a test module can be read, moved or deleted by itself."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_test_module_imports_another() -> None:
    imports = re.compile(r"^\s*(?:from|import) tests\.\w+\.test_", re.MULTILINE)
    assert [path.name for path in TESTS.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))] == []
