import errno
import json
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from clipcli.errors import ClipError, UsageError
from clipcli.files import alone_in
from clipcli.library.events import AlreadyThere, LeftAlone, Sorted, TakenBack, Way
from clipcli.library.sorting import placing
from clipcli.library.sorting.manifest import Manifest, Move
from clipcli.library.sorting.sorter import Sorter
from clipcli.library.sorting.undo import undo

LEVELS = {"dog": ("dog",), "animal/cat": ("animal", "cat"), "AC/DC": ("AC/DC",), "a: b?": ("a: b?",), "..": ("..",)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a/IMG.jpg", "b/IMG.jpg", "c/IMG.jpg", "other.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return folder


def sort(
    photos: Path, images: dict[Path, str], way: Way = "link", *, dry_run: bool = False
) -> list[Sorted | AlreadyThere | LeftAlone]:
    sorter = Sorter(str(photos.parent / "sorted"), way, LEVELS, dry_run=dry_run)
    return list(sorter.sort((str(path), label) for path, label in images.items()))


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder but manifests, with its content."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("clip-manifest")]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def manifest_of(photos: Path, name: str = "clip-manifest.jsonl") -> Path:
    return photos.parent / "sorted" / name


def take_back(photos: Path, name: str = "clip-manifest.jsonl", *, dry_run: bool = False) -> list[TakenBack | LeftAlone]:
    return list(undo(str(manifest_of(photos, name)), dry_run=dry_run))


THREE = ("a/IMG.jpg", "b/IMG.jpg", "c/IMG.jpg")


def three(photos: Path) -> dict[Path, str]:
    return {photos / name: "dog" for name in THREE}


@pytest.mark.parametrize("way", ["link", "copy", "move"])
def test_one_folder_per_label_and_numbers_for_collisions(way: Way, photos: Path) -> None:
    before = tree(photos)
    events = sort(photos, {**three(photos), photos / "other.png": "animal/cat"}, way)
    assert [type(event) for event in events] == [Sorted] * 4
    folder = photos.parent / "sorted"
    assert tree(folder) == {
        "dog/IMG.jpg": "content of a/IMG.jpg",
        "dog/IMG-2.jpg": "content of b/IMG.jpg",
        "dog/IMG-3.jpg": "content of c/IMG.jpg",
        "animal/cat/other.png": "content of other.png",
    }
    assert (folder / "dog" / "IMG.jpg").is_symlink() == (way == "link")
    assert tree(photos) == ({} if way == "move" else before)
    assert [type(event) for event in take_back(photos)] == [TakenBack] * 4
    assert tree(photos) == before
    assert not folder.exists(), "empty folders and the manifest go"


def test_dry_run_changes_nothing_and_says_everything(photos: Path) -> None:
    before = tree(photos)
    events = sort(photos, three(photos), "move", dry_run=True)
    assert tree(photos) == before
    assert not (photos.parent / "sorted").exists()
    folder = photos.parent / "sorted" / "dog"
    assert events == [
        Sorted("move", str(photos / name), str(folder / target))
        for name, target in zip(THREE, ("IMG.jpg", "IMG-2.jpg", "IMG-3.jpg"), strict=True)
    ]


@pytest.mark.parametrize("way", ["link", "copy"])
def test_sorting_again_adds_nothing(way: Way, photos: Path) -> None:
    sort(photos, three(photos), way)
    before = tree(photos.parent / "sorted")
    assert sort(photos, three(photos), way) == [AlreadyThere(str(path)) for path in three(photos)]
    folder = photos.parent / "sorted"
    assert tree(folder) == before
    assert [path.name for path in folder.glob("clip-manifest*")] == ["clip-manifest.jsonl"]


@pytest.mark.parametrize("way", ["link", "copy", "move"])
def test_what_is_in_its_place_stays_there(way: Way, photos: Path) -> None:
    sort(photos, three(photos), way)
    folder = photos.parent / "sorted"
    before = tree(folder)
    (photos.parent / "link").symlink_to(folder)
    for named in (folder, photos.parent / "link"):
        sort(photos, dict.fromkeys(sorted((named / "dog").iterdir()), "dog"), way)
        assert tree(folder) == before
    assert not manifest_of(photos, "clip-manifest-2.jsonl").exists()
    sort(photos, {folder / "dog" / "IMG-2.jpg": "animal/cat"}, way)
    assert tree(folder)["animal/cat/IMG-2.jpg"] == "content of b/IMG.jpg"


def test_nothing_that_exists_is_overwritten(photos: Path) -> None:
    there = photos.parent / "sorted" / "dog" / "IMG.jpg"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    sort(photos, {photos / "a/IMG.jpg": "dog"}, "move")
    assert there.read_text() == "mine"
    assert there.with_name("IMG-2.jpg").read_text() == "content of a/IMG.jpg"
    take_back(photos)
    assert there.read_text() == "mine"


def test_labels_that_are_no_folder_names(photos: Path) -> None:
    sort(photos, dict(zip(three(photos), ("AC/DC", "a: b?", ".."), strict=True)), "copy")
    assert set(tree(photos.parent / "sorted")) == {"AC_DC/IMG.jpg", "a_ b_/IMG.jpg", "_/IMG.jpg"}


def test_an_image_that_has_vanished(photos: Path) -> None:
    first, second = sort(photos, {photos / "gone.jpg": "dog", photos / "other.png": "dog"}, "move")
    assert isinstance(first, LeftAlone) and first.path == str(photos / "gone.jpg")
    assert isinstance(second, Sorted)
    assert set(tree(photos.parent / "sorted")) == {"dog/other.png"}


def test_sidecars_go_with_their_image(photos: Path) -> None:
    for name in ("a/IMG.jpg.xmp", "a/IMG.xmp", "other.xmp"):
        (photos / name).write_text(f"sidecar {name}")
    (photos / "other.raw").write_text("shares other.xmp")
    before = tree(photos)
    sort(photos, dict.fromkeys((photos / name for name in ("b/IMG.jpg", "a/IMG.jpg", "other.png")), "dog"), "move")
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


def across_file_systems(source: str, target: str, link: Any = os.link) -> None:
    if os.path.dirname(source) != os.path.dirname(target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")
    link(source, target)


def test_a_move_across_file_systems_is_a_verified_copy(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", across_file_systems)
    os.utime(photos / "other.png", ns=(10**18, 10**18))
    sort(photos, {photos / "other.png": "dog"}, "move")
    moved = photos.parent / "sorted" / "dog" / "other.png"
    assert moved.read_text() == "content of other.png"
    assert moved.stat().st_mtime_ns == 10**18
    assert not (photos / "other.png").exists()


def test_a_copy_that_differs_leaves_the_original(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(source: BinaryIO, target: BinaryIO, length: int) -> None:
        target.write(b"cont")

    monkeypatch.setattr(os, "link", across_file_systems)
    monkeypatch.setattr(placing.shutil, "copyfileobj", torn)
    (event,) = sort(photos, {photos / "other.png": "dog"}, "move")
    assert isinstance(event, LeftAlone)
    assert (photos / "other.png").read_text() == "content of other.png"
    assert tree(photos.parent / "sorted") == {}


def test_undo_leaves_what_has_changed_since(photos: Path) -> None:
    sort(photos, three(photos), "copy")
    edited = photos.parent / "sorted" / "dog" / "IMG-2.jpg"
    edited.write_text("edited")
    left = [event for event in take_back(photos) if isinstance(event, LeftAlone)]
    assert [event.path for event in left] == [str(edited)]
    assert tree(photos.parent / "sorted") == {"dog/IMG-2.jpg": "edited"}
    edited.write_text("content of b/IMG.jpg")
    take_back(photos)
    assert tree(photos.parent / "sorted") == {}


def test_undo_of_a_move_whose_place_is_taken(photos: Path) -> None:
    sort(photos, {photos / "other.png": "dog"}, "move")
    (photos / "other.png").write_text("a new one")
    (event,) = take_back(photos)
    assert isinstance(event, LeftAlone)
    assert (photos / "other.png").read_text() == "a new one"
    assert tree(photos.parent / "sorted") == {"dog/other.png": "content of other.png"}


def test_undo_of_a_sorting_that_was_killed(photos: Path) -> None:
    before = tree(photos)
    sort(photos, dict.fromkeys(list(three(photos))[:2], "dog"), "move")
    with manifest_of(photos).open("a") as manifest:  # noted, but not done; and the next one torn
        step = {
            "way": "move",
            "source": str(photos / "other.png"),
            "target": str(photos.parent / "sorted/dog/other.png"),
        }
        manifest.write(json.dumps(step) + "\n" + '{"way": "mo')
    take_back(photos)
    assert tree(photos) == before


def test_undo_dry_run(photos: Path) -> None:
    sort(photos, {photos / "other.png": "dog"}, "move")
    target = photos.parent / "sorted" / "dog" / "other.png"
    assert take_back(photos, dry_run=True) == [TakenBack("move", str(photos / "other.png"), str(target))]
    assert target.exists() and manifest_of(photos).exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b'{"schema": "other"}\n', b'{"schema": "clipcli.sorted/1"}\n[]\n']
)
def test_what_is_not_a_manifest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match="manifest"):
        list(undo(str(tmp_path / "m.jsonl")))
    with pytest.raises(UsageError, match="No such file"):
        list(undo(str(tmp_path / "nowhere.jsonl")))


def test_names_that_are_not_utf8(photos: Path) -> None:
    name = os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")
    Path(name).write_text("coffee")
    sort(photos, {Path(name): "dog"}, "move")
    assert not Path(name).exists()
    take_back(photos)
    assert Path(name).read_text() == "coffee"


def test_a_folder_that_cannot_be_made(photos: Path) -> None:
    (photos.parent / "sorted").write_text("a file")
    with pytest.raises(ClipError, match="sorted"):
        sort(photos, {photos / "other.png": "dog"})


def killed_before(photos: Path, name: str, target: str) -> None:
    """A sorting that is killed after it has noted a step, and before it has carried it out."""
    manifest = Manifest(str(photos.parent / "sorted"))
    with manifest.claiming():
        manifest.note(Move("move", str(photos / name), str(photos.parent / "sorted" / "dog" / target)))
    manifest.close()


@pytest.mark.parametrize("dies", ["before the other begins", "beside it, later", "beside it, at the same image"])
def test_what_a_killed_sorting_has_noted_is_its_own(dies: str, photos: Path) -> None:
    before = tree(photos)
    if dies == "before the other begins":
        killed_before(photos, "b/IMG.jpg", "IMG.jpg")
    images = [photos / "other.png", photos / "a/IMG.jpg", photos / "b/IMG.jpg"]
    sorting = Sorter(str(photos.parent / "sorted"), "move", LEVELS).sort((str(path), "dog") for path in images)
    next(sorting)
    if dies == "beside it, later":
        killed_before(photos, "b/IMG.jpg", "IMG.jpg")
    if dies == "beside it, at the same image":
        killed_before(photos, "a/IMG.jpg", "IMG.jpg")
    assert all(isinstance(event, Sorted) for event in sorting)
    events = list(undo(str(photos.parent / "sorted")))
    assert [type(event) for event in events] == [TakenBack] * 3
    assert tree(photos) == before
    assert not (photos.parent / "sorted").exists()


def test_sortings_into_one_folder_choose_names_one_at_a_time(photos: Path) -> None:
    folder = photos.parent / "sorted"
    with alone_in(folder):
        waiting = threading.Thread(target=sort, args=(photos, three(photos), "move"))
        waiting.start()
        waiting.join(0.3)
        assert not list(folder.iterdir()), "it waits"
    waiting.join()
    assert len(tree(folder)) == 3


def test_a_manifest_that_cannot_be_opened_as_a_file_is_in_nobodys_way(photos: Path) -> None:
    (photos.parent / "sorted").mkdir()
    os.mkfifo(manifest_of(photos))
    assert [type(event) for event in sort(photos, three(photos), "move")] == [Sorted] * 3
