"""Help pages, walked over the whole tree of commands: a new one is held to the same rules."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from clipcli.cli.app import app
from clipcli.cli.shell.help import split_help
from tests.cli.conftest import Clip, Program


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


TREE = dict(walk(typer.main.get_command(app)))
every_command = pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(("clip", *path)))


@every_command
def test_help_fits_80_columns(clip: Clip, path: tuple[str, ...]) -> None:
    outcome = clip(*path, "--help")
    assert outcome.status == 0
    assert [line for line in outcome.stdout.splitlines() if len(line) > 80] == []


@every_command
def test_help_says_what_words_stand_for_and_cuts_nothing_short(clip: Clip, path: tuple[str, ...]) -> None:
    text = clip(*path, "-h").stdout
    assert not re.search(r"<\w|list\[", text)
    assert not re.search(r"\w\.\.\.$", text, re.MULTILINE)


@every_command
def test_every_command_shows_two_to_four_examples_of_itself(clip: Clip, path: tuple[str, ...]) -> None:
    prose, examples = split_help(TREE[path].help)
    assert prose.endswith(".")
    assert (2 if path else 1) <= len(examples) <= 4  # the front page is one screen
    assert all(" ".join(("clip", *path)) in example for example in examples)
    shown = clip(*path, "--help").stdout
    assert ("\nExamples:\n" if path else "\n") + "".join(f"  {example}\n" for example in examples) in shown


@every_command
def test_examples_use_commands_and_options_that_exist(path: tuple[str, ...]) -> None:
    for example in split_help(TREE[path].help)[1]:
        words = re.findall(r"clip .*?(?=[|)]|$)", example)[0].split()[1:]
        used = next(tuple(words[:depth]) for depth in (2, 1) if tuple(words[:depth]) in TREE)
        options = {option for parameter in TREE[used].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-") and word != "-"} <= options, example


def test_the_bare_command_is_one_screen_with_a_first_example(clip: Clip) -> None:
    outcome = clip()
    page = outcome.stdout + outcome.stderr
    assert len(page.splitlines()) <= 23, "a screen has 24 lines, and one of them is the prompt's"
    assert page.index("clip classify img.jpg --labels cat,dog") < page.index("\nAsk ") < page.index("Options:")
    rows = re.findall(r"^(\w*) +(\w+)  +\S", page.partition("--model demo\n")[2], re.MULTILINE)
    assert sorted(name for _, name in rows) == sorted({path[0] for path in TREE if path})
    assert [title for title, _ in rows if title] == ["Ask", "Find", "Measure", "Serve", "Manage"]


def test_options_stand_in_their_groups(clip: Clip) -> None:
    page = clip("classify", "--help").stdout
    titles = re.findall(r"^(\w+):$", page, re.MULTILINE)
    assert titles[:3] == ["Examples", "Labels", "Inputs"] and titles[-3:] == ["Model", "Output", "Options"]
    assert page.index("\nInputs:") < page.index("  IMAGE ") < page.index("  --exclude")
    assert page.index("\nModel:") < page.index(" --device") < page.index("\nOutput:") < page.index(" --quiet")
    assert "CLIPCLI_" not in page


def test_options_for_experts_are_asked_for(clip: Clip) -> None:
    short, long = clip("classify", "-h").stdout, clip("classify", "--help-all").stdout
    assert "--exact-decode" not in short and "--help-all" in short
    assert long.index("\nOptions:") < long.index("\nExpert options:") < long.index("--exact-decode")
    assert {name for name in re.findall(r"--[a-z-]+", short)} - {"--help-all"} < set(re.findall(r"--[a-z-]+", long))
    assert "--help-all" not in clip("cache", "path", "-h").stdout


def test_a_wide_terminal_is_used(program: Program) -> None:
    narrow, wide = (
        program("classify", "-h", environment={"COLUMNS": columns}).communicate()[0].decode().splitlines()
        for columns in ("80", "130")
    )
    assert max(map(len, narrow)) <= 80 < max(map(len, wide)) <= 130
    assert len(wide) < len(narrow)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("clasify",), "did you mean classify?"),
        (("labels", "shwo"), "did you mean show?"),
        (("classify", "--lables", "a"), "did you mean --labels or"),
        (("classify", "--format", "jsn"), "did you mean json?"),
        (("classify", "--scoring", "sofmax"), "did you mean softmax?"),
        (("models", "convert", "a", "b", "--activation", "quickgelu"), "did you mean quick_gelu?"),
        (("classify", "x.jpg", "-l", "a,b", "--model", "vit-b33"), "did you mean vit-b32"),
        (("classify", "x.jpg", "-l", "a,b", "--dtype", "flaot32"), "float32"),
        (("labels", "show", "pest"), "did you mean pets"),
    ],
)
def test_what_is_misspelt_gets_a_suggestion(clip: Clip, arguments: tuple[str, ...], nearest: str) -> None:
    outcome = clip(*arguments)
    assert outcome.status in (2, 4)
    assert nearest in outcome.stderr
    assert "Value error" not in outcome.stderr


def test_a_far_off_choice_lists_all_and_guesses_none(clip: Clip) -> None:
    outcome = clip("classify", "--format", "parquet")
    assert outcome.status == 2
    assert "'jsonl'" in outcome.stderr
    assert "did you mean" not in outcome.stderr
