import copy
import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clipcli import demo
from tests.cli.conftest import Clip, Program
from tests.helpers.bad_images import may_not_read_everything
from tests.helpers.exiftool_arguments import Image, carry_out
from tests.helpers.schemas import check_document, check_rows
from tests.helpers.xmp import HIERARCHICAL, LIGHTROOM, SUBJECT, TAGS_LIST, values

LABEL_SET = r"""
language: en
templates: ["a photo of a {}."]
background: [a photo., something.]
labels:
  - {name: animal/dog, threshold: 0}
  - {name: AC\/DC, threshold: 0}
  - {name: "dog, puppy", threshold: 1}
  - group: weather
    labels: [{name: rain, threshold: 0}, {name: snow, threshold: 0}]
"""


@pytest.fixture
def label_set(tmp_path: Path) -> Path:
    """Labels that every image gets, whatever the model, and one that none does."""
    path = tmp_path / "set.yaml"
    path.write_text(LABEL_SET)
    return path


@pytest.fixture
def photos(images: Path, tmp_path: Path) -> Path:
    return shutil.copytree(images, tmp_path / "photos")


def labels_of(row: dict[str, Any]) -> set[str]:
    return {tag["label"] for tag in row["tags"]}


def test_every_label_that_reaches_its_threshold(clip: Clip, photos: Path, label_set: Path) -> None:
    outcome = clip("tag", photos, "-s", label_set)
    assert outcome.status == 0
    assert [Path(row["path"]).name for row in outcome.rows] == ["a.png", "b.jpg", "c.gif"]
    for row in outcome.rows:
        assert labels_of(row) == {"animal/dog", "AC/DC", "rain", "snow"}
        assert [tag["score"] for tag in row["tags"]] == sorted((tag["score"] for tag in row["tags"]), reverse=True)
    check_rows("clipcli.tag-2", outcome.rows)
    assert "3 images" in outcome.stderr and "tags      12, none on 0 images" in outcome.stderr


def test_threshold_top_and_exclusive(clip: Clip, photos: Path, label_set: Path) -> None:
    assert [row["tags"] for row in clip("tag", photos, "-l", "cat,dog", "--threshold", 1).rows] == [[], [], []]
    everything = clip("tag", photos, "-s", label_set).rows
    top = clip("tag", photos, "-s", label_set, "--top", 2).rows
    assert [row["tags"] for row in top] == [row["tags"][:2] for row in everything]
    for row in clip("tag", photos, "-s", label_set, "--exclusive", "weather").rows:
        assert len(labels_of(row) & {"rain", "snow"}) == 1


def test_a_score_does_not_depend_on_the_other_labels(clip: Clip, photos: Path) -> None:
    def scores(labels: str) -> dict[str, float]:
        (row,) = clip("tag", photos / "a.png", "-l", labels, "--threshold", 0).rows
        return {tag["label"]: tag["score"] for tag in row["tags"]}

    together = scores("cat,dog,tree")
    for label in together:
        assert scores(label)[label] == pytest.approx(together[label], rel=1e-5)


def test_the_demo_model_warns_of_words_of_the_user_only(clip: Clip, tmp_path: Path) -> None:
    def warnings(*arguments: object) -> list[str]:
        outcome = clip("tag", *arguments, "--model", "demo")
        assert outcome.status == 0, outcome.stderr
        return [line for line in outcome.stderr.splitlines() if "warning" in line]

    image = demo.samples()[0]
    own = tmp_path / "own.yaml"
    own.write_text("background: [a sousaphone.]\nlabels: [cat, dog]\n")
    assert warnings(image, "-l", "cat,dog") == []
    (warning,) = warnings(image, "-s", own)
    assert "'sousaphone'" in warning
    shutil.copytree(image.parent, tmp_path / "labelled" / "cat")
    (deprecated,) = warnings("-l", "cat,dog", "--calibrate", tmp_path / "labelled", "--calibrate-into", own)
    assert "--calibrate" in deprecated


