import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clipcli.cli.commands.labels import labels_app
from tests.helpers.schemas import check_document, check_rows


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPCLI_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "config" / "prompts"
    folder.mkdir(parents=True)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(labels_app, list(arguments))


def test_list_in_a_pipe_is_json_lines() -> None:
    result = run("list")
    assert result.exit_code == 0
    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows["imagenet-1k"]["labels"] == 1000
    assert rows["imagenet-1k"]["templates"] == 1
    assert rows["cifar10-zh"]["language"] == "zh"
    assert rows["pets"]["built_in"] is True
    assert result.stderr == ""


def test_list_as_a_table_fits_80_columns(user: Path) -> None:
    (user / "own.yaml").write_text("description: '[red]mine[/red]'\nlabels: [a, b, c]")
    result = run("list", "--format", "table")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "language", "labels", "templates", "description"]
    assert max(map(len, lines)) <= 80
    (own,) = [line for line in lines if line.startswith("own (yours)")]
    assert own.split()[-3:] == ["3", "1", "[red]mine[/red]"]


def test_list_as_json_and_csv() -> None:
    document = json.loads(run("list", "--json").stdout)
    assert document["schema"] == "clipcli.labels/1"
    names = [row["name"] for row in document["results"]]
    table = list(csv.DictReader(io.StringIO(run("list", "--format", "csv").stdout)))
    assert [row["name"] for row in table] == names == sorted(names)


def test_list_templates() -> None:
    rows = {row["name"]: row for row in map(json.loads, run("list", "--templates").stdout.splitlines())}
    assert rows["photo-60"]["templates"] == 60
    assert "labels" not in rows["photo-60"]


def test_a_broken_file_does_not_hide_the_others(user: Path) -> None:
    (user / "broken.yaml").write_text("labels: [no]")
    (user / "fine.yaml").write_text("labels: [cat]")
    result = run("list")
    assert result.exit_code == 0
    assert all(part in result.stderr for part in ("broken.yaml:1", "yes/no"))
    assert '"fine"' in result.stdout
    assert "broken.yaml" not in result.stdout


def test_show(user: Path) -> None:
    (user / "own.yaml").write_text(
        "labels: [animal/cat, {name: dog, prompts: [dog, puppy], threshold: 0.3}, "
        "{group: w, labels: [{name: rain, examples: rain/*.png}]}]"
    )
    rows = [json.loads(line) for line in run("show", "own").stdout.splitlines()]
    assert rows == [
        {"label": "animal/cat", "group": None, "threshold": None, "prompts": ["cat"], "examples": []},
        {"label": "dog", "group": None, "threshold": 0.3, "prompts": ["dog", "puppy"], "examples": []},
        {
            "label": "rain",
            "group": "w",
            "threshold": None,
            "prompts": ["rain"],
            "examples": [str(user / "rain" / "*.png")],
        },
    ]


def test_show_prompts_shows_what_is_encoded() -> None:
    rows = [json.loads(line) for line in run("show", "cifar10-zh", "--prompts").stdout.splitlines()]
    assert len(rows) == 30
    assert rows[9] == {"label": "猫", "prompt": "一张猫的照片。"}


def test_show_as_json_holds_the_set_too(user: Path) -> None:
    (user / "own.yaml").write_text("labels: [cat]\nnone: nothing\nbackground: [a photo.]\nlanguage: fr")
    document = json.loads(run("show", "own", "--json").stdout)
    assert document["label_set"] == {
        "name": "own",
        "description": "",
        "language": "fr",
        "source": "",
        "templates": ["une photo de {}."],
        "none": "nothing",
        "background": ["a photo."],
        "taught": None,
    }
    assert [row["label"] for row in document["results"]] == ["cat"]


