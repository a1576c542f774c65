"""`clip eval` as a user runs it, and everything that can be wrong with what it is given."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcli.answers import metrics
from tests.cli.conftest import Clip
from tests.helpers.schemas import check_document, check_rows

LABELS = ("red", "green", "blue")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """One folder per label with images that a random model tells apart more or less."""
    rng = np.random.default_rng(0)
    for i, label in enumerate(LABELS):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for k in range(4):
            pixels = rng.integers(0, 80, (24, 24, 3))
            pixels[..., i] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "labelled" / label / f"{k}.png")
    return tmp_path / "labelled"


def test_the_document(clip: Clip, labelled: Path) -> None:
    outcome = clip("eval", labelled, "--json")
    assert outcome.status == 0
    document = json.loads(outcome.stdout)
    check_document("clipcli.eval-1", document)
    assert document["summary"]["judged"] == 12 and document["figures"]["chance"] == pytest.approx(1 / 3)
    assert sum(row["images"] for row in document["results"]) == 12
    wrong = sum(pair["images"] for pair in document["confusions"])
    assert document["figures"]["top_1"]["value"] == pytest.approx(1 - wrong / 12)


def test_rows_for_programs(clip: Clip, labelled: Path) -> None:
    outcome = clip("eval", labelled)
    check_rows("clipcli.eval-1", outcome.rows)
    assert [row["label"] for row in outcome.rows] == ["blue", "green", "red"]
    table = list(csv.DictReader(io.StringIO(clip("eval", labelled, "--format", "csv").stdout)))
    assert [row["label"] for row in table] == ["blue", "green", "red"] and table[0]["images"] == "4"


def test_a_table_for_people(clip: Clip, labelled: Path) -> None:
    outcome = clip("eval", labelled, "--format", "table", COLUMNS="100")
    assert outcome.status == 0
    for text in ("top-1 accuracy", "chance", "33.3%", "worst labels", "most confused"):
        assert text in outcome.stdout


def test_everything_can_be_computed_again_from_the_predictions(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    (labelled / "none").mkdir()
    Image.new("RGB", (24, 24), "white").save(labelled / "none" / "white.png")
    (labelled / "red" / "broken.png").write_text("not an image")
    predictions = tmp_path / "all.jsonl"
    outcome = clip("eval", labelled, "--json", "--predictions", predictions)
    assert outcome.status == 3
    document = json.loads(outcome.stdout)
    head, *rows = map(json.loads, predictions.read_text().splitlines())
    check_document("clipcli.predictions-1", head)
    check_rows("clipcli.predictions-1", rows)
    judged = [row for row in rows if row.get("logits")]
    logits = np.array([row["logits"] for row in judged], dtype=np.float32)
    truth = np.array([head["labels"].index(row["truth"][0]) for row in judged])
    figures = document["figures"]
    ranks = metrics.true_ranks(logits, truth)
    assert figures["top_1"]["value"] == metrics.top_k_accuracy(ranks)
    assert [row["rank"] for row in judged] == ranks.tolist()
    odds = metrics.softmax(logits, head["run"]["temperature"])
    assert figures["log_loss"]["value"] == pytest.approx(metrics.negative_log_likelihood(logits, truth))
    assert figures["brier"]["value"] == pytest.approx(metrics.brier(odds, truth))
    error = metrics.expected_calibration_error(odds.max(axis=1).astype(np.float32), ranks == 1)
    assert figures["calibration_error"]["value"] == pytest.approx(error)
    assert [row["best"] for row in rows if row["status"] == "ok" and not row["truth"]] != []
    assert [row["path"] for row in rows if row["status"] == "error"] == [str(labelled / "red" / "broken.png")]
    assert (document["summary"]["failed"], document["summary"]["none"]) == (1, 1)
    assert figures["none"]["images"] == 1


def test_a_comparison(clip: Clip, labelled: Path) -> None:
    document = json.loads(clip("eval", labelled, "--json", "--compare", "--template 'the {} small cat'").stdout)
    check_document("clipcli.eval-1", document)
    second = document["comparison"]
    assert second["run"]["templates"] == ["the {} small cat"] != document["run"]["templates"]
    assert second["images"] == 12
    points = second["figures"]["top_1"]["value"] - document["figures"]["top_1"]["value"]
    assert second["difference"]["value"] == pytest.approx(points)
    assert second["only_second"] - second["only_first"] == pytest.approx(12 * points)
    same = json.loads(clip("eval", labelled, "--json", "--compare", "--temperature 2").stdout)["comparison"]
    assert (same["difference"]["value"], same["p"]) == (0, 1)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_comparison_is_said_where_the_rows_are_labels(clip: Clip, labelled: Path, format: str) -> None:
    options = ("--compare", "--template 'the {} small cat'")
    points = json.loads(clip("eval", labelled, "--json", *options).stdout)["comparison"]["difference"]["value"]
    said = clip("eval", labelled, "--format", format, *options).stderr
    assert "top-1 accuracy" in said and f"{100 * points:+.1f} points" in said
    assert "points" not in clip("eval", labelled, "--format", "table", *options).stderr


def test_a_table_whose_images_are_elsewhere(clip: Clip, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nphotos/a.png,cat\nphotos/b.png,dog\n")
    outcome = clip("eval", table)
    assert outcome.status == 1
    assert str(tmp_path / "photos" / "a.png") in outcome.stderr and "table's folder" in outcome.stderr


def test_comparing_label_sets(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("concept: color\nlabels: [red, green, blue]\n")
    document = json.loads(clip("eval", labelled, "-l", "red,green,blue", "--json", "--compare", f"-s {other}").stdout)
    assert document["run"]["templates"] == ["a photo of a {}."]
    assert document["comparison"]["run"]["templates"] == ["a photo of a color: a {}."]


def test_comparing_models(clip: Clip, labelled: Path, chinese_clip_checkpoint: Path) -> None:
    outcome = clip("eval", labelled, "--json", "--compare", f"--model {chinese_clip_checkpoint}")
    document = json.loads(outcome.stdout)
    assert document["comparison"]["run"]["family"] == "chinese_clip"
    assert "second minus first" in clip(
        "eval", labelled, "--format", "table", "--compare", f"-m {chinese_clip_checkpoint}", COLUMNS="120"
    ).stdout.replace("\n", " ")


@pytest.mark.parametrize("text", ["", "--top 3", "--template", "'", "--temperature warm", "pets"])
def test_comparisons_that_cannot_be_made(clip: Clip, labelled: Path, text: str) -> None:
    outcome = clip("eval", labelled, "--compare", text)
    assert outcome.status == 2 and "--compare" in outcome.stderr


def test_a_comparison_fits_a_terminal(clip: Clip, labelled: Path) -> None:
    (labelled / "none").mkdir()
    Image.new("RGB", (24, 24), "white").save(labelled / "none" / "white.png")
    shown = clip("eval", labelled, "--compare", "--no-template", "--format", "table", COLUMNS="80").stdout
    assert "McNemar" in shown and "AUROC" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_several_labels_of_an_image(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    rows = [f"labelled/{label}/{k}.png,{label}" for label in LABELS for k in range(4)]
    table.write_text("\n".join(["path,label", *rows, "labelled/red/0.png,blue"]))
    document = json.loads(clip("eval", table, "--json").stdout)
    check_document("clipcli.eval-1", document)
    assert document["summary"]["several_labels"] == 1
    assert 0 < document["figures"]["mean_average_precision"]["value"] <= 1
    assert document["figures"]["log_loss"] is None


def test_captions(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    rows = [f"labelled/{label}/{k}.png,a {label} toy {k}" for label in LABELS for k in range(2)]
    table.write_text("\n".join(["path,caption", *rows, "labelled/red/0.png,a house", "labelled/red/1.png,a house"]))
    outcome = clip("eval", "--captions", table)
    check_rows("clipcli.retrieval-2", outcome.rows)
    images, captions = outcome.rows
    assert (images["queries"], images["candidates"]) == (6, 7)
    assert (captions["queries"], captions["candidates"]) == (7, 6)
    assert captions["hit_at_10"] == 1 and 1 <= captions["median_rank_low"] <= captions["median_rank"] <= 6
    check_document("clipcli.retrieval-2", json.loads(clip("eval", "--captions", table, "--json").stdout))
    assert images["hit_at_1_low"] < images["hit_at_1_high"]
    assert captions["hit_at_10_low"] == pytest.approx(metrics.wilson(7, 7).low) and captions["hit_at_10_high"] == 1
    shown = clip("eval", "--captions", table, "--format", "table").stdout
    assert f"100.0%  ({100 * captions['hit_at_10_low']:.1f} to 100.0)" in shown
    for option in (
        ["--labels", "cat"],
        ["--report", tmp_path / "x.html"],
        ["--compare", "--no-template"],
        ["--no-template"],
        ["--examples", labelled],
        ["--split", "test"],
        ["--ignore-unknown"],
    ):
        refused = clip("eval", "--captions", table, *option)
        assert refused.status == 2 and "--captions" in refused.stderr


def test_the_report(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    outcome = clip("eval", labelled, "--report", page, "-q")
    assert outcome.status == 0 and outcome.stderr == ""
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "data:image/jpeg;base64," in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


# What can be wrong


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "label"),
        (["nowhere"], "nowhere"),
        (["--captions", "nowhere.csv"], "nowhere.csv"),
        (["FOLDER", "--map", "nowhere.csv"], "nowhere.csv"),
        (["FOLDER", "--class-names", "nowhere.txt"], "nowhere.txt"),
        (["FOLDER", "--split", "test"], "test"),
        (["FOLDER", "--labels", "red"], "label"),
        (["FOLDER", "--labels", "red,green,bleu"], "did you mean 'bleu'"),
        (["FOLDER", "--labels", "red", "--ignore-unknown"], "label"),
        (["FOLDER", "--labels", "house,tree", "--ignore-unknown"], "image"),
        (["FOLDER", "--format", "html"], "--format"),
    ],
)
def test_bad_usage(clip: Clip, labelled: Path, arguments: list[str], named: str) -> None:
    outcome = clip("eval", *[str(labelled) if word == "FOLDER" else word for word in arguments])
    assert outcome.status == 2 and named in outcome.stderr and not outcome.stdout


def test_one_label_alone_is_always_right(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "1.png")
    outcome = clip("eval", tmp_path)
    assert outcome.status == 2 and "'cat'" in outcome.stderr


def test_images_of_one_label_among_several(clip: Clip, labelled: Path) -> None:
    folder = labelled / "only"
    folder.mkdir()
    (labelled / "red").rename(folder / "red")
    document = json.loads(clip("eval", folder, "--labels", "red,green", "--json").stdout)
    check_document("clipcli.eval-1", document)
    assert document["figures"]["majority"] == 1 and document["summary"]["labels_without_images"] == 1


def test_no_image_can_be_read(clip: Clip, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_text("junk")
    outcome = clip("eval", tmp_path)
    assert outcome.status == 1 and "2 images" in outcome.stderr and "cat/1.jpg" in outcome.stderr


def test_only_images_that_show_none(clip: Clip, labelled: Path) -> None:
    (labelled / "red").rename(labelled.parent / "none")
    folder = labelled.parent / "others"
    folder.mkdir()
    (labelled.parent / "none").rename(folder / "none")
    assert clip("eval", folder, "--labels", "red,blue").status == 2


def test_what_is_left_out_is_counted(clip: Clip, labelled: Path) -> None:
    (labelled / "red" / "broken.png").write_text("junk")
    Image.new("RGB", (8, 8)).save(labelled / "stray.png")
    (labelled / "tree").mkdir()
    Image.new("RGB", (8, 8)).save(labelled / "tree" / "1.png")
    outcome = clip("eval", labelled, "--labels", "red,green,blue,house", "--ignore-unknown")
    assert outcome.status == 3
    for text in ("broken.png", "without a label: 1 image", "tree (1)", "labels without images: 1 of 4"):
        assert text in outcome.stderr


def test_a_full_disk(clip: Clip, labelled: Path) -> None:
    outcome = clip("eval", labelled, "--predictions", "/dev/full")
    assert outcome.status == 1 and "/dev/full" in outcome.stderr and "Traceback" not in outcome.stderr


def test_a_folder_that_is_not_there(clip: Clip, labelled: Path, tmp_path: Path) -> None:
    for option in ("--predictions", "--report", "--output"):
        outcome = clip("eval", labelled, option, tmp_path / "no" / "x.html")
        assert outcome.status == 1 and option in outcome.stderr
