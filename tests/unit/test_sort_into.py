import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipcli.cli.tagging import sorting
from clipcli.cli.tagging.options import Way
from clipcli.cli.tagging.sorting import Sorter, undo
from clipcli.errors import ClipError, UsageError

LEVELS = {"dog": ("dog",), "animal/cat": ("animal", "cat"), "AC/DC": ("AC/DC",), "a: b?": ("a: b?",), "..": ("..",)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a/IMG.jpg", "b/IMG.jpg", "c/IMG.jpg", "other.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return folder


def tagged(path: Path, *labels: str) -> dict[str, Any]:
    return {"path": str(path), "status": "ok", "tags": [{"label": label, "score": 0.9} for label in labels]}


def sort(photos: Path, rows: list[dict[str, Any]], way: Way = "link", *, dry_run: bool = False) -> int:
    sorter = Sorter(str(photos.parent / "sorted"), way, LEVELS, dry_run=dry_run, quiet=False)
    return sorter.sort(rows)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder but manifests, with its content."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("clip-manifest")]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def manifest_of(photos: Path, name: str = "clip-manifest.jsonl") -> Path:
    return photos.parent / "sorted" / name


def take_back(photos: Path, name: str = "clip-manifest.jsonl", *, dry_run: bool = False) -> None:
    undo(str(manifest_of(photos, name)), dry_run=dry_run, quiet=False)


THREE = ("a/IMG.jpg", "b/IMG.jpg", "c/IMG.jpg")


@pytest.mark.parametrize("way", ["link", "copy", "move"])
def test_one_folder_a_label_and_numbers_for_collisions(
    way: Way, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(photos)
    rows = [tagged(photos / name, "dog", "animal/cat") for name in THREE]
    assert sort(photos, [*rows, tagged(photos / "other.png", "animal/cat")], way) == 0
    folder = photos.parent / "sorted"
    assert tree(folder) == {
        "dog/IMG.jpg": "content of a/IMG.jpg",
        "dog/IMG-2.jpg": "content of b/IMG.jpg",
        "dog/IMG-3.jpg": "content of c/IMG.jpg",
        "animal/cat/other.png": "content of other.png",
    }
    assert (folder / "dog" / "IMG.jpg").is_symlink() == (way == "link")
    assert tree(photos) == ({} if way == "move" else before)
    stderr = capsys.readouterr().err
    assert f"4 images sorted into {folder}" in stderr
    assert f"clip tag --undo {manifest_of(photos)}" in stderr
    take_back(photos)
    assert tree(photos) == before
    assert list(folder.iterdir()) == [], "empty folders and the manifest go"


def test_images_without_tags_and_failed_ones_stay(photos: Path) -> None:
    failed = {"path": str(photos / "other.png"), "status": "error", "error": {"type": "X", "message": "x"}}
    assert sort(photos, [tagged(photos / "a/IMG.jpg"), failed], "move") == 0
    assert tree(photos.parent / "sorted") == {}
    assert len(tree(photos)) == 4


def test_dry_run_changes_nothing_and_says_everything(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(photos)
    sort(photos, [tagged(photos / name, "dog") for name in THREE], "move", dry_run=True)
    assert tree(photos) == before
    assert not (photos.parent / "sorted").exists()
    lines = capsys.readouterr().err.splitlines()
    folder = photos.parent / "sorted" / "dog"
    assert lines == [
        f"clip: would move {photos / name} to {folder / target}"
        for name, target in zip(THREE, ("IMG.jpg", "IMG-2.jpg", "IMG-3.jpg"), strict=True)
    ]


@pytest.mark.parametrize("way", ["link", "copy"])
def test_sorting_again_adds_nothing(way: Way, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [tagged(photos / name, "dog") for name in THREE]
    sort(photos, rows, way)
    before = tree(photos.parent / "sorted")
    capsys.readouterr()
    sort(photos, rows, way)
    folder = photos.parent / "sorted"
    assert tree(folder) == before
    assert capsys.readouterr().err == f"clip: 0 images sorted into {folder}; already there: 3 images\n"
    assert [path.name for path in folder.glob("clip-manifest*")] == ["clip-manifest.jsonl"]


@pytest.mark.parametrize("way", ["link", "copy", "move"])
def test_what_is_in_its_place_stays_there(way: Way, photos: Path) -> None:
    sort(photos, [tagged(photos / name, "dog") for name in THREE], way)
    folder = photos.parent / "sorted"
    before = tree(folder)
    (photos.parent / "link").symlink_to(folder)
    for named in (folder, photos.parent / "link"):
        sort(photos, [tagged(path, "dog") for path in sorted((named / "dog").iterdir())], way)
        assert tree(folder) == before
    assert not manifest_of(photos, "clip-manifest-2.jsonl").exists()
    sort(photos, [tagged(folder / "dog" / "IMG-2.jpg", "animal/cat")], way)
    assert tree(folder)["animal/cat/IMG-2.jpg"] == "content of b/IMG.jpg"


def test_nothing_that_exists_is_overwritten(photos: Path) -> None:
    there = photos.parent / "sorted" / "dog" / "IMG.jpg"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    sort(photos, [tagged(photos / "a/IMG.jpg", "dog")], "move")
    assert there.read_text() == "mine"
    assert there.with_name("IMG-2.jpg").read_text() == "content of a/IMG.jpg"
    take_back(photos)
    assert there.read_text() == "mine"


def test_labels_that_are_no_folder_names(photos: Path) -> None:
    rows = [tagged(photos / name, label) for name, label in zip(THREE, ("AC/DC", "a: b?", ".."), strict=True)]
    sort(photos, rows, "copy")
    assert set(tree(photos.parent / "sorted")) == {"AC_DC/IMG.jpg", "a_ b_/IMG.jpg", "_/IMG.jpg"}


def test_a_image_that_has_vanished(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [tagged(photos / "gone.jpg", "dog"), tagged(photos / "other.png", "dog")]
    assert sort(photos, rows, "move") == 1
    assert set(tree(photos.parent / "sorted")) == {"dog/other.png"}
    assert "gone.jpg could not be sorted: it has vanished" in capsys.readouterr().err


def test_sidecars_go_with_their_image(photos: Path) -> None:
    for name in ("a/IMG.jpg.xmp", "a/IMG.xmp", "other.xmp"):
        (photos / name).write_text(f"sidecar {name}")
    (photos / "other.raw").write_text("shares other.xmp")
    before = tree(photos)
    sort(photos, [tagged(photos / name, "dog") for name in ("b/IMG.jpg", "a/IMG.jpg", "other.png")], "move")
    assert tree(photos.parent / "sorted") == {
        "dog/IMG.jpg": "content of b/IMG.jpg",
        "dog/IMG-2.jpg": "content of a/IMG.jpg",
        "dog/IMG-2.jpg.xmp": "sidecar a/IMG.jpg.xmp",
        "dog/IMG-2.xmp": "sidecar a/IMG.xmp",
        "dog/other.png": "content of other.png",
    }
    assert (photos / "other.xmp").exists(), "it belongs to other.raw as well"
    take_back(photos)
    assert tree(photos) == before


def across_file_systems(source: str, target: str, rename: Any = os.rename) -> None:
    if os.path.dirname(source) != os.path.dirname(target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")
    rename(source, target)


def test_a_move_across_file_systems_is_a_verified_copy(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", across_file_systems)
    os.utime(photos / "other.png", ns=(10**18, 10**18))
    assert sort(photos, [tagged(photos / "other.png", "dog")], "move") == 0
    moved = photos.parent / "sorted" / "dog" / "other.png"
    assert moved.read_text() == "content of other.png"
    assert moved.stat().st_mtime_ns == 10**18
    assert not (photos / "other.png").exists()


def test_a_copy_that_differs_leaves_the_original(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def torn(source: str, target: str) -> None:
        Path(target).write_text("cont")

    monkeypatch.setattr(os, "rename", across_file_systems)
    monkeypatch.setattr(sorting.shutil, "copy2", torn)
    assert sort(photos, [tagged(photos / "other.png", "dog")], "move") == 1
    assert (photos / "other.png").read_text() == "content of other.png"
    assert tree(photos.parent / "sorted") == {}
    assert "the copy differs" in capsys.readouterr().err


def test_undo_leaves_what_has_changed_since(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sort(photos, [tagged(photos / name, "dog") for name in THREE], "copy")
    edited = photos.parent / "sorted" / "dog" / "IMG-2.jpg"
    edited.write_text("edited")
    with pytest.raises(ClipError, match="1 of 3 steps"):
        take_back(photos)
    assert tree(photos.parent / "sorted") == {"dog/IMG-2.jpg": "edited"}
    assert "IMG-2.jpg is left alone" in capsys.readouterr().err
    edited.write_text("content of b/IMG.jpg")
    take_back(photos)
    assert tree(photos.parent / "sorted") == {}


def test_undo_of_a_move_whose_place_is_taken(photos: Path) -> None:
    sort(photos, [tagged(photos / "other.png", "dog")], "move")
    (photos / "other.png").write_text("a new one")
    with pytest.raises(ClipError):
        take_back(photos)
    assert (photos / "other.png").read_text() == "a new one"
    assert tree(photos.parent / "sorted") == {"dog/other.png": "content of other.png"}


def test_undo_of_a_sorting_that_was_killed(photos: Path) -> None:
    before = tree(photos)
    sort(photos, [tagged(photos / name, "dog") for name in THREE[:2]], "move")
    with manifest_of(photos).open("a") as manifest:  # noted, but not done; and the next one torn
        step = {
            "way": "move",
            "source": str(photos / "other.png"),
            "target": str(photos.parent / "sorted/dog/other.png"),
        }
        manifest.write(json.dumps(step) + "\n" + '{"way": "mo')
    take_back(photos)
    assert tree(photos) == before


def test_undo_dry_run(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sort(photos, [tagged(photos / "other.png", "dog")], "move")
    capsys.readouterr()
    take_back(photos, dry_run=True)
    target = photos.parent / "sorted" / "dog" / "other.png"
    assert capsys.readouterr().err == f"clip: would take {target} back to {photos / 'other.png'}\n"
    assert target.exists() and manifest_of(photos).exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b'{"schema": "other"}\n', b'{"schema": "clipcli.sorted/1"}\n[]\n']
)
def test_what_is_no_manifest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match="manifest"):
        undo(str(tmp_path / "m.jsonl"), dry_run=False, quiet=True)
    with pytest.raises(UsageError, match="No such file"):
        undo(str(tmp_path / "nowhere.jsonl"), dry_run=False, quiet=True)


def test_names_that_are_not_utf8(photos: Path) -> None:
    name = os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")
    Path(name).write_text("coffee")
    assert sort(photos, [{"path": name, "status": "ok", "tags": [{"label": "dog", "score": 1}]}], "move") == 0
    assert not Path(name).exists()
    take_back(photos)
    assert Path(name).read_text() == "coffee"


def test_a_folder_that_cannot_be_made(photos: Path) -> None:
    (photos.parent / "sorted").write_text("a file")
    with pytest.raises(ClipError, match="--sort-into"):
        sort(photos, [tagged(photos / "other.png", "dog")])
