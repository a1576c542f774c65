"""A library on disk: rows and features in step, whatever happens to either."""

import os
import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from clipcli.errors import ClipError, ModelError, UsageError
from clipcli.library.index import places
from clipcli.library.index.description import Description, ModelIdentity, read_description
from clipcli.library.index.store import NewImage, Store
from clipcli.library.index.table import NewRow

DIMENSIONS = 8
MODEL = ModelIdentity("demo", None, "c" * 64, "preparation", "float32")


def description(*folders: str, model: ModelIdentity = MODEL) -> Description:
    return Description(model, DIMENSIONS, folders or ("/photos",))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "library", description())


def image(name: str, number: int, *, folder: str = "/photos") -> NewImage:
    features = np.zeros(DIMENSIONS, dtype=np.float32)
    features[number % DIMENSIONS] = 1
    digest = number.to_bytes(32, "little")
    row = NewRow(f"{folder}/{name}", None, digest, b"stamp", 10, 4, 3, "PNG", None, "2024-01-01T00:00:00", None, None)
    return NewImage(row, features)


def failed(name: str) -> NewImage:
    row = NewRow(f"/photos/{name}", None, None, b"", 1, None, None, None, None, "2024-01-01T00:00:00", None, "damaged")
    return NewImage(row, None)


def contents(store: Store) -> dict[str, list[float]]:
    """Every image with its features."""
    with store.snapshot() as snapshot:
        slots = snapshot.live_slots.tolist()
        return {
            os.path.basename(found.path): snapshot.matrix[slot].tolist()
            for slot, found in zip(slots, snapshot.images(slots), strict=True)
        }


def expected(*numbers: int) -> dict[str, list[float]]:
    return {f"{n}.png": np.eye(DIMENSIONS, dtype=np.float32)[n % DIMENSIONS].tolist() for n in numbers}


def add(store: Store, *numbers: int) -> None:
    store.add([image(f"{n}.png", n) for n in numbers])


def test_what_is_added_is_there(store: Store) -> None:
    add(store, 1, 2)
    store.add([failed("bad.png")])
    add(store, 3)
    assert contents(Store(store.folder)) == expected(1, 2, 3)
    counts = store.counts()
    assert (counts.images, counts.failed, counts.dead) == (3, 1, 0)


def test_the_same_path_takes_the_place_of_the_old_one(store: Store) -> None:
    add(store, 1, 2)
    store.add([image("1.png", 5)])
    assert contents(store)["1.png"] == expected(5)["5.png"]
    assert store.counts().dead == 1


def test_an_image_that_cannot_be_used_any_more_is_gone(store: Store) -> None:
    add(store, 1, 2)
    store.add([failed("1.png")])
    assert contents(store) == expected(2)


def test_compaction_keeps_what_lives(store: Store) -> None:
    add(store, *range(20))
    with store.snapshot() as snapshot:
        numbers = [found.id for found in snapshot.images(range(0, 20, 2))]
    store.remove(numbers)
    assert store.compact() == 10
    assert contents(store) == expected(*range(1, 20, 2))
    add(store, 30)
    assert contents(store) == expected(*range(1, 20, 2), 30)
    assert len(list(store.folder.glob("vectors-*"))) == 1


def test_a_snapshot_survives_compaction_and_additions(store: Store) -> None:
    add(store, 1, 2, 3)
    with store.snapshot() as snapshot:
        matrix = snapshot.matrix
    store.remove([1])
    store.compact()
    add(store, 4)
    assert matrix.tolist() == list(expected(1, 2, 3).values())


def test_rows_that_nobody_counts_are_written_over(store: Store) -> None:
    add(store, 1)
    with open(store.folder / "vectors-0.f32", "ab") as file:
        file.write(b"\xff" * 100)  # killed while it wrote
    assert contents(store) == expected(1)
    add(store, 2)
    assert contents(store) == expected(1, 2)


