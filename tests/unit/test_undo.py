"""Taking sortings back: killed ones, moved folders, and manifests that somebody else wrote."""

import json
import os
from pathlib import Path

import pytest

from clipcli.errors import ClipError, UsageError
from clipcli.library.events import LeftAlone, Sorted, TakenBack, Way
from clipcli.library.sorting.sorter import Sorter
from clipcli.library.sorting.undo import undo
from tests.helpers.full_disk import full_disk
from tests.helpers.snapshots import snapshot

LEVELS = {"dog": ("dog",)}

# What a manifest may say to do harm: way, source, target. The sorted folder was handed over by somebody else.
ATTACKS = {
    "a copy of itself": ("copy", "{given}/dog/theirs.jpg", "{given}/dog/theirs.jpg"),
    "itself, spelled differently": ("copy", "{given}/dog/../dog/theirs.jpg", "{given}/dog/theirs.jpg"),
    "itself through a link": ("copy", "{home}/twin.jpg", "{given}/dog/theirs.jpg"),
    "itself through a linked folder": ("copy", "{home}/also/dog/theirs.jpg", "{given}/dog/theirs.jpg"),
    "remove what lies outside": ("copy", "{home}/photos/mine.jpg", "{home}/photos/mine.jpg"),
    "remove a twin outside": ("copy", "{given}/mine.jpg", "{home}/photos/mine.jpg"),
    "move what lies outside": ("move", "{home}/taken.jpg", "{home}/photos/mine.jpg"),
    "outside through dots": ("move", "{home}/taken.jpg", "{given}/../photos/mine.jpg"),
    "outside through a link": ("move", "{home}/taken.jpg", "{given}/out/mine.jpg"),
    "plant a file of another kind": ("move", "{home}/.profile", "{given}/dog/theirs.jpg"),
    "move a file of another kind": ("move", "{home}/x.txt", "{given}/notes.txt"),
    "move a link": ("move", "{home}/planted.jpg", "{given}/link.jpg"),
    "move a folder": ("move", "{home}/planted.jpg", "{given}/folder.jpg"),
    "move the whole folder": ("move", "{home}/planted", "{given}"),
    "relative paths": ("move", "planted.jpg", "given/dog/theirs.jpg"),
    "nothing": ("move", "", ""),
    "replace what is there": ("move", "{home}/photos/mine.jpg", "{given}/dog/theirs.jpg"),
    "the manifest": ("copy", "{given}/clip-manifest.jsonl", "{given}/clip-manifest.jsonl"),
    "a link that leads elsewhere": ("link", "{home}/photos/mine.jpg", "{given}/link.jpg"),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder with what must not be touched, and a sorted folder that came from elsewhere."""
    photos, given = tmp_path / "photos", tmp_path / "given"
    (photos).mkdir()
    (given / "dog").mkdir(parents=True)
    (given / "folder.jpg").mkdir()
    for path, text in {"photos/mine.jpg": "mine", "photos/secret.txt": "secret", "given/notes.txt": "notes"}.items():
        (tmp_path / path).write_text(text)
    (given / "mine.jpg").write_text("mine")
    (given / "dog" / "theirs.jpg").write_text("theirs")
    (given / "link.jpg").symlink_to(photos / "secret.txt")
    (given / "out").symlink_to(photos)
    (tmp_path / "twin.jpg").symlink_to(given / "dog" / "theirs.jpg")
    (tmp_path / "also").symlink_to(given)
    return tmp_path


def write_manifest(home: Path, *rows: object) -> Path:
    manifest = home / "given" / "clip-manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in ({"schema": "clipcli.sorted/1"}, *rows)))
    return manifest


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_manifest_is_not_believed(attack: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    way, *paths = ATTACKS[attack]
    source, target = (path.format(home=home, given=home / "given") for path in paths)
    write_manifest(home, {"way": way, "source": source, "target": target})
    before = snapshot(home)
    for dry_run in (True, False):
        (event,) = undo(str(home / "given"), dry_run=dry_run)
        assert isinstance(event, LeftAlone)
        assert snapshot(home) == before


@pytest.mark.parametrize(
    "row",
    [
        [],
        None,
        {},
        {"way": "burn", "source": "/a.jpg", "target": "/b.jpg"},
        {"way": ["move"], "source": "/a.jpg", "target": "/b.jpg"},
        {"way": "move", "source": 7, "target": "/b.jpg"},
        {"way": "move", "source": "/a\0.jpg", "target": "/b.jpg"},
        {"way": "move", "source": "/a.jpg", "target": "/b.jpg", "more": 1},
    ],
)
def test_a_damaged_manifest_is_refused_whole(row: object, home: Path) -> None:
    write_manifest(home, row)
    before = snapshot(home)
    with pytest.raises(UsageError, match="damaged"):
        list(undo(str(home / "given")))
    assert snapshot(home) == before


def test_json_too_deep_to_read_and_a_pipe_are_refused(home: Path) -> None:
    write_manifest(home).write_text('{"schema": "clipcli.sorted/1"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(UsageError):
        list(undo(str(home / "given")))
    os.mkfifo(home / "pipe")
    with pytest.raises(UsageError, match="regular"):
        list(undo(str(home / "pipe")))


def sort(home: Path, way: Way, *names: str) -> list[object]:
    return list(Sorter(str(home / "sorted"), way, LEVELS).sort((str(home / "photos" / name), "dog") for name in names))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.jpg", "sub/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.mark.parametrize("way", ["link", "copy", "move"])
def test_a_folder_takes_back_all_its_sortings(way: Way, photos: Path) -> None:
    before = snapshot(photos.parent)
    for names in (["a.jpg"], ["b.jpg", "sub/a.jpg"]):
        sort(photos.parent, way, *names)
    assert [type(event) for event in undo(str(photos.parent / "sorted"))] == [TakenBack] * 3
    assert snapshot(photos.parent) == before


def test_a_folder_without_a_manifest(photos: Path) -> None:
    with pytest.raises(UsageError, match="manifest"):
        list(undo(str(photos)))


def test_what_is_not_empty_stays(photos: Path) -> None:
    sort(photos.parent, "copy", "a.jpg")
    (photos.parent / "sorted" / "mine.txt").write_text("mine")
    list(undo(str(photos.parent / "sorted")))
    assert snapshot(photos.parent / "sorted") == {"mine.txt": "mine"}


def test_links_survive_moving_images_and_sorted_folder_together(photos: Path) -> None:
    home = photos.parent
    (home / "all").mkdir()
    photos.rename(home / "all" / "photos")
    sorter = Sorter(str(home / "all" / "sorted"), "link", LEVELS)
    list(sorter.sort([(str(home / "all" / "photos" / "a.jpg"), "dog")]))
    (home / "all").rename(home / "elsewhere")
    assert (home / "elsewhere" / "sorted" / "dog" / "a.jpg").read_text() == "content of a.jpg"


def test_links_to_far_away_survive_moving_the_sorted_folder(photos: Path) -> None:
    sorter = Sorter(str(photos.parent / "here" / "sorted"), "link", LEVELS)
    list(sorter.sort([(str(photos / "a.jpg"), "dog")]))
    (photos.parent / "here" / "sorted").rename(photos.parent / "there")
    assert (photos.parent / "there" / "dog" / "a.jpg").read_text() == "content of a.jpg"


def test_a_folder_that_was_moved_keeps_its_manifest(photos: Path) -> None:
    sort(photos.parent, "move", "a.jpg")
    (photos.parent / "sorted").rename(photos.parent / "moved")
    before = snapshot(photos.parent)
    (event,) = undo(str(photos.parent / "moved"))
    assert isinstance(event, LeftAlone)
    assert snapshot(photos.parent) == before


@pytest.mark.parametrize("linked", [True, False])
def test_a_move_that_was_killed_before_its_source_was_removed(linked: bool, photos: Path) -> None:
    before = snapshot(photos)
    sort(photos.parent, "move", "a.jpg")
    target, source = photos.parent / "sorted" / "dog" / "a.jpg", photos / "a.jpg"
    if linked:  # within a file system
        os.link(target, source)
    else:
        source.write_bytes(target.read_bytes())
    assert [type(event) for event in undo(str(photos.parent / "sorted"))] == [TakenBack]
    assert snapshot(photos) == before
    assert not (photos.parent / "sorted").exists()


def test_a_copy_that_was_killed_leaves_no_temporary_file(photos: Path) -> None:
    sort(photos.parent, "copy", "a.jpg")
    torn = photos.parent / "sorted" / "dog" / ".a.jpg.x1y2.clip-tmp"
    torn.write_text("cont")
    list(undo(str(photos.parent / "sorted")))
    assert not (photos.parent / "sorted").exists()


def test_an_undoing_that_was_killed_leaves_no_temporary_file(photos: Path) -> None:
    before = snapshot(photos)
    sort(photos.parent, "move", "a.jpg", "b.jpg")
    whole = (photos.parent / "sorted" / "dog" / "a.jpg").read_text()
    (photos / ".a.jpg.x1y2.clip-tmp").write_text(whole[:2])
    list(undo(str(photos.parent / "sorted")))
    assert snapshot(photos) == before


def test_a_temporary_file_of_somebody_else_stays(photos: Path) -> None:
    sort(photos.parent, "move", "a.jpg")
    other = photos / ".a.jpg.x1y2.clip-tmp"
    other.write_text("not a copy of it")
    list(undo(str(photos.parent / "sorted")))
    assert other.read_text() == "not a copy of it"


@pytest.mark.parametrize("size", [0, 7, None])
def test_a_sorting_that_was_killed_before_its_first_step(size: int | None, photos: Path) -> None:
    before = snapshot(photos)
    sort(photos.parent, "move", "a.jpg")
    folder = photos.parent / "sorted"
    header = (folder / "clip-manifest.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder / "clip-manifest-2.jsonl").write_bytes(header[:size])
    list(undo(str(folder)))
    assert snapshot(photos) == before
    assert not folder.exists()


def test_an_empty_file_of_another_name_is_not_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError):
        list(undo(str(tmp_path / "notes.txt")))
    assert (tmp_path / "notes.txt").exists()


def test_a_name_that_is_taken_meanwhile_is_not_replaced(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a name and the move, another run moves its image there."""
    real, target = os.link, photos.parent / "sorted" / "dog" / "a.jpg"

    def link(source: str, wanted: str) -> None:
        if not target.exists():
            target.write_text("of another run")
        real(source, wanted)

    monkeypatch.setattr(os, "link", link)
    (event,) = sort(photos.parent, "move", "a.jpg")
    assert isinstance(event, Sorted) and event.target.endswith("a-2.jpg")
    assert target.read_text() == "of another run"
    assert [type(event) for event in undo(str(photos.parent / "sorted"))] == [TakenBack]
    assert (photos / "a.jpg").read_text() == "content of a.jpg"
    assert target.read_text() == "of another run"


def test_without_hard_links_a_move_replaces_nothing_either(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: str, target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    before = snapshot(photos)
    assert [type(event) for event in sort(photos.parent, "move", "a.jpg", "sub/a.jpg")] == [Sorted, Sorted]
    assert (photos.parent / "sorted" / "dog" / "a-2.jpg").read_text() == "content of sub/a.jpg"
    list(undo(str(photos.parent / "sorted")))
    assert snapshot(photos) == before


def test_a_link_out_of_the_sorted_folder_is_not_followed(photos: Path) -> None:
    (photos.parent / "sorted").mkdir()
    (photos.parent / "sorted" / "dog").symlink_to(photos.parent)
    before = snapshot(photos.parent)
    (event,) = sort(photos.parent, "copy", "a.jpg")
    assert isinstance(event, LeftAlone)
    assert snapshot(photos.parent) == before


@pytest.mark.parametrize("name", ["notes.txt", "link.jpg"])
def test_what_could_not_be_taken_back_is_not_moved(name: str, photos: Path) -> None:
    (photos / "notes.txt").write_text("an image under a strange name")
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    before = snapshot(photos)
    (event,) = sort(photos.parent, "move", name)
    assert isinstance(event, LeftAlone)
    assert snapshot(photos) == before


def test_a_file_where_the_folder_of_a_label_should_be(photos: Path) -> None:
    (photos.parent / "sorted").mkdir()
    (photos.parent / "sorted" / "dog").write_text("mine")
    (event,) = sort(photos.parent, "link", "a.jpg")
    assert isinstance(event, LeftAlone)


@pytest.mark.parametrize("room", [0, 10, 40, 300, 500])
def test_a_manifest_on_a_full_disk(room: int, photos: Path) -> None:
    before = snapshot(photos.parent)
    with full_disk(room), pytest.raises(ClipError):
        sort(photos.parent, "move", "a.jpg", "b.jpg", "sub/a.jpg")
    folder = photos.parent / "sorted"
    if list(folder.glob("clip-manifest*")):
        assert {type(event) for event in undo(str(folder))} == {TakenBack}
    elif folder.exists():
        folder.rmdir()
    assert snapshot(photos.parent) == before


def test_a_sorting_that_is_running_is_not_undone(photos: Path) -> None:
    sorter = Sorter(str(photos.parent / "sorted"), "move", LEVELS)
    events = sorter.sort([(str(photos / "a.jpg"), "dog"), (str(photos / "b.jpg"), "dog")])
    next(events)
    with pytest.raises(ClipError, match="running"):
        list(undo(str(photos.parent / "sorted")))
    list(events)
    assert len(list(undo(str(photos.parent / "sorted")))) == 2