def test_show_as_a_table() -> None:
    result = run("show", "sentiment", "--format", "table")
    assert result.stdout.splitlines()[0].split() == ["label", "prompts"]
    assert "positive/joy" in result.stdout
    assert "joy | happiness" in result.stdout
    assert "templates:\n  a picture that conveys {}.\n" in result.stderr


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_show_keeps_prompts_of_several_words_apart(format: str, delimiter: str, user: Path) -> None:
    (user / "own.yaml").write_text("labels: [{name: sweets, prompts: [ice cream, apple pie, cake]}]")
    (row,) = csv.DictReader(io.StringIO(run("show", "own", "-f", format).stdout), delimiter=delimiter)
    assert row["prompts"] == "ice cream | apple pie | cake"


def test_show_writes_to_a_file(tmp_path: Path) -> None:
    result = run("show", "cifar10", "--output", str(tmp_path / "x.jsonl"))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 10


def test_a_typo() -> None:
    result = run("show", "imagenet")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "'imagenet'" in result.stderr
    assert "did you mean imagenet-1" in result.stderr


def test_check(user: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    bad = tmp_path / "bad.yaml"
    templates = tmp_path / "templates.yaml"
    good.write_text("labels: [cat, dog]\ntemplates: ['{}', 'a {}']")
    bad.write_text("labels:\n- cat\n- cat")
    templates.write_text("templates: ['{}']")
    result = run("check", str(good), str(bad), str(templates), "pets")
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        f"{good}: ok (2 labels, 2 templates)",
        f"{templates}: ok (1 template)",
        "pets: ok (27 labels, 3 templates)",
    ]
    assert all(part in result.stderr for part in (str(bad), "'cat'"))
    assert run("check", str(good)).exit_code == 0


def test_new(user: Path, tmp_path: Path) -> None:
    result = run("new", "pets")
    assert result.exit_code == 0
    assert result.stdout.strip() == str(user / "pets.yaml")
    assert "built-in" in result.stderr
    assert run("check", "pets").exit_code == 0
    again = run("new", "pets")
    assert again.exit_code == 2
    assert "exists" in again.stderr
    path = tmp_path / "mine.yaml"
    assert run("new", str(path)).stdout.strip() == str(path)
    assert run("check", str(path)).exit_code == 0


@pytest.mark.parametrize("name", ["", ".", "..", "/", "folder/", "folder/.."])
def test_new_takes_no_folder_for_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    result = run("new", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"clip: error: {name!r} names no file\n  hint: give a name")
    assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"\xff.yaml", "FILE"), (b"two\nlines.yaml", "FILE"), (b"two words.yaml", "'{folder}/two words.yaml'")],
)
def test_new_takes_every_name_of_a_file(name: bytes, shown: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    result = run("new", str(path))
    assert result.exit_code == 0
    assert result.stdout_bytes == os.fsencode(path) + b"\n"
    assert f"Check it after editing: clip labels check {shown.format(folder=tmp_path)}\n" in path.read_text()
    assert run("check", str(path)).exit_code == 0


@pytest.mark.parametrize("command", [["new"], ["show"], ["check"]])
def test_a_home_of_nobody_is_an_error(command: list[str]) -> None:
    result = run(*command, "~nobody-of-that-name/set.yaml")
    assert result.exit_code in (1, 2)
    assert "~nobody-of-that-name/set.yaml" in result.stderr


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from clipcli.cli.commands.labels import labels_app\n"
        "try: labels_app(['show', 'pets', '--format', 'jsonl'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'PIL', 'rich', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_output_keeps_to_its_schemas() -> None:
    check_document("clipcli.labels-1", json.loads(run("list", "--json").stdout))
    check_document("clipcli.labels-1", json.loads(run("list", "--templates", "--json").stdout))
    for arguments in (["show", "photo-subjects"], ["show", "pets-zh", "--prompts"]):
        check_document("clipcli.label_set-2", json.loads(run(*arguments, "--json").stdout))
        check_rows("clipcli.label_set-2", [json.loads(line) for line in run(*arguments).stdout.splitlines()])
