"""`clip explain`, as a user types it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipcli.library.report.panels import made_here
from tests.cli.conftest import Clip, Program
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_document, check_rows

LABELS = ("--labels", "cat,dog")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in: a.png and b.jpg, and a text that is called c.jpg in `bad`."""
    monkeypatch.chdir(tmp_path)
    scene(1).save("a.png")
    scene(2, (200, 300)).save("b.jpg")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "c.jpg").write_text("no image")
    return tmp_path


def test_rows_have_peaks_boxes_and_grids(clip: Clip, folder: Path) -> None:
    outcome = clip("explain", "a.png", "b.jpg", *LABELS)
    assert (outcome.status, outcome.remarks) == (0, "")
    check_rows("clipcli.explain-2", outcome.rows)
    first, second = outcome.rows
    assert (first["width"], first["height"], second["width"], second["height"]) == (320, 240, 200, 300)
    for row in outcome.rows:
        assert [each["label"] for each in row["maps"]] == ["cat", "dog"]
        for each in row["maps"]:
            box, peak = each["box"], each["peak"]
            assert box["left"] <= peak["x"] <= box["right"] <= row["width"]
            assert box["top"] <= peak["y"] <= box["bottom"] <= row["height"]
            assert peak["heat"] == max(map(max, each["grid"]))
    classified = clip("classify", "a.png", *LABELS).rows[0]
    cosines = {each["label"]: each["cosine"] for each in classified["predictions"]}
    assert {each["label"]: each["cosine"] for each in first["maps"]} == pytest.approx(cosines, abs=1e-6)


def test_the_document_says_how_maps_were_made(clip: Clip, folder: Path) -> None:
    outcome = clip("explain", "a.png", "bad", *LABELS, "--json", "--method", "values", "--quality", "fast")
    document = json.loads(outcome.stdout)
    check_document("clipcli.explain-2", document)
    assert outcome.status == 3
    assert (document["run"]["method"], document["run"]["quality"]) == ("values", "fast")
    assert document["summary"] == {"images": 2, "ok": 1, "failed": 1}
    assert document["results"][1]["error"]["type"] == "UnreadableImage"


def test_tables_and_csv(clip: Clip, folder: Path) -> None:
    lines = clip("explain", "a.png", *LABELS, "--format", "csv").stdout.splitlines()
    assert lines[0] == "path,rank,label,cosine,x,y,left,top,right,bottom,status,error"
    assert len(lines) == 3 and {line.split(",")[1] for line in lines[1:]} == {"1", "2"}
    table = clip("explain", "a.png", *LABELS, "--format", "table").stdout
    assert "cosine" in table and "dog" in table and "\x1b" not in table  # no terminal, no preview


@pytest.mark.parametrize("method", ["keys", "values", "parts"])
def test_a_file_is_drawn(clip: Clip, folder: Path, method: str) -> None:
    outcome = clip("explain", "a.png", *LABELS, "-o", "maps.png", "--method", method)
    assert outcome.status == 0 and len(outcome.rows) == 1
    assert made_here("maps.png")
    width, height = Image.open("maps.png").size
    assert clip("explain", "a.png", "--labels", "cat,dog,bird,tree", "-o", "maps.png").status == 0  # drawn anew
    assert Image.open("maps.png").size > (width, height)


def test_several_images_make_several_files(clip: Clip, folder: Path) -> None:
    (folder / "more").mkdir()
    scene(3).save("more/a.jpg")
    scene(4).save("more/foreign.png")
    (folder / "out").mkdir()
    scene(5).save("out/b.png")  # somebody's
    theirs = (folder / "out" / "b.png").read_bytes()
    for _ in range(2):
        outcome = clip("explain", "a.png", "b.jpg", "more", *LABELS, "-o", "out", "--npy", "raw/")
        assert outcome.status == 0
        drawn = {path.name for path in (folder / "out").iterdir()}
        assert drawn == {"a.png", "a-2.png", "b.png", "b-2.png", "foreign.png"}
    assert (folder / "out" / "b.png").read_bytes() == theirs
    assert {path.name for path in (folder / "raw").iterdir()} == {"a.npy", "a-2.npy", "b.npy", "foreign.npy"}


def test_rows_name_the_files_that_were_written(clip: Clip, folder: Path) -> None:
    outputs = ("-o", "out", "--npy", "raw/", "--report", "maps.html")
    outcome = clip("explain", "a.png", "bad/c.jpg", "b.jpg", *LABELS, *outputs)
    check_rows("clipcli.explain-2", outcome.rows)
    first, failed, last = outcome.rows
    assert first["files"] == {"png": "out/a.png", "npy": "raw/a.npy", "html": "maps.html"}
    assert "files" not in failed
    assert all(Path(path).is_file() for path in last["files"].values())
    assert "files" not in clip("explain", "a.png", *LABELS).rows[0]


def test_drawings_are_not_taken_for_images(clip: Clip, folder: Path) -> None:
    assert clip("explain", ".", *LABELS, "-o", "maps").status == 3
    again = clip("explain", ".", *LABELS, "-o", "maps")
    assert {row["path"] for row in again.rows} == {"./a.png", "./b.jpg", "./bad/c.jpg"}


