"""`clip search`, `clip dedupe` and `clip library`, as a user types them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clipcli.cli.shell.thumbnails import Graphics, drawn, graphics_of
from tests.cli.conftest import Clip, Outcome, Program
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_document, check_rows


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for number in range(4):
        scene(number).save(folder / ("trip" if number > 1 else ".") / f"{number}.png")
    return folder


def test_a_search_makes_the_library_and_uses_it_again(clip: Clip, photos: Path) -> None:
    first = clip("search", "a dog", photos)
    assert first.status == 0
    check_rows("clipcli.search-1", first.rows)
    assert sorted(row["path"] for row in first.rows) == sorted(map(str, photos.rglob("*.png")))
    assert [row["rank"] for row in first.rows] == [1, 2, 3, 4]
    again = clip("search", "a dog", photos, "--json")
    document = json.loads(again.stdout)
    check_document("clipcli.search-1", document)
    assert document["results"] == first.rows
    assert document["summary"] == {"hits": 4, "searched": 4, "failed": 0}
    assert document["run"]["query"] == [{"kind": "text", "value": "a dog", "weight": 1.0}]


def test_paths_are_shown_as_the_folder_was_written(clip: Clip, photos: Path) -> None:
    rows = clip("search", "a dog", "photos").rows
    assert {row["path"] for row in rows} == {"photos/0.png", "photos/1.png", "photos/trip/2.png", "photos/trip/3.png"}
    below = clip("search", "a dog", "photos/trip").rows
    assert {row["path"] for row in below} == {"photos/trip/2.png", "photos/trip/3.png"}
    assert len(clip("library", "list").rows) == 1


def test_every_part_of_a_query(clip: Clip, photos: Path) -> None:
    outcome = clip(
        "search", photos, "--like", photos / "0.png", "--plus", "night^0.5", "--minus", r"2\^3", "--unlike",
        photos / "1.png", "--without", "people", "--json",
    )  # fmt: skip
    assert outcome.status == 0
    assert [(part["kind"], part["weight"]) for part in json.loads(outcome.stdout)["run"]["query"]] == [
        ("text", 0.5), ("image", 1.0), ("text", -1.0), ("image", -1.0), ("text", 0),
    ]  # fmt: skip
    assert json.loads(outcome.stdout)["run"]["query"][2]["value"] == "2^3"
    assert str(photos / "0.png") not in {row["path"] for row in json.loads(outcome.stdout)["results"]}


def test_paths_for_other_programs(clip: Clip, photos: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.png")
    scene(9).save(photos / name)
    lines = clip("search", "a dog", photos, "--format", "paths", "--exclude", "caf*").stdout.splitlines()
    assert sorted(lines) == sorted(str(path) for path in photos.rglob("*.png") if path.name != name)
    assert clip("search", "a dog", photos, "--format", "csv").stdout.startswith("path,status,rank,cosine,z")


def test_names_that_are_not_utf8_go_through_pipes_unchanged(program: Program, photos: Path) -> None:
    name = b"caf\xe9\n.png"
    scene(9).save(os.path.join(photos, os.fsdecode(name)))
    process = program("search", "a dog", photos, "--print0")
    printed = process.communicate()[0]
    assert process.returncode == 0
    assert os.path.join(os.fsencode(photos), name) in printed.split(b"\0")


def test_pages_and_filters(clip: Clip, photos: Path) -> None:
    whole = [row["path"] for row in clip("search", "a dog", photos).rows]
    assert [row["path"] for row in clip("search", "a dog", photos, "-k", 2, "--skip", 1).rows] == whole[1:3]
    assert clip("search", "a dog", photos, "--skip", 1).rows[0]["rank"] == 2
    only = clip("search", "a dog", photos, "--only", "*/trip/*").rows
    assert {Path(row["path"]).name for row in only} == {"2.png", "3.png"}
    nothing = clip("search", "a dog", photos, "--threshold", "0.999")
    assert (nothing.status, nothing.stdout) == (0, "")


def test_a_library_that_is_not_updated_shows_no_vanished_file(clip: Clip, photos: Path) -> None:
    clip("search", "a dog", photos)
    (photos / "0.png").unlink()
    scene(7).save(photos / "7.png")
    outcome = clip("search", "a dog", photos, "--no-update")
    assert {Path(row["path"]).name for row in outcome.rows} == {"1.png", "2.png", "3.png"}
    assert "ago" in outcome.stderr
    assert {Path(row["path"]).name for row in clip("search", "a dog", photos).rows} == {
        "1.png",
        "2.png",
        "3.png",
        "7.png",
    }


def test_a_bad_image_costs_nothing_but_the_status(clip: Clip, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no image")
    outcome = clip("search", "a dog", photos)
    assert outcome.status == 3
    assert len(outcome.rows) == 4
    assert "bad.jpg" in outcome.stderr
    os.utime(photos / "bad.jpg", (1e9, 1e9))
    clip("search", "a dog", photos)
    assert clip("search", "a dog", photos).status == 0  # it is known by now


def test_another_model_is_refused(clip: Clip, photos: Path) -> None:
    clip("search", "a dog", photos)
    outcome = clip("search", "a cat", photos, "--model", "demo")
    assert outcome.status == 4
    assert "demo" in outcome.stderr


def test_the_model_of_the_library_is_used_where_none_is_named(clip: Clip, photos: Path) -> None:
    clip("library", "create", photos, "--model", "demo")
    outcome = clip("search", "a red heart", photos, "--json", CLIPCLI_MODEL="")
    assert json.loads(outcome.stdout)["run"]["model"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos"], "query"),
        (["a dog"], "folder"),
        (["a dog", "no-such-folder"], "no-such-folder"),
        (["a dog", "photos/0.png"], "--like"),
        (["a dog", "photos", "--library", "mi\tne"], "library"),
        (["night^x", "photos"], "weight"),
        (["a dog", "photos", "-k", "-1"], "top"),
        (["a dog", "photos", "--after", "soon"], "soon"),
        (["a dog", "photos", "--minus", ""], "empty"),
        (["photos", "--minus", "a dog"], "query"),
        (["a dog", "photos", "--print0", "--json"], "--print0"),
        (["a dog", "photos", "--vector", "photos/0.png"], "0.png"),
        (["a dog", "photos", "--copy", "x", "--link", "x"], "--copy"),
    ],
)
def test_wrong_usage(clip: Clip, photos: Path, arguments: list[str], said: str) -> None:
    outcome = clip("search", *arguments)
    assert outcome.status == 2
    assert said in outcome.stderr
    assert not outcome.stdout


def test_an_image_of_the_query_that_is_not_there(clip: Clip, photos: Path) -> None:
    outcome = clip("search", photos, "--like", "gone.png")
    assert outcome.status == 1
    assert "gone.png" in outcome.stderr


def test_contact_sheet_copies_and_links(clip: Clip, photos: Path, tmp_path: Path) -> None:
    outcome = clip("search", "a <dog>", photos, "-k", 3, "--contact-sheet", "sheet.html", "--link", "found")
    assert outcome.status == 0
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<img") == 3
    assert "a &lt;dog&gt;" in page and "http" not in page.replace("http-equiv", "")
    links = [path for path in (tmp_path / "found").iterdir() if path.is_symlink()]
    assert {link.resolve() for link in links} == {Path(row["path"]) for row in outcome.rows}
    assert clip("dedupe", "--undo", "found").status == 0
    assert not (tmp_path / "found").exists()
    assert clip("search", "a dog", photos, "-k", 1, "--copy", "copied").status == 0
    assert len(list((tmp_path / "copied").glob("*.png"))) == 1


def test_the_table_and_images_go_to_terminals_only(clip: Clip, photos: Path) -> None:
    outcome = clip("search", "a dog", photos, "--show", "--format", "table")
    assert "\x1b" not in outcome.stdout
    assert "cosine" in outcome.stdout


@pytest.mark.parametrize(
    ("environment", "kind", "start"),
    [
        ({"TERM": "xterm-kitty"}, Graphics.kitty, "\x1b_Ga=T,f=100"),
        ({"TERM_PROGRAM": "iTerm.app"}, Graphics.iterm2, "\x1b]1337;File=inline=1"),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, Graphics.kitty, "\x1bPtmux;\x1b\x1b_Ga=T"),
        ({"TERM": "xterm-256color"}, Graphics.blocks, "\x1b[38;2;"),
    ],
)
def test_images_in_terminals(environment: dict[str, str], kind: Graphics, start: str) -> None:
    assert graphics_of(environment) is kind
    text = drawn(scene(0), 5, environment)
    assert text.startswith(start) and text.endswith("\n")
    if kind is Graphics.blocks:
        assert text.count("\n") == 5


def groups(outcome: Outcome) -> list[set[str]]:
    assert outcome.status == 0
    return [{Path(member["path"]).name for member in row["members"]} for row in outcome.rows]


def test_copies_are_found_and_moved_and_taken_back(clip: Clip, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "0.png", photos / "trip" / "copy.png")
    before = sorted(photos.rglob("*"))
    outcome = clip("dedupe", "photos", "--report", "report.html")
    check_rows("clipcli.dedupe-1", outcome.rows)
    assert groups(outcome) == [{"0.png", "copy.png"}]
    assert outcome.rows[0]["keep"] == "photos/0.png"
    assert (tmp_path / "report.html").read_text().count("<img") == 2
    document = json.loads(clip("dedupe", photos, "--json").stdout)
    check_document("clipcli.dedupe-1", document)
    assert clip("dedupe", photos, "--move-to", "aside", "--dry-run").status == 0
    assert sorted(photos.rglob("*")) == before
    moved = clip("dedupe", photos, "--move-to", "aside")
    assert moved.status == 0 and "moved to" in moved.stderr and "clip dedupe --undo" in moved.stderr
    assert not (photos / "trip" / "copy.png").exists()
    assert clip("dedupe", photos).rows == []
    assert clip("dedupe", "--undo", "aside").status == 0
    assert sorted(photos.rglob("*")) == before
    assert groups(clip("dedupe", photos, "--level", "bytes")) == [{"0.png", "copy.png"}]


def test_the_reference_folder_is_kept(clip: Clip, photos: Path) -> None:
    shutil.copy(photos / "0.png", photos / "trip" / "copy-with-a-long-name.png")
    assert clip("dedupe", photos).rows[0]["keep"].endswith("0.png")
    kept = clip("dedupe", photos, "--reference", photos / "trip").rows[0]["keep"]
    assert kept.endswith("copy-with-a-long-name.png")


def test_a_name_of_two_lines_takes_one_line_of_a_group(clip: Clip, photos: Path) -> None:
    shutil.copy(photos / "0.png", photos / "two\nlines.png")
    lines = clip("dedupe", "photos", "--format", "table").stdout.splitlines()
    assert len([line for line in lines if "lines.png" in line and "two" in line]) == 1


@pytest.mark.parametrize("named", ["both", "inbox"])
@pytest.mark.parametrize("has_library", [(), ("photos",), ("inbox", "photos")])
def test_an_inbox_is_compared_with_a_reference(
    clip: Clip, photos: Path, has_library: tuple[str, ...], named: str
) -> None:
    inbox = photos.parent / "inbox"
    inbox.mkdir()
    shutil.copy(photos / "0.png", inbox / "a.png")
    for folder in has_library:
        clip("library", "create", folder, "--exclude", "3.png")
    folders = ["inbox", "photos"] if named == "both" else ["inbox"]
    for _ in range(2):  # the second time there is a library of both
        (group,) = clip("dedupe", *folders, "--reference", "photos").rows
        assert [member["path"] for member in group["members"]] == ["photos/0.png", "inbox/a.png"]
    libraries = clip("library", "list").rows
    assert len(libraries) == len(has_library) + 1
    assert [row["images"] for row in libraries if len(row["folders"]) == 2] == [4 if has_library else 5]
    assert clip("search", "a dog", "photos").rows[0]["path"].startswith("photos/")


def test_one_folder_has_its_own_library_before_that_of_two(clip: Clip, photos: Path) -> None:
    (photos.parent / "inbox").mkdir()
    clip("library", "create", "photos", "inbox")
    clip("library", "create", "photos", "--library", "mine")
    document = json.loads(clip("search", "a dog", "photos", "--json").stdout)
    assert document["run"]["library"].endswith("mine")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reference", "nowhere"],
        ["--keep", "prettiest"],
        ["--level", "nearly"],
        ["--level", "bytes", "--threshold", "1"],
        ["--clusters", "0"],
        ["--move-to", "a", "--link", "b"],
        ["--undo", "nowhere"],
    ],
)
def test_wrong_usage_of_dedupe(clip: Clip, photos: Path, arguments: list[str]) -> None:
    assert clip("dedupe", photos, *arguments).status == 2


def test_clusters(clip: Clip, photos: Path) -> None:
    outcome = clip("dedupe", photos, "--clusters", 2, "--labels", "dog,car")
    check_rows("clipcli.clusters-1", outcome.rows)
    assert sum(row["images"] for row in outcome.rows) == 4


def test_the_life_of_a_library(clip: Clip, photos: Path) -> None:
    made = clip("library", "create", photos, "--library", "mine", "--exclude", "3.png")
    check_rows("clipcli.library_update-1", made.rows)
    assert made.rows[0]["added"] == 3
    assert clip("library", "create", photos, "--library", "mine").status == 1
    scene(5).save(photos / "5.png")
    assert clip("library", "update", "mine").rows[0]["added"] == 1
    listed = clip("library", "list")
    check_rows("clipcli.libraries-1", listed.rows)
    assert (listed.rows[0]["name"], listed.rows[0]["images"]) == ("mine", 4)
    check_rows("clipcli.libraries-1", clip("library", "info", photos).rows)
    assert clip("library", "check").status == 0
    assert clip("library", "compact", "mine").status == 0
    assert clip("library", "rm", "mine").status == 0
    assert clip("library", "list").rows == []
    assert len(list(photos.rglob("*.png"))) == 5
    assert clip("library", "rm", "mine").status == 2
    assert clip("library", "update").status == 2


def test_damaged_features_are_found_and_made_again(clip: Clip, photos: Path) -> None:
    clip("library", "create", photos, "--library", "./lib")
    (matrix,) = Path("lib").glob("vectors-*")
    matrix.write_bytes(b"\0" * matrix.stat().st_size)
    assert clip("library", "check", "./lib").status == 1
    assert clip("library", "check", "./lib", "--repair").status == 0
    assert clip("library", "update", "./lib").rows[0]["added"] == 4
    assert clip("library", "check", "./lib").status == 0


def test_an_unmounted_folder_is_said(clip: Clip, photos: Path) -> None:
    clip("library", "create", photos, "--library", "mine")
    photos.rename(photos.with_name("elsewhere"))
    outcome = clip("search", "a dog", "--library", "mine")
    assert outcome.status == 0 and outcome.stdout == ""
    assert str(photos) in outcome.stderr
    photos.with_name("elsewhere").rename(photos)
    assert len(clip("search", "a dog", "--library", "mine").rows) == 4


def test_cached_texts_are_found_without_torch(program: Program, clip: Clip, photos: Path) -> None:
    clip("search", "a dog", photos)
    process = program("search", "a dog", photos, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    _, stderr = process.communicate()
    imported = {line.split(b"|")[-1].strip() for line in stderr.splitlines() if line.startswith(b"import time")}
    assert process.returncode == 0
    assert b"clipcli.answers.search" in imported
    assert not imported & {b"torch", b"tokenizers", b"huggingface_hub", b"PIL.Image", b"clipcli.api.model"}


def test_ctrl_c_while_it_is_filled(program: Program, photos: Path) -> None:
    process = program("library", "create", photos, "--library", "./lib", stdin=subprocess.DEVNULL)
    process.terminate()
    process.communicate()
    assert len(list(photos.rglob("*.png"))) == 4


def test_an_approximate_index_is_built_used_and_deleted(clip: Clip, photos: Path) -> None:
    clip("search", "a square", photos)
    (built,) = clip("library", "index", photos).rows
    assert built["images"] == len(clip("search", "a square", photos, "--top", "0").rows)
    assert 0 < built["text_recall"] <= 1
    exact = clip("search", "a square", photos, "--exact")
    found = clip("search", "a square", photos)
    assert [(row["path"], row["cosine"]) for row in found.rows] == [(row["path"], row["cosine"]) for row in exact.rows]
    assert "best" in clip("library", "info", photos, "--format", "table").stdout
    (graph,) = Path(clip("library", "list").rows[0]["path"]).glob("*.usearch")
    graph.write_bytes(b"damaged")
    damaged = clip("search", "a square", photos)
    assert "damaged" in damaged.stderr
    assert damaged.rows == exact.rows
    assert "damaged" in clip("library", "check", photos, "--repair").stderr
    assert clip("search", "a square", photos).stderr == ""
    assert "no index" in clip("library", "index", photos, "--rm").stderr