def test_formats(clip: Clip, photos: Path, label_set: Path) -> None:
    rows = clip("tag", photos, "-s", label_set, "-q").rows
    document = json.loads(
        clip("tag", photos, "missing.jpg", "-s", label_set, "--json", "--exclusive", "weather").stdout
    )
    check_document("clipcli.tag-2", document)
    assert document["run"]["background"] == ["a photo.", "something."]
    assert document["run"]["thresholds"] == [0, 0, 1, 0, 0]
    assert document["summary"] == {"images": 4, "ok": 3, "failed": 1}
    table = list(csv.DictReader(io.StringIO(clip("tag", photos, "-s", label_set, "-f", "csv").stdout)))
    assert [(line["path"], line["label"]) for line in table] == [
        (row["path"], tag["label"]) for row in rows for tag in row["tags"]
    ]
    text = clip("tag", photos, "-s", label_set, "-f", "table").stdout
    assert text.count("animal/dog") == 3 and "AC/DC" in text


def test_exiftool_format(clip: Clip, photos: Path, label_set: Path) -> None:
    outcome = clip("tag", photos, "missing.jpg", "-s", label_set, "-f", "exiftool", "--top", 9, "--prefix", "ai/")
    assert outcome.status == 3
    mine = {"XMP-dc:Subject": ["sea", "dog"], "XMP-lr:HierarchicalSubject": ["places|Spain"]}
    images: dict[str, Image] = {str(photos / name): copy.deepcopy(mine) for name in ("a.png", "b.jpg", "c.gif")}
    for _ in range(2):
        carry_out(outcome.stdout, images)
    for entry in images.values():
        assert entry["XMP-dc:Subject"][:2] == ["sea", "dog"]
        assert sorted(entry["XMP-dc:Subject"][2:]) == ["ai/AC/DC", "ai/dog", "ai/rain", "ai/snow"]
        assert {"places|Spain", "ai|animal|dog"} <= set(entry["XMP-lr:HierarchicalSubject"])
        assert sorted(entry["XMP-digiKam:TagsList"]) == ["ai/AC-DC", "ai/animal/dog", "ai/rain", "ai/snow"]
    fewer = ["--exclusive", "weather", "--top", 1, "-f", "exiftool"]
    carry_out(clip("tag", photos, "-s", label_set, *fewer, "--prefix", "ai/").stdout, images)
    assert all(len(entry["XMP-dc:Subject"]) == 3 for entry in images.values()), "two of others, and one of ours"
    assert "-=sea" not in outcome.stdout
    nothing = clip("tag", photos, "-l", "sea", "--threshold", 1, "-f", "exiftool")
    assert nothing.stdout == "", "without a prefix nothing tells whose a keyword is"


def test_remove_tags_takes_back_what_was_written(clip: Clip, photos: Path, label_set: Path) -> None:
    (photos / "b.xmp").write_text(LIGHTROOM, encoding="utf-8")
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    written = clip("tag", photos, "-s", label_set, "--write-sidecars")
    assert "keywords  12 added" in written.stderr
    clip("tag", photos, "-l", "tree,sea", "--threshold", 0, "--write-sidecars", "--prefix", "ai/")
    assert set(values((photos / "b.xmp").read_bytes(), SUBJECT)) >= {"sea", "dog", "ai/tree", "ai/sea"}
    dry = clip("tag", photos, "--remove-tags", "-s", label_set, "--dry-run", "--model", "no-such-model")
    assert dry.status == 0 and "-dog" in dry.stderr and "ai/" not in dry.stderr
    one = clip("tag", photos, "--remove-tags", "-s", label_set, "--model", "no-such-model")
    assert "sidecars  3 written" in one.stderr and "keywords  12 removed" in one.stderr
    assert set(values((photos / "a.xmp").read_bytes(), SUBJECT)) == {"ai/tree", "ai/sea"}
    rest = clip("tag", photos, "--remove-tags", "--model", "no-such-model")
    assert "2 removed" in rest.stderr
    assert sorted(path.name for path in photos.iterdir()) == sorted(before)
    assert values((photos / "b.xmp").read_bytes(), SUBJECT) == ["sea"]
    again = clip("tag", photos, "--remove-tags", "--model", "no-such-model")
    assert "sidecars  3 unchanged" in again.stderr and "keywords" not in again.stderr


