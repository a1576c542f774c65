"""Warnings point at the line that called the package, not at a line inside it."""

import pytest

from clipcli.errors import ClipWarning, warn


def test_a_warning_points_at_its_caller() -> None:
    with pytest.warns(ClipWarning, match="careful") as caught:
        warn("careful")
    assert [w.filename for w in caught] == [__file__]


def test_nothing_but_the_package_is_left_out() -> None:
    caller = {"__name__": "clipcli_of_mine"}
    exec(compile("def call(warn): warn('careful')", "theirs.py", "exec"), caller)
    with pytest.warns(ClipWarning) as caught:
        caller["call"](warn)
    assert [w.filename for w in caught] == ["theirs.py"]
