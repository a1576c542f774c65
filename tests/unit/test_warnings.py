"""Warnings point at the line that called the package, not at a line inside it."""

from pathlib import Path

import pytest

import clipcli
from clipcli.errors import ClipWarning, UsageError, warn


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


@pytest.mark.parametrize("ask", ["classify", "score", "encode_texts"])
def test_what_the_model_warns_of_points_at_who_asked(ask: str, clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint))
    texts = ["cat " * 200, "猫"]
    with pytest.warns(ClipWarning) as caught:
        getattr(model, ask)(*([texts] if ask == "encode_texts" else [[], texts]))
    assert [(w.filename, "longer" in str(w.message)) for w in caught] == [(__file__, False), (__file__, True)]


@pytest.mark.parametrize("label", ["x" * 10_000, "it's " * 2000, "a\"b'c" * 2000])
def test_what_is_quoted_is_shortened_and_the_rest_is_whole(label: str) -> None:
    path = "/photos/" + "y" * 3000
    message = str(UsageError(f"{path}: label {label!r} is not known"))
    assert message.startswith(path) and message.endswith("is not known") and len(message) < 3400
    with pytest.warns(ClipWarning) as caught:
        warn(f"label {label!r}")
    assert len(str(caught[0].message)) < 400


def test_labels_of_a_length_that_can_be_read_are_whole() -> None:
    message = f"labels {'x' * 200!r} and {'y' * 250!r} are the same"
    assert str(UsageError(message)) == message