def test_remove_tags_of_what_is_not_a_sidecar(clip: Clip, photos: Path) -> None:
    (photos / "b.xmp").write_text("my notes")
    outcome = clip("tag", photos, "--remove-tags")
    assert outcome.status == 3 and "b.jpg" in outcome.stderr
    assert clip("tag", photos, "--remove-tags", "--prefix", "ai/").status == 2
    assert clip("tag", photos, "--remove-tags", "--write-sidecars", "-l", "a,b").status == 2


def test_nothing_beside_images_is_touched_without_the_flag(clip: Clip, photos: Path, label_set: Path) -> None:
    clip("tag", photos, "-s", label_set)
    assert sorted(os.listdir(photos)) == ["a.png", "b.jpg", "c.gif"]


def test_sidecars(clip: Clip, photos: Path, label_set: Path) -> None:
    (photos / "b.xmp").write_text(LIGHTROOM, encoding="utf-8")
    outcome = clip("tag", photos, "-s", label_set, "--write-sidecars")
    assert outcome.status == 0
    assert "sidecars  3 written" in outcome.stderr
    for name in ("a", "b", "c"):
        packet = (photos / f"{name}.xmp").read_bytes()
        assert {"dog", "AC/DC", "rain", "snow"} <= set(values(packet, SUBJECT))
        assert values(packet, HIERARCHICAL) == ["animal|dog"]
        assert "AC-DC" in values(packet, TAGS_LIST)
    assert "sea" in values((photos / "b.xmp").read_bytes(), SUBJECT)
    again = clip("tag", photos, "-s", label_set, "--write-sidecars")
    assert "sidecars  3 unchanged" in again.stderr
    fewer = clip("tag", photos, "-s", label_set, "--write-sidecars", "--top", 1, "--exclusive", "weather")
    assert "sidecars  3 written" in fewer.stderr
    assert len(values((photos / "b.xmp").read_bytes(), SUBJECT)) == 2, "sea, and the best"


def test_sidecars_dry_run(clip: Clip, photos: Path, label_set: Path) -> None:
    outcome = clip("tag", photos, "-s", label_set, "--write-sidecars", "--dry-run", "--sidecar-name", "full")
    assert outcome.status == 0
    assert f"would write {photos / 'a.png'}.xmp: dc:subject " in outcome.stderr
    assert "+dog" in outcome.stderr and "sidecars  3 would change" in outcome.stderr
    assert sorted(os.listdir(photos)) == ["a.png", "b.jpg", "c.gif"]


def test_a_sidecar_that_cannot_be_written_is_an_error_row_with_tags(clip: Clip, photos: Path, label_set: Path) -> None:
    shutil.copy(photos / "a.png", photos / "b.png")
    (photos / "c.xmp").write_text("my notes")
    outcome = clip("tag", photos, "-s", label_set, "--write-sidecars")
    assert outcome.status == 3
    first, second, third, fourth = outcome.rows
    assert [row["status"] for row in outcome.rows] == ["ok", "ok", "error", "error"]
    assert third["error"]["type"] == fourth["error"]["type"] == "SidecarError"
    assert all(part in third["error"]["message"] for part in ("b.xmp", "b.jpg", "b.png"))
    assert "c.xmp" in fourth["error"]["message"]
    assert labels_of(third) == labels_of(first) and second["tags"]
    assert (photos / "c.xmp").read_text() == "my notes"
    assert "failures  2 SidecarError" in outcome.stderr
    check_rows("clipcli.tag-2", outcome.rows)


def test_a_folder_that_takes_no_sidecars(program: Program, photos: Path, label_set: Path) -> None:
    photos.chmod(0o555)
    try:
        process = program("tag", photos, "-s", label_set, "--write-sidecars", preexec_fn=may_not_read_everything)
        stdout, _ = process.communicate(timeout=60)
    finally:
        photos.chmod(0o755)
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert process.returncode == 3
    assert [row["error"]["type"] for row in rows] == ["SidecarError"] * 3
    assert all(part in rows[0]["error"]["message"] for part in ("a.xmp", "Permission denied"))
    assert sorted(os.listdir(photos)) == ["a.png", "b.jpg", "c.gif"]


