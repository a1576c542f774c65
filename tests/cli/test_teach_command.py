"""`clip labels teach` and `--examples`, as they are typed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from clipcli.errors import ExitStatus
from clipcli.labels.library import find_label_set
from tests.cli.conftest import Clip
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_document, check_rows

COLORS = {"warm": (230, 90, 30), "cold": (30, 90, 230)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: three examples a label in `examples`, another image of each in `new`."""
    monkeypatch.chdir(tmp_path)
    for seed, (label, color) in enumerate(COLORS.items()):
        for number in range(4):
            place = tmp_path / ("new" if number == 3 else "examples") / label
            place.mkdir(parents=True, exist_ok=True)
            image = Image.blend(scene(10 * seed + number, (80, 80)), Image.new("RGB", (80, 80), color), 0.5)
            image.save(place / f"{number}.png")
    return tmp_path


@pytest.fixture
def demo(clip: Clip) -> Clip:
    """`clip` with the bundled model."""
    return lambda *arguments, **options: clip(*arguments, **{"CLIPCLI_MODEL": "demo", **options})


def test_teach_writes_paths_and_prints_what_it_does(demo: Clip, folder: Path) -> None:
    outcome = demo("labels", "teach", "./moods.yaml", "--examples", "examples", "--json")
    assert outcome.status == 0
    document = json.loads(outcome.stdout)
    check_document("clipcli.lesson-1", document)
    check_rows("clipcli.lesson-1", document["results"])
    assert [(row["label"], row["examples"]) for row in document["results"]] == [("cold", 3), ("warm", 3)]
    assert document["chance"] == 0.5
    assert document["judged"] == 6
    text = (folder / "moods.yaml").read_text()
    assert "- examples/warm/0.png" in text
    assert "model_name: demo" in text
    moved = folder / "elsewhere"
    moved.mkdir()
    for name in ("moods.yaml", "examples"):
        shutil.move(folder / name, moved)
    rows = demo("classify", "new", "-s", moved / "moods.yaml").rows
    assert [row["label"] for row in rows] == ["cold", "warm"]


def test_a_name_goes_into_the_users_label_sets(demo: Clip, folder: Path) -> None:
    assert demo("labels", "teach", "moods", "--examples", "examples").status == 0
    assert find_label_set("moods").labels[0].examples[0] == str(folder / "examples" / "cold" / "0.png")
    shown = demo("labels", "show", "moods", "--json")
    document = json.loads(shown.stdout)
    check_document("clipcli.label_set-2", document)
    assert document["label_set"]["taught"] == "demo"
    assert len(document["results"][0]["examples"]) == 3
    table = demo("labels", "show", "moods", "--format", "table")
    assert "examples" in table.stdout and "taught: demo" in table.stderr


def test_many_examples_do_not_fill_the_screen(demo: Clip, folder: Path) -> None:
    examples = ", ".join(f"{number}.png" for number in range(10))
    (folder / "many.yaml").write_text(f"labels: [cat, {{name: dog, examples: [{examples}]}}]")
    shown = demo("labels", "show", "./many.yaml", "--format", "table", COLUMNS="300")
    assert "and 7 more" in shown.stdout and "3.png" not in shown.stdout


def test_check_misses_examples_that_have_gone(demo: Clip, folder: Path) -> None:
    demo("labels", "teach", "./moods.yaml", "--examples", "examples")
    assert demo("labels", "check", "./moods.yaml").status == 0
    (folder / "examples" / "warm" / "1.png").unlink()
    outcome = demo("labels", "check", "./moods.yaml")
    assert outcome.status == ExitStatus.USAGE
    assert "warm/1.png" in outcome.stderr


def test_an_existing_set_is_replaced_only_on_request(demo: Clip, folder: Path) -> None:
    arguments = ("labels", "teach", "./moods.yaml", "--examples", "examples")
    (folder / "moods.yaml").write_text("labels: [cat]")
    refused = demo(*arguments)
    assert refused.status == ExitStatus.USAGE
    assert "--force" in refused.stderr
    assert (folder / "moods.yaml").read_text() == "labels: [cat]"
    assert demo(*arguments, "--force").status == 0
    assert find_label_set("./moods.yaml").names == ("cold", "warm")