def test_raw_maps_are_cosines(clip: Clip, folder: Path) -> None:
    outcome = clip("explain", "b.jpg", *LABELS, "--npy", "maps.npy")
    raw = np.load("maps.npy")
    grid = np.array(outcome.rows[0]["maps"][0]["grid"])
    assert raw.dtype == np.float32 and raw.shape == (2, *grid.shape)
    assert (np.abs(raw) <= 1).all() and grid.shape[0] > grid.shape[1]


def test_one_page_of_all(clip: Clip, folder: Path) -> None:
    labels = ("--labels", "cat,<b>bold</b>")
    outcome = clip("explain", "a.png", "b.jpg", "bad/c.jpg", *labels, "--report", "bad/maps.html")
    page = Path("bad/maps.html").read_text(encoding="utf-8")
    assert outcome.status == 3
    assert page.count("data:image/jpeg;base64,") == 2 and page.count("<section>") == 3
    assert 'href="../a.png"' in page and "<b>bold" not in page and "is not an image" in page
    assert "http" not in page.replace("http-equiv", "")


def test_an_image_on_standard_input(clip: Clip, folder: Path) -> None:
    data = (folder / "b.jpg").read_bytes()
    outcome = clip("explain", "-", *LABELS, "-o", "out/", stdin=data)
    assert outcome.status == 0 and outcome.rows[0]["path"] == "-"
    assert made_here("out/stdin.png")
    expected = clip("explain", "b.jpg", *LABELS).rows[0]["maps"]
    assert outcome.rows[0]["maps"] == expected


def test_an_image_through_a_pipe_is_read_once(program: Program, folder: Path) -> None:
    os.mkfifo("pipe")
    process = program("explain", "pipe", *LABELS)
    Path("pipe").write_bytes((folder / "a.png").read_bytes())
    stdout, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(stdout)["width"] == 320


def test_rows_can_go_to_a_file(clip: Clip, folder: Path) -> None:
    assert clip("explain", "a.png", *LABELS, "-o", "maps.json").stdout == ""
    check_document("clipcli.explain-2", json.loads(Path("maps.json").read_text(encoding="utf-8")))


def test_only_the_best_labels_of_many(clip: Clip, folder: Path) -> None:
    labels = ("--labels", ",".join(f"label {i}" for i in range(15)))
    outcome = clip("explain", "a.png", *labels)
    assert len(outcome.rows[0]["maps"]) == 12 and "12" in outcome.remarks
    assert len(clip("explain", "a.png", *labels, "--top", "3").rows[0]["maps"]) == 3
    assert clip("explain", "a.png", *labels, "--top", "0").status == 2


def test_one_label_is_enough(clip: Clip, folder: Path) -> None:
    outcome = clip("explain", "a.png", "--labels", "cat")
    assert (outcome.status, outcome.remarks) == (0, "") and len(outcome.rows[0]["maps"]) == 1


def test_letters_that_no_font_has_are_said(clip: Clip, folder: Path) -> None:
    outcome = clip("explain", "a.png", "--labels", "cat,\U0010fff0", "-o", "maps.png")
    assert outcome.status == 0 and "--font" in outcome.stderr
    assert clip("explain", "a.png", *LABELS, "-o", "maps.png", "--font", "a.png").status == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["a.png"], 2, "labels"),
        (["a.png", *LABELS, "-o", "maps.jpg"], 2, "PNG"),
        (["a.png", *LABELS, "--npy", "maps.txt"], 2, ".npy"),
        (["a.png", *LABELS, "-o", "b.jpg"], 2, "b.jpg"),
        (["a.png", "b.jpg", *LABELS, "-o", "maps.png"], 2, "--report"),
        (["bad", *LABELS, "-o", "maps.png"], 2, "folder"),
        (["a.png", *LABELS, "-o", "none/maps.png"], 1, "none/maps.png"),
        (["a.png", *LABELS, "-o", "a.png/maps/"], 1, "--output"),
        (["a.png", *LABELS, "--json", "--format", "csv"], 2, "--format"),
        (["a.png", *LABELS, "--method", "gradcam"], 2, "--method"),
        (["none.png", *LABELS], 3, ""),
    ],
)
def test_mistakes(clip: Clip, folder: Path, arguments: list[str], status: int, said: str) -> None:
    before = sorted(folder.rglob("*"))
    outcome = clip("explain", *arguments)
    assert outcome.status == status and said in outcome.stderr
    assert sorted(folder.rglob("*")) == before


def test_images_are_never_written_over(clip: Clip, folder: Path) -> None:
    theirs = (folder / "a.png").read_bytes()
    outcome = clip("explain", "b.jpg", *LABELS, "-o", "a.png")
    assert outcome.status == 2 and "a.png" in outcome.stderr
    assert (folder / "a.png").read_bytes() == theirs


def test_a_file_that_is_protected_stays(clip: Clip, folder: Path) -> None:
    assert clip("explain", "a.png", *LABELS, "-o", "maps.png").status == 0
    before = (folder / "maps.png").read_bytes()
    (folder / "maps.png").chmod(0o444)
    outcome = clip("explain", "b.jpg", *LABELS, "-o", "maps.png")
    assert outcome.status == 1 and "read-only" in outcome.stderr
    assert (folder / "maps.png").read_bytes() == before