def test_resume_skips_what_is_finished(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    first = clip("tag", photos, "-s", label_set, "-o", output, "--resume")
    assert (first.status, first.stdout) == (0, "")
    before = output.read_bytes()
    check_rows("clipcli.tag-2", [json.loads(line) for line in before.splitlines()])
    again = clip("tag", photos, "-s", label_set, "-o", output, "--resume")
    assert again.status == 0
    assert "3 images" in again.stderr
    assert output.read_bytes() == before
    shutil.copy(photos / "a.png", photos / "aa.png")
    assert "4 images" in clip("tag", photos, "-s", label_set, "-o", output, "--resume").stderr
    names = [Path(json.loads(line)["path"]).name for line in output.read_bytes().splitlines()]
    assert names == ["a.png", "aa.png", "b.jpg", "c.gif"]


def test_a_resumed_run_has_the_status_of_the_whole(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    (photos / "d.jpg").write_text("no image")
    for _ in range(2):
        outcome = clip("tag", photos, "-s", label_set, "-o", tmp_path / "tags.jsonl", "--resume")
        assert outcome.status == 3
        assert "failures  1 UnreadableImage" in outcome.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["-l", "cat,dog"], "labels"),
        (["-s", "SET", "--threshold", "0.7"], "--threshold"),
        (["-s", "SET", "--template", "a {}"], "templates changed"),
        (["-s", "SET", "--exclusive", "weather"], "exclusive groups changed"),
        (["-s", "SET", "--write-sidecars"], "--write-sidecars"),
        (["-s", "SET", "--no-exif"], "--no-exif"),
    ],
)
def test_resume_with_other_settings(
    change: list[str], words: str, clip: Clip, photos: Path, label_set: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tags.jsonl"
    clip("tag", photos, "-s", label_set, "-o", output, "--resume")
    before = output.read_bytes()
    arguments = [str(label_set) if argument == "SET" else argument for argument in change]
    outcome = clip("tag", photos, *arguments, "-o", output, "--resume")
    assert outcome.status == 2
    assert "settings" in outcome.stderr and words in outcome.stderr
    assert output.read_bytes() == before


def test_the_same_labels_in_another_edition(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    clip("tag", photos, "-s", label_set, "-o", output, "--resume")
    label_set.write_text(LABEL_SET.replace("threshold: 1", "threshold: 0.5"))
    outcome = clip("tag", photos, "-s", label_set, "-o", output, "--resume")
    assert outcome.status == 2 and "changed" in outcome.stderr


def test_another_threshold_is_the_only_thing_that_is_said_to_differ(clip: Clip, photos: Path, tmp_path: Path) -> None:
    options = ["-l", "cat,dog", "-o", tmp_path / "tags.jsonl", "--resume"]
    assert clip("tag", photos, *options).status == 0
    outcome = clip("tag", photos, *options, "--threshold", 0.2)
    assert outcome.status == 2
    assert all(part in outcome.stderr for part in ("--threshold", "0.2"))


def test_a_image_that_vanishes(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    output = tmp_path / "tags.jsonl"
    names = [photos / "a.png", photos / "gone.png"]
    assert clip("tag", *names, "-s", label_set, "-o", output).status == 3
    row = json.loads(output.read_bytes().splitlines()[1])
    assert row["error"]["type"] == "MissingFile"
    shutil.copy(photos / "a.png", photos / "gone.png")
    assert clip("tag", *names, "-s", label_set, "-o", output, "--resume").status == 0


def test_sort_into_and_undo(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sorted"
    output = tmp_path / "tags.jsonl"
    outcome = clip("tag", photos, "-s", label_set, "--sort-into", folder, "--move", "-o", output)
    assert outcome.status == 0
    assert "3 images moved" in outcome.stderr and f"clip tag --undo {folder}" in outcome.stderr
    best = {Path(row["path"]).name: row["tags"][0]["label"] for row in map(json.loads, output.read_text().splitlines())}
    folders = {"animal/dog": "animal/dog", "AC/DC": "AC_DC"}
    for name, label in best.items():
        assert (folder / folders.get(label, label) / name).is_file()
    assert os.listdir(photos) == []
    assert clip("tag", "--undo", folder / "clip-manifest.jsonl").status == 0
    assert sorted(os.listdir(photos)) == ["a.png", "b.jpg", "c.gif"]


def test_sorting_and_report_need_no_output_file(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    (photos / "d.jpg").write_text("no image")
    folder, report = tmp_path / "sorted", tmp_path / "report.html"
    outcome = clip("tag", photos, "-s", label_set, "--sort-into", folder, "--move", "--report", report)
    assert outcome.status == 3
    assert len(outcome.rows) == 4
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3, "made before the images are moved"
    assert "d.jpg" in page


def test_calibrate(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    labelled, into = tmp_path / "labelled", tmp_path / "mine.yaml"
    for folder, name in (("animal/dog", "a.png"), ("rain", "b.jpg"), ("rain", "c.gif")):
        (labelled / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, labelled / folder)
    outcome = clip("tag", "-s", label_set, "--calibrate", labelled, "--calibrate-into", into)
    assert outcome.status == 0, outcome.stderr
    assert "deprecated" in outcome.stderr
    check_rows("clipcli.calibration-3", outcome.rows)
    document = clip("tag", "-s", label_set, "--calibrate", labelled, "--calibrate-into", into, "--json").stdout
    check_document("clipcli.calibration-3", json.loads(document))
    assert [(row["label"], row["images"]) for row in outcome.rows] == [("animal/dog", 1), ("rain", 2)]
    for row in outcome.rows:
        assert 0 < row["threshold"] < 1
    tagged = clip("tag", labelled / "rain", "-s", into)
    assert any("rain" in labels_of(row) for row in tagged.rows)
    assert "unchanged, for want of images: 3 labels" in outcome.stderr
    assert all(part in outcome.stderr for part in ("10", "2 labels"))


@pytest.mark.parametrize("content", ["labels: [mine, alone]\n", "anything: else\n", "notes"])
def test_calibrating_replaces_no_other_file(
    clip: Clip, photos: Path, label_set: Path, tmp_path: Path, content: str
) -> None:
    into = tmp_path / "mine.yaml"
    into.write_text(content)
    (photos / "labels.csv").write_text("path,label\na.png,rain\n")
    outcome = clip("calibrate", photos / "labels.csv", "-s", label_set, "--into", into)
    assert outcome.status == 2 and str(into) in outcome.stderr
    assert into.read_text() == content


def test_calibrate_with_a_csv(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    table = photos / "labels.csv"
    table.write_text('path,label\na.png,rain\na.png,"dog, puppy"\nb.jpg,snow\ngone.jpg,rain\n')
    outcome = clip("tag", "-s", label_set, "--calibrate", table, "--calibrate-into", tmp_path / "mine.yaml")
    assert outcome.status == 3
    assert [row["label"] for row in outcome.rows] == ["dog, puppy", "rain", "snow"]
    assert "gone.jpg" in outcome.stderr
    table.write_text("path,label\na.png,cow\n")
    outcome = clip("tag", "-s", label_set, "--calibrate", table, "--calibrate-into", tmp_path / "mine.yaml")
    assert outcome.status == 2
    assert "'cow'" in outcome.stderr and "line 2" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos"], "labels"),
        (["-l", "cat"], "images"),
        (["photos", "-l", "cat", "--threshold", "2"], "--threshold"),
        (["photos", "-l", "cat", "--top", "0"], "--top"),
        (["photos", "-l", "cat", "--exclusive", "weather"], "group"),
        (["photos", "-l", "cat", "--resume"], "--output FILE"),
        (["photos", "-l", "cat", "--resume", "-o", "x.csv", "-f", "csv"], "--output FILE"),
        (["photos", "-l", "cat", "--link", "--move"], "--link"),
        (
            ["photos", "-l", "cat", "--sort-into", "x", "--move", "-o", "t.jsonl", "--resume"],
            "--resume",
        ),
        (["photos", "-l", "cat", "--copy"], "--sort-into"),
        (["-", "-l", "cat", "--write-sidecars"], "--write-sidecars"),
        (["-", "-l", "cat", "--sort-into", "x"], "--sort-into"),
        (["photos", "-l", "cat", "--prefix", "a\nb"], "--prefix"),
        (["photos", "-l", "cat\ndog"], "break"),
        (["-l", "cat", "--calibrate", "x"], "--calibrate-into"),
        (["-l", "cat", "--calibrate", "nowhere", "--calibrate-into", "x.yaml"], "nowhere: "),
        (["--undo", "nowhere"], "nowhere: "),
    ],
)
def test_mistakes(
    arguments: list[str], words: str, clip: Clip, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = clip("tag", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert words in outcome.stderr


def test_a_image_on_stdin(clip: Clip, photos: Path, label_set: Path) -> None:
    outcome = clip("tag", "-", "-s", label_set, stdin=(photos / "a.png").read_bytes())
    assert (outcome.status, outcome.rows[0]["path"]) == (0, "-")


def test_fail_fast(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    outcome = clip(
        "tag", photos / "a.png", "gone.jpg", photos, "-s", label_set, "--fail-fast", "--sort-into", tmp_path / "sorted"
    )
    assert outcome.status == 3
    assert [row["status"] for row in outcome.rows] == ["ok", "error"]
    assert "--fail-fast" in outcome.stderr
    assert not (tmp_path / "sorted").exists()


def test_quiet(clip: Clip, photos: Path, label_set: Path) -> None:
    outcome = clip("tag", photos, "-s", label_set, "--write-sidecars", "--quiet")
    assert (outcome.status, outcome.stderr) == (0, "")


@pytest.mark.slow
def test_exiftool_reads_what_we_write(clip: Clip, photos: Path, label_set: Path) -> None:
    """Needs exiftool: run with -m slow."""
    (photos / "b.xmp").write_text(LIGHTROOM, encoding="utf-8")
    clip("tag", photos, "-s", label_set, "--write-sidecars", "--prefix", "ai/")
    options = ["-json", "-Subject", "-HierarchicalSubject", "-TagsList", "-Title"]
    read = subprocess.run(
        ["exiftool", *options, *(photos / f"{name}.xmp" for name in "abc")], capture_output=True, check=True
    )
    for entry in json.loads(read.stdout):
        assert {"ai/dog", "ai/AC/DC", "ai/rain", "ai/snow"} <= set(entry["Subject"])
        assert "ai|animal|dog" in entry["HierarchicalSubject"]
        assert "ai/animal/dog" in entry["TagsList"]
        assert ("Title" in entry) == entry["SourceFile"].endswith("b.xmp")


@pytest.mark.slow
def test_exiftool_adds_and_removes_exactly_ours(clip: Clip, photos: Path, label_set: Path, tmp_path: Path) -> None:
    """Needs exiftool: run with -m slow."""
    (photos / "c.gif").rename(photos / "c d.gif")
    images = sorted(photos.iterdir())
    mine = ["-Subject=sea", "-Subject=dog", "-HierarchicalSubject=places|Spain", "-Title=mine"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *mine, *images], check=True)
    arguments = tmp_path / "tags.args"

    def embed(*options: object, times: int = 2) -> list[dict[str, Any]]:
        assert clip("tag", photos, "-s", label_set, "-f", "exiftool", "-o", arguments, *options).status == 0
        for _ in range(times):
            command = ["exiftool", "-@", str(arguments), "-common_args", "-q", "-overwrite_original"]
            subprocess.run(command, check=True)
        tags = ["-Subject", "-HierarchicalSubject", "-TagsList", "-Title"]
        read = subprocess.run(["exiftool", "-json", *tags, *images], capture_output=True, check=True)
        return list(json.loads(read.stdout))

    for entry in embed("--prefix", "ai/"):
        assert sorted(entry["Subject"]) == ["ai/AC/DC", "ai/dog", "ai/rain", "ai/snow", "dog", "sea"]
        assert set(entry["HierarchicalSubject"]) >= {"places|Spain", "ai|animal|dog"}
        assert sorted(entry["TagsList"]) == ["ai/AC-DC", "ai/animal/dog", "ai/rain", "ai/snow"]
        assert entry["Title"] == "mine"
    for entry in embed("--prefix", "ai/", "--exclusive", "weather", "--top", 1):
        assert entry["Subject"][:2] == ["sea", "dog"] and len(entry["Subject"]) == 3
    for entry in embed():
        assert len(entry["Subject"]) == 6 and {"dog", "sea", "rain", "snow", "AC/DC"} < set(entry["Subject"])
