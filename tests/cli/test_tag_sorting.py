"""`clip tag --sort-into` given again and again, also where the folder lies below the images."""

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Clip

EVERYTHING = ["-l", "cat,dog,tree", "--threshold", 0]


@pytest.fixture
def photos(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, and the current one."""
    folder = shutil.copytree(images, tmp_path / "photos")
    monkeypatch.chdir(folder)
    return folder


def images_below(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(folder)) for path in paths}


@pytest.mark.parametrize("way", ["--link", "--copy"])
@pytest.mark.parametrize("inputs", [["."], ["../photos"], ["**"], ["../*"]])
def test_images_in_the_folder_that_is_sorted_into_are_no_inputs(
    inputs: list[str], way: str, clip: Clip, photos: Path
) -> None:
    outcomes = [clip("tag", *inputs, *EVERYTHING, "--sort-into", "sorted", way) for _ in range(3)]
    assert [(outcome.status, len(outcome.rows)) for outcome in outcomes] == [(0, 3)] * 3
    assert "3 images" in outcomes[0].stderr
    assert "0 images" in outcomes[2].stderr and "already there: 3 images" in outcomes[2].stderr
    assert sorted(os.path.basename(path) for path in images_below(photos / "sorted")) == ["a.png", "b.jpg", "c.gif"]
    assert [path.name for path in (photos / "sorted").glob("*.jsonl")] == ["clip-manifest.jsonl"]


def test_a_folder_of_the_same_name_elsewhere_is_an_input(clip: Clip, photos: Path) -> None:
    shutil.copytree(photos, photos / "2024" / "sorted")
    clip("tag", ".", *EVERYTHING, "--sort-into", "sorted")
    assert len(clip("tag", ".", *EVERYTHING, "--sort-into", "sorted").rows) == 6


def test_images_that_moved_away_are_gone(clip: Clip, photos: Path) -> None:
    assert clip("tag", ".", *EVERYTHING, "--sort-into", "sorted", "--move").status == 0
    again = clip("tag", ".", *EVERYTHING, "--sort-into", "sorted", "--move")
    assert (again.status, again.stdout) == (1, "")
    assert str(photos / "sorted") in again.stderr


@pytest.mark.parametrize("way", ["--link", "--copy", "--move"])
def test_a_folder_sorted_into_itself(way: str, clip: Clip, photos: Path) -> None:
    assert "3 images" in clip("tag", photos, *EVERYTHING, "--sort-into", photos, way).stderr
    sorted_once = images_below(photos)
    assert len(sorted_once) == (3 if way == "--move" else 6)
    for _ in range(2):
        outcome = clip("tag", photos, *EVERYTHING, "--sort-into", photos, way)
        assert (outcome.status, len(outcome.rows)) == (0, len(sorted_once))
        assert "0 images" in outcome.stderr
        assert images_below(photos) == sorted_once
    assert [path.name for path in photos.glob("*.jsonl")] == ["clip-manifest.jsonl"]
    assert clip("tag", "--undo", photos / "clip-manifest.jsonl").status == 0
    assert images_below(photos) == {"a.png", "b.jpg", "c.gif"}


def test_images_in_the_folder_that_are_named_are_inputs(clip: Clip, photos: Path) -> None:
    clip("tag", ".", *EVERYTHING, "--sort-into", "sorted")
    (link,) = (photos / "sorted").rglob("a.png")
    folder, listed = link.parent, photos / "list.txt"
    listed.write_text(f"{link}\n")
    for inputs in (["sorted"], [folder], [link], ["--from-file", listed]):
        rows = clip("tag", *inputs, *EVERYTHING, "--sort-into", "sorted").rows
        assert str(link.relative_to(photos)) in {os.path.relpath(row["path"]) for row in rows}


@pytest.mark.parametrize("way", ["--link", "--copy", "--move"])
def test_a_folder_that_was_moved_since_says_where_it_was(way: str, clip: Clip, photos: Path, tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "sorted", tmp_path / "elsewhere"
    assert clip("tag", photos, *EVERYTHING, "--sort-into", place, way).status == 0
    place.rename(elsewhere)
    inside = images_below(elsewhere)
    outcome = clip("tag", "--undo", elsewhere)
    assert outcome.status == 1 and f"{place}," in outcome.stderr
    assert images_below(elsewhere) == inside
    place.symlink_to(elsewhere)
    assert clip("tag", "--undo", place).status == 0
    assert not elsewhere.exists() and {"a.png", "b.jpg", "c.gif"} <= images_below(photos)
