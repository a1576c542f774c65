"""Labels, templates and flags that cannot be meant: status 2, said before any image is read."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Clip


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (["-l", "cat,dog,cat"], "'cat'", "once"),
        (["-l", "cat", "-l", "cat"], "'cat'", "once"),
        (["-l", "cat,,dog"], "empty", "two commas in a row"),
        (["-l", ""], "empty", None),
        (["-l", "@nowhere.txt"], "--labels @nowhere.txt: No such file", "quotes"),
        (["-l", 'cat,"dog'], "match", "cat,"),
        (["-s", "petz"], "'petz'", "did you mean pets"),
        (["-s", "nowhere.yaml"], "nowhere.yaml", None),
        (["-s", "pets", "-s", "pets"], "'pets'", "once"),
        (["-l", "cat,dog", "-t", "a photo"], "'a photo'", '"a photo of a {}."'),
        (["-l", "cat,dog", "-t", "a {} and a {}"], "2 times", None),
        (["-l", "cat,dog", "-t", "a {}", "-t", "a {}"], "'a {}'", "remove"),
        (["-l", "cat,dog", "-t", "a {}", "--no-template"], "--no-template", "one"),
        (["-l", "cat,dog", "-t", "foto"], "'foto'", None),
        (["-l", "cat,dog", "--none-text", "cat"], "'cat'", None),
        (["-l", "cat,dog", "--none-text", ""], "empty", "an empty room"),
        (["-l", "cat,dog", "--none-text", "a\nb"], "'a\\nb'", None),
        (["-s", "animals", "--depth", "0"], "--depth", None),
        (["-s", "animals", "--depth", "1", "--scoring", "sigmoid"], "--depth", None),
        (["-s", "animals", "--depth", "1", "--none-text", "bird"], "'bird'", "--depth"),
        (["-l", "animal/cat,animal/dog,car", "--depth", "1"], "--labels", "--label-set"),
        (["-s", "pets", "--depth", "1"], "--label-set", "animal/dog"),
        (["-l", "caf\udce9"], "UTF-8", None),
    ],
)
def test_labels_and_templates(arguments: list[str], words: str, hint: str | None, clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    error, *rest = outcome.stderr.splitlines()
    assert error.startswith("clip: error: ")
    assert words in error
    assert hint is None or hint in "".join(rest)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("labels: [cat, dog]\nlabel: [bird]\n", 2, "label"),
        ("labels:\n  - cat\n  - no\n", 3, "quote"),
        ("labels:\n  - cat\n  - 7\n", 3, "quote"),
        ("labels:\n\t- cat\n\t- dog\n", 2, "tab"),
        ("labels: [cat, cat]\n", 1, "twice"),
        ("labels: [cat, dog]\ntemplates: [a photo]\n", 2, "{}"),
        ("labels: []\n", 1, "label"),
        ("labels: [cat, dog\n", 1, "expected"),
    ],
)
def test_a_label_set_file(text: str, line: int, words: str, clip: Clip, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    outcome = clip("classify", images, "--label-set", path)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"clip: error: {path}:{line}:")
    assert words in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top", "0"], "--top .*1"),
        (["--temperature", "0"], "--temperature .*1e-06"),
        (["--temperature", "-1"], "--temperature .*1e-06"),
        (["--temperature", "1e-310"], "--temperature .*1e-310"),
        (["--temperature", "nan"], "--temperature .*1e-06"),
        (["--temperature", "inf"], "--temperature .*1e-06"),
        (["--temperature", "2", "--scoring", "cosine"], "--temperature .*cosines"),
        (["--threshold", "nan"], "--threshold .* 0 .* 1"),
        (["--threshold", "-0.1"], "--threshold .* 0 .* 1"),
        (["--threshold", "50"], "--threshold .* 0 .* 1"),
        (["--threshold", "-2", "--scoring", "cosine"], "--threshold .* -1 .* 1"),
        (["--json", "--format", "csv"], "--json .*--format csv"),
        (["-0"], "--null .*--from-file"),
        (["--batch-size", "0"], "--batch-size .*1"),
        (["--batch-size", "many"], "--batch-size .*many"),
        (["--workers", "0"], "--workers .*1"),
        (["--device", "gpu"], "--device gpu"),
        (["--dtype", "float8"], "--dtype float8"),
    ],
)
def test_flags(arguments: list[str], words: str, clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert re.match(f"clip: error: {words}", outcome.stderr)


@pytest.mark.parametrize(
    ("variable", "value", "flag"),
    [
        ("CLIPCLI_BATCH_SIZE", "x", "--batch-size"),
        ("CLIPCLI_WORKERS", "0", "--workers"),
        ("CLIPCLI_DEVICE", "gpu", "--device"),
        ("CLIPCLI_DTYPE", "float8", "--dtype"),
        ("CLIPCLI_REVISION", "v2", "--revision"),
    ],
)
def test_a_variable_that_gave_a_flag_is_named(variable: str, value: str, flag: str, clip: Clip, images: Path) -> None:
    asked = ("classify", images, "-l", "cat,dog", "-m", "demo")
    outcome = clip(*asked, **{variable: value})
    assert (outcome.status, outcome.stdout) == (2, "")
    assert all(part in outcome.stderr for part in (str(variable), str(value), str(flag)))
    assert variable not in clip(*asked, flag, value).stderr


@pytest.mark.parametrize("arguments", [["--formt", "json"], ["--top", "many"], ["--format", "xml"]])
def test_flags_that_do_not_exist(arguments: list[str], clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert arguments[0] in outcome.stderr
    assert outcome.stderr.startswith("clip: error: ")
    assert "\n  hint: " in outcome.stderr


def test_no_images(clip: Clip) -> None:
    for command in (["classify", "-l", "cat,dog"], ["score", "--text", "a cat"]):
        outcome = clip(*command)
        assert (outcome.status, outcome.stdout) == (2, "")
        assert "images" in outcome.stderr
        assert "folders" in outcome.stderr


def test_standard_input_can_be_read_once(clip: Clip) -> None:
    outcome = clip("classify", "-", "--from-file", "-", "-l", "cat,dog")
    assert outcome.status == 2
    assert "input" in outcome.stderr


def test_a_list_of_paths_that_is_not_there(clip: Clip) -> None:
    outcome = clip("classify", "--from-file", "nowhere.txt", "-l", "cat,dog")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "--from-file nowhere.txt: No such file" in outcome.stderr


def test_no_labels(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "labels" in outcome.stderr
    assert "--labels cat,dog" in outcome.stderr and "--label-set NAME" in outcome.stderr


@pytest.mark.parametrize("model", ["openai/clip-vit-base-patch32", "chinese-b16"])
def test_no_labels_are_missed_before_a_published_model_is_looked_for(model: str, clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-m", model)
    assert outcome.status == 2
    assert "labels" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "text"),
        (["--text", " "], "--text"),
        (["--text", "a", "--text", "a"], "--text 'a'"),
        (["--text", "caf\udce9"], "UTF-8"),
        (["--text", "a", "--temperature", "nan"], "--temperature"),
    ],
)
def test_texts(arguments: list[str], words: str, clip: Clip, images: Path) -> None:
    outcome = clip("score", images, *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert words in outcome.stderr


def test_one_label_has_no_score(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images / "a.png", "-l", "cat")
    assert outcome.status == 0
    (row,) = outcome.rows
    assert (row["label"], row["score"]) == ("cat", None)
    assert row["predictions"][0]["score"] is None
    assert -1 <= row["predictions"][0]["cosine"] <= 1
    assert outcome.stderr == (
        "clip: warning: a softmax over one label means nothing, so there is no score; see cosine, or add labels\n"
    )
    assert clip("classify", images / "a.png", "-l", "cat", "-q").stderr == ""


@pytest.mark.parametrize("more", [["--scoring", "sigmoid"], ["--scoring", "cosine"], ["--none-of-these"]])
def test_one_label_has_a_score_where_it_means_something(more: list[str], clip: Clip, images: Path) -> None:
    outcome = clip("classify", images / "a.png", "-l", "cat", *more)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert all(prediction["score"] is not None for prediction in outcome.rows[0]["predictions"])


def test_one_label_and_a_threshold_is_a_mistake(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat", "--threshold", "0.5")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "softmax" in outcome.stderr
