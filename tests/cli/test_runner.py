"""What `classify`, `score` and `tag` have in common: resuming, sorting, reports, formats by suffix, what is said."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Clip, Program
from tests.helpers.schemas import check_document, check_rows

QUESTIONS = {
    "classify": ("-l", "cat,dog,tree"),
    "score": ("--text", "a cat", "--text", "a dog"),
    "tag": ("-l", "cat,dog,tree", "--threshold", 0),
}


@pytest.fixture(params=QUESTIONS)
def question(request: pytest.FixtureRequest) -> tuple[object, ...]:
    """A command and what it asks."""
    return (request.param, *QUESTIONS[request.param])


@pytest.fixture
def photos(images: Path, tmp_path: Path) -> Path:
    return shutil.copytree(images, tmp_path / "photos")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_resume_adds_what_is_new(question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    arguments = (*question, photos, "-o", output, "--resume")
    assert clip(*arguments).status == 0
    first = output.read_bytes()
    shutil.copy(photos / "c.gif", photos / "d.gif")
    again = clip(*arguments)
    assert again.status == 0 and "4 images" in again.stderr
    assert output.read_bytes().startswith(first)
    check_rows(f"clipcli.{question[0]}-2", rows_of(output))


def test_resume_refuses_another_question(clip: Clip, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    assert clip("classify", photos, "-l", "cat,dog", "-o", output, "--resume").status == 0
    before = output.read_bytes()
    for other in (("score", "--text", "cat"), ("classify", "-l", "cat,bird"), ("classify", "-l", "cat,dog", "-k", 1)):
        outcome = clip(*other, photos, "-o", output, "--resume")
        assert outcome.status == 2 and "settings" in outcome.stderr
    assert output.read_bytes() == before


def test_the_file_beside_the_output_stays_only_for_who_may_resume(
    question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path
) -> None:
    output, beside = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.run"
    assert clip(*question, photos, "-o", output).status == 0
    assert output.exists() and not beside.exists()
    assert clip(*question, photos, "-o", output, "--resume").status == 2, "nothing tells how it was made"
    assert clip(*question, photos, photos / "missing.jpg", "-o", output).status == 3
    assert beside.exists(), "the image that failed can be done again"
    output.unlink()
    assert clip(*question, photos, "-o", output, "--resume").status == 0
    assert beside.exists()


def test_sorting_by_the_best_answer(question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path) -> None:
    outcome = clip(*question, photos, "--sort-into", tmp_path / "sorted")
    assert outcome.status == 0 and "3 images" in outcome.stderr
    for row in outcome.rows:
        best = {
            "classify": lambda row: row["label"],
            "score": lambda row: max(row["scores"], key=lambda entry: entry["logit"])["text"],
            "tag": lambda row: row["tags"][0]["label"],
        }[str(question[0])](row)
        assert (tmp_path / "sorted" / best / os.path.basename(row["path"])).is_symlink()
    assert clip("tag", "--undo", tmp_path / "sorted").status == 0
    assert not list((tmp_path / "sorted").rglob("*.png"))


def test_a_dry_run_sorts_nothing(question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path) -> None:
    outcome = clip(*question, photos, "--sort-into", tmp_path / "sorted", "--dry-run")
    assert outcome.status == 0 and outcome.stderr.count("would link ") == 3
    assert not (tmp_path / "sorted").exists()


def test_an_image_with_none_of_the_labels_is_not_sorted(clip: Clip, photos: Path, tmp_path: Path) -> None:
    outcome = clip("classify", photos, "-l", "cat,dog", "--threshold", 1, "--sort-into", tmp_path / "sorted")
    assert "0 images" in outcome.stderr and "label     none on 3 images" in outcome.stderr


@pytest.mark.parametrize("texts", [("a cat",), ("a cat", "x" * 300)])
def test_texts_that_cannot_be_folders(texts: tuple[str, ...], clip: Clip, photos: Path, tmp_path: Path) -> None:
    options = [word for text in texts for word in ("--text", text)]
    outcome = clip("score", photos, *options, "--sort-into", tmp_path / "sorted", "-m", "no-such-model")
    assert outcome.status == 2 and "--sort-into" in outcome.stderr


def test_a_report_of_every_question(question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert clip(*question, photos, "--report", report).status == 0
    assert report.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 3


def test_the_format_is_that_of_the_suffix(
    question: tuple[object, ...], clip: Clip, photos: Path, tmp_path: Path
) -> None:
    for suffix in ("json", "jsonl", "csv", "TSV", "txt"):
        assert clip(*question, photos, "-o", tmp_path / f"rows.{suffix}").status == 0
    check_document(f"clipcli.{question[0]}-2", json.loads((tmp_path / "rows.json").read_text()))
    assert len(rows_of(tmp_path / "rows.jsonl")) == len(rows_of(tmp_path / "rows.txt")) == 3
    tables = [
        list(csv.DictReader((tmp_path / name).open(newline=""), delimiter=delimiter))
        for name, delimiter in (("rows.csv", ","), ("rows.TSV", "\t"))
    ]
    assert tables[0] == tables[1] and len(tables[0]) >= 6
    assert ("logit" in tables[0][0]) == (question[0] != "tag")
    assert clip(*question, photos, "-o", tmp_path / "rows.csv", "-f", "jsonl").status == 0
    assert len(rows_of(tmp_path / "rows.csv")) == 3, "what is asked for takes precedence"


def test_the_summary_counts_what_came_from_the_cache(question: tuple[object, ...], clip: Clip, photos: Path) -> None:
    assert "from cache" not in clip(*question, photos, "--no-cache").stderr
    clip(*question, photos)
    shutil.copytree(photos, photos / "again")
    (photos / "new.png").write_bytes((photos / "a.png").read_bytes() + b"\0")
    (photos / "bad.png").write_text("not an image")
    outcome = clip(*question, photos)
    assert outcome.status == 3
    assert "8 images" in outcome.stderr and ", 6 from cache, 1 failed\n" in outcome.stderr
    assert "clip: " not in clip(*question, photos / "a.png").stderr, "one image speaks for itself"


def test_files_that_are_passed_over_are_counted(question: tuple[object, ...], clip: Clip, photos: Path) -> None:
    for name in ("a.pdf", "b.pdf", "c.CR2", "noname", "a.xmp", ".hidden.pdf"):
        (photos / name).touch()
    stderr = clip(*question, photos).stderr
    assert "2 .pdf, 1 .cr2, 1" in stderr
    assert "skipped" not in clip(*question, photos / "a.png", photos / "b.jpg").stderr


def test_images_that_are_listed_twice_are_noticed(question: tuple[object, ...], clip: Clip, photos: Path) -> None:
    listed = b"\0".join(os.fsencode(path) for path in (photos, *sorted(photos.iterdir()))) + b"\0"
    outcome = clip(*question, "--from-file", "-", "-0", stdin=listed)
    assert outcome.status == 0 and len(outcome.rows) == 6
    assert "3 images" in outcome.stderr and "-type f" in outcome.stderr
    again = clip(*question, photos / "a.png", f"{photos}/../{photos.name}/a.png")
    assert "1 image" in again.stderr
    assert "more than once" not in clip(*question, photos, photos.parent / "photos" / "missing").stderr


def test_ctrl_c_says_that_features_are_kept(
    question: tuple[object, ...], program: Program, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rows.csv"
    process = program(*question, "--from-file", "-", "-b", 2, "-o", output, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write((os.fsencode(photos / "a.png") + b"\n") * 20)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 60 for path in tmp_path.glob(".rows.csv.*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"features are cached" in stderr and not output.exists()


FORMULAS = ("=1+1", "+cat", "-dog", "@home")


def test_spreadsheets_get_texts_and_no_formulas(clip: Clip, photos: Path, tmp_path: Path) -> None:
    options = [word for text in FORMULAS for word in ("--text", text)]
    output = tmp_path / "rows.csv"
    assert clip("score", photos, *options, "-o", output).status == 0
    assert {row["text"] for row in csv.DictReader(output.open(newline=""))} == set(FORMULAS)
    assert clip("score", photos, *options, "-o", output, "--spreadsheet").status == 0
    assert output.read_bytes().startswith(b"\xef\xbb\xbfpath,")
    rows = list(csv.DictReader(output.open(newline="", encoding="utf-8-sig")))
    assert {row["text"] for row in rows} == {f"'{text}" for text in FORMULAS}
    assert all(-1 <= float(row["cosine"]) <= 1 for row in rows), "numbers stay numbers"
    refused = clip("score", photos, *options, "--spreadsheet", "--json")
    assert refused.status == 2 and "--spreadsheet" in refused.stderr


def test_label_sets_together_are_a_union(clip: Clip, photos: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text('templates: ["a photo of a {}."]\nlabels: [cat, dog]\n')
    other.write_text('templates: ["a drawing of a {}."]\nlabels: [dog, tree]\n')
    outcome = clip("classify", photos, "-s", one, "-s", other, "-l", "bird")
    assert outcome.status == 0
    assert {entry["label"] for entry in outcome.rows[0]["predictions"]} == {"cat", "dog", "tree", "bird"}
    assert "'dog'" in outcome.stderr

    def logits(*arguments: object) -> dict[str, float]:
        return {entry["label"]: entry["logit"] for entry in clip("classify", photos, *arguments).rows[0]["predictions"]}

    together = logits("-s", one, "-s", other)
    assert together["dog"] == pytest.approx(logits("-s", one)["dog"], abs=1e-4)
    assert together["tree"] == pytest.approx(logits("-s", other)["tree"], abs=1e-4)
    given = ("-t", "art of a {}")
    assert logits("-s", one, "-s", other, *given)["tree"] == pytest.approx(
        logits("-s", other, *given)["tree"], abs=1e-4
    )