def test_images_without_features_are_reported_and_forgotten(store: Store) -> None:
    add(store, *range(10))
    path = store.folder / "vectors-0.f32"
    os.truncate(path, path.stat().st_size // 2 + 5)
    with store.snapshot() as snapshot:
        assert snapshot.lost == 5
    assert contents(store) == expected(*range(5))
    assert store.forget_lost() == 5
    assert store.counts().images == 5
    add(store, 9)
    assert contents(store) == expected(*range(5), 9)


def test_a_matrix_that_is_gone_leaves_an_empty_library(store: Store) -> None:
    add(store, 1)
    (store.folder / "vectors-0.f32").unlink()
    assert contents(store) == {}
    assert store.forget_lost() == 1


def test_check_finds_the_row_that_differs(store: Store) -> None:
    add(store, 1, 2, 3)
    assert store.check() == ([], 3)
    with open(store.folder / "vectors-0.f32", "r+b") as file:
        file.seek(DIMENSIONS * 4)
        file.write(b"\x01")
    assert store.check() == ([2], 3)


def test_two_writers_take_turns(store: Store) -> None:
    def write(begin: int) -> None:
        own = Store(store.folder)
        for number in range(begin, begin + 40, 4):
            own.add([image(f"{n}.png", n) for n in range(number, number + 4)])

    threads = [threading.Thread(target=write, args=(begin,)) for begin in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(store) == expected(*range(40), *range(100, 140))
    assert store.check() == ([], 80)


def test_a_read_only_library_can_be_read(store: Store) -> None:
    add(store, 1)
    for file in store.folder.iterdir():
        file.chmod(stat.S_IRUSR)
    store.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert contents(Store(store.folder)) == expected(1)
        if os.geteuid():  # root may write everywhere
            with pytest.raises(ClipError):
                add(store, 2)
    finally:
        store.folder.chmod(stat.S_IRWXU)


def test_a_full_disk_leaves_the_library_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ClipError, match="No space left"):
        add(store, 2)
    monkeypatch.undo()
    assert contents(store) == expected(1)
    add(store, 2)
    assert contents(store) == expected(1, 2)


def test_a_damaged_table_is_said(store: Store) -> None:
    (store.folder / "rows.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ClipError, match="damaged"), store.snapshot():
        pass


def test_a_table_of_another_program_is_refused(store: Store) -> None:
    (store.folder / "rows.sqlite").unlink()
    db = sqlite3.connect(store.folder / "rows.sqlite")
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    with pytest.raises(ClipError), store.snapshot():
        pass


def test_names_that_are_not_utf8(store: Store) -> None:
    name = os.fsdecode(b"caf\xe9\n.png")
    store.add([image(name, 1)])
    with store.snapshot() as snapshot:
        (found,) = snapshot.images([0])
    assert found.path == f"/photos/{name}"


def test_a_library_is_not_made_where_something_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ClipError):
        Store.create(store.folder, description())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ClipError):
        Store.create(tmp_path / "other", description())
    with pytest.raises(ClipError):
        Store(tmp_path / "nothing")


def test_deleting_leaves_files_of_the_user(store: Store) -> None:
    add(store, 1)
    (store.folder / "notes.txt").touch()
    store.delete()
    assert [file.name for file in store.folder.iterdir()] == ["notes.txt"]


def test_the_description_holds_what_was_written(tmp_path: Path) -> None:
    model = ModelIdentity("m", "r", "c", "p", "int8", "t", "cpu float32", ("en", "zh"))
    written = Description(model, 3, (os.fsdecode(b"/caf\xe9"),), ("*.gif",), True, True)
    store = Store.create(tmp_path / "library", written)
    assert read_description(store.folder) == written


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": "clipcli.library/9"}', '{"schema": "clipcli.library/1"}']
)
def test_a_damaged_description_is_said(store: Store, text: str) -> None:
    (store.folder / "library.json").write_text(text)
    with pytest.raises(ClipError):
        Store(store.folder)


@pytest.mark.parametrize("change", [{"checkpoint": "x"}, {"preparation": "x"}, {"precision": "int8"}])
def test_another_model_is_refused_by_name(store: Store, change: dict[str, str]) -> None:
    from dataclasses import replace

    other = replace(MODEL, name="vit-b32", **change)
    with pytest.raises(ModelError) as caught:
        store.description.require_model(other, "mine")
    assert "demo" in str(caught.value) and "vit-b32" in str(caught.value)
    store.description.require_model(replace(MODEL, name="another name for it"), "mine")


def test_names_and_paths_of_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPCLI_LIBRARY_DIR", str(tmp_path / "all"))
    assert places.library_folder("mine") == tmp_path / "all" / "mine"
    assert places.library_folder("./mine") == Path.cwd() / "mine"
    with pytest.raises(UsageError):
        places.library_folder("a\0b")
    one, other = tmp_path / "photos", tmp_path / "x" / "photos"
    assert places.usual_name(str(one)) != places.usual_name(str(other))


def test_the_library_of_the_closest_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPCLI_LIBRARY_DIR", str(tmp_path / "all"))
    inner = tmp_path / "photos" / "2024"
    inner.mkdir(parents=True)
    outer_store = Store.create(places.library_folder("outer"), description(str(tmp_path / "photos")))
    assert places.library_over(str(inner)) == outer_store.folder
    inner_store = Store.create(places.library_folder("inner"), description(str(inner)))
    assert places.library_over(str(inner)) == inner_store.folder
    assert places.library_over(str(tmp_path)) is None
