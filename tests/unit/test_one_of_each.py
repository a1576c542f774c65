"""What there is once: the way from a name to a checkpoint, and the protocol of progress."""

import re
from pathlib import Path

import pytest

import clipcli

PACKAGE = Path(clipcli.__file__).parent


@pytest.mark.parametrize(
    ("pattern", "homes"),
    [
        (r"\bfetch_model\(", {"foreign/resolve.py", "hub/resolve.py"}),
        (r"(on_progress|Progress)(: TypeAlias)?( =|:) \"?Callable", {"progress.py"}),
        (r"\brmtree\((?!.*ignore_errors)", {"files.py"}),
    ],
)
def test_it_has_one_home(pattern: str, homes: set[str]) -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert found == homes