def test_another_model_is_refused_until_the_set_is_taught_again(
    demo: Clip, folder: Path, clip_checkpoint: Path
) -> None:
    demo("labels", "teach", "./moods.yaml", "--examples", "examples")
    refused = demo("classify", "new", "-s", "moods.yaml", "-m", clip_checkpoint)
    assert refused.status == ExitStatus.USAGE
    assert "demo" in refused.stderr
    assert "teach" in refused.stderr
    again = ("labels", "teach", "./moods.yaml", "-s", "./moods.yaml", "-m", clip_checkpoint, "--force")
    assert demo(*again).status == 0
    assert demo("classify", "new", "-s", "moods.yaml", "-m", clip_checkpoint).status == 0
    assert demo("classify", "new", "-s", "moods.yaml").status == ExitStatus.USAGE


def test_one_example_each_prints_no_share(demo: Clip, folder: Path) -> None:
    for label in COLORS:
        for number in (1, 2):
            (folder / "examples" / label / f"{number}.png").unlink()
    outcome = demo("labels", "teach", "./moods.yaml", "--examples", "examples", "--format", "table")
    assert outcome.status == 0
    assert "%" not in outcome.stdout
    assert "one example" in outcome.stderr


def test_copies_are_pointed_out(demo: Clip, folder: Path) -> None:
    shutil.copy(folder / "examples" / "cold" / "0.png", folder / "examples" / "cold" / "copy.png")
    outcome = demo("labels", "teach", "./moods.yaml", "--examples", "examples", "--format", "csv")
    assert outcome.stdout.splitlines()[1].startswith("cold,4,3,")
    assert "copy.png" in outcome.stderr
    assert demo("labels", "teach", "./other.yaml", "--examples", "examples", "-q").stderr == ""


def test_an_example_that_cannot_be_read_makes_it_partial(demo: Clip, folder: Path) -> None:
    (folder / "examples" / "cold" / "broken.jpg").write_text("no image")
    outcome = demo("labels", "teach", "./moods.yaml", "--examples", "examples")
    assert outcome.status == ExitStatus.PARTIAL
    assert "broken.jpg" in outcome.stderr
    assert "broken" not in (folder / "moods.yaml").read_text()


def test_excluded_examples_are_not_taken(demo: Clip, folder: Path) -> None:
    demo("labels", "teach", "./moods.yaml", "--examples", "examples", "--exclude", "2.png")
    assert [len(label.examples) for label in find_label_set("./moods.yaml").labels] == [2, 2]


@pytest.mark.parametrize("command", ["classify", "tag"])
def test_examples_on_the_spot(command: str, demo: Clip, folder: Path) -> None:
    threshold = () if command == "classify" else ("--threshold", "0.01", "--top", "1")
    outcome = demo(command, "new", "--examples", "examples", *threshold)
    assert outcome.status == 0
    best = [(row.get("label") or row["tags"][0]["label"]) for row in outcome.rows]
    assert best == ["cold", "warm"]
    check_rows(f"clipcli.{command}-2", outcome.rows)


def test_evaluation_with_examples_and_without(demo: Clip, folder: Path) -> None:
    labels = ("--labels", "cold,warm")
    outcome = demo("eval", "new", *labels, "--compare", "--examples examples", "--json")
    assert outcome.status == 0
    assert json.loads(outcome.stdout)["comparison"]["figures"] is not None
    left_out = demo("eval", "examples", *labels, "--examples", "examples")
    assert left_out.status == ExitStatus.USAGE


def test_a_run_with_other_examples_is_not_resumed(demo: Clip, folder: Path) -> None:
    arguments = ("classify", "new", "-l", "cold,warm", "-o", "rows.jsonl", "--resume")
    assert demo(*arguments, "--examples", "examples").status == 0
    assert demo(*arguments, "--examples", "examples").status == 0
    other = demo(*arguments)
    assert other.status == ExitStatus.USAGE
    assert "examples" in other.stderr


@pytest.mark.parametrize("examples", ["missing", "examples/warm", "one"])
def test_what_is_not_a_folder_of_examples(examples: str, demo: Clip, folder: Path) -> None:
    shutil.copytree(folder / "examples" / "warm", folder / "one" / "warm")
    outcome = demo("classify", "new", "--examples", examples)
    assert outcome.status == ExitStatus.USAGE
    assert outcome.stdout == ""


def test_without_labels_there_is_nothing_to_teach(demo: Clip, folder: Path) -> None:
    assert demo("labels", "teach", "./x.yaml").status == ExitStatus.USAGE
    outcome = demo("labels", "teach", "./x.yaml", "-l", "cat,dog")
    assert outcome.status == ExitStatus.USAGE
    assert "examples" in outcome.stderr
