"""Libraries from Python, with the tiny CLIP: updates, searches, copies."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import clipcli
from clipcli.errors import ClipError, ModelError, UnreadableImage, UsageError
from clipcli.library.index.update import Kept, Unusable, Updated
from tests.helpers.scenes import scene


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images in two folders."""
    monkeypatch.setenv("CLIPCLI_LIBRARY_DIR", str(tmp_path / "libraries"))
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for number in range(6):
        place = folder / "trip" if number > 3 else folder
        scene(number).save(place / f"{number}.png")
    return folder


@pytest.fixture
def library(photos: Path, clip_checkpoint: Path) -> clipcli.Library:
    made = clipcli.Library.create(photos, model=str(clip_checkpoint))
    made.update()
    return made


def names(library: clipcli.Library) -> list[str]:
    return sorted(os.path.basename(path) for path in library.features()[1])


def settle(*paths: Path) -> None:
    """Make files old enough that a later change is sure to show."""
    for path in paths:
        os.utime(path, (1e9, 1e9))


def test_features_are_those_of_the_model(library: clipcli.Library) -> None:
    features, paths = library.features()
    assert len(paths) == 6
    assert np.array_equal(features, library.model.encode_images(paths))


def test_an_update_finds_what_is_new_changed_and_gone(library: clipcli.Library, photos: Path) -> None:
    scene(10).save(photos / "10.png")
    scene(11).save(photos / "1.png")
    (photos / "0.png").unlink()
    updated = library.update()
    assert (updated.added, updated.changed, updated.removed) == (1, 1, 1)
    assert names(library) == ["1.png", "10.png", "2.png", "3.png", "4.png", "5.png"]
    features, paths = library.features()
    assert np.array_equal(features, library.model.encode_images(paths))


def test_nothing_to_do_opens_no_model(library: clipcli.Library) -> None:
    library.update()

    def refuse() -> clipcli.Model:
        raise AssertionError("the model is not needed")

    again = clipcli.Library(library.store, refuse)
    assert again.update() == Updated(unchanged=6)


def test_renamed_files_are_recognized(library: clipcli.Library, photos: Path) -> None:
    shutil.move(photos / "0.png", photos / "trip" / "beach.png")
    updated = library.update()
    assert (updated.renamed, updated.added, updated.removed) == (1, 0, 0)
    assert "beach.png" in names(library)


def test_a_touched_file_is_unchanged(library: clipcli.Library, photos: Path) -> None:
    settle(photos / "0.png")
    assert library.update() == Updated(unchanged=6)


def test_an_interrupted_update_goes_on(photos: Path, clip_checkpoint: Path) -> None:
    library = clipcli.Library.create(photos, model=clipcli.load(str(clip_checkpoint), batch_size=2))
    for event in library.iter_update():
        if type(event).__name__ == "Added":
            break
    begun = len(names(library))
    assert 0 < begun < 6
    assert library.update().added == 6 - begun


def test_a_folder_that_is_gone_is_kept_and_said(library: clipcli.Library, photos: Path) -> None:
    aside = photos.with_name("aside")
    photos.rename(aside)
    for make_empty in (False, True):  # not mounted; mounted somewhere else
        if make_empty:
            photos.mkdir()
        events = list(library.iter_update())
        assert any(isinstance(event, Kept) and event.folder == str(photos) for event in events)
        assert library.counts().images == 6
        assert library.search("a dog") == []  # what is not there is not shown
    assert library.update(prune=True).removed == 6
    photos.rmdir()
    aside.rename(photos)
    assert library.update().added == 6


def test_a_subfolder_that_cannot_be_read_is_kept(library: clipcli.Library, photos: Path) -> None:
    (photos / "trip").chmod(0)
    try:
        events = list(library.iter_update())
    finally:
        (photos / "trip").chmod(0o755)
    assert library.counts().images == 6
    assert os.geteuid() == 0 or any(isinstance(event, Kept) for event in events)


def test_a_bad_image_is_said_once(library: clipcli.Library, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a JPEG")
    settle(photos / "bad.jpg")
    events = list(library.iter_update())
    assert [event.path for event in events if isinstance(event, Unusable)] == [str(photos / "bad.jpg")]
    assert library.counts().failed == 1
    assert library.update().failed == 0
    assert library.update(retry=True).failed == 1


def test_two_libraries_of_one_folder_share_the_cache(library: clipcli.Library, photos: Path) -> None:
    other = clipcli.Library.create(photos, model=library.model, name="other")
    other.update()
    assert np.array_equal(other.features()[0], library.features()[0])


def test_a_search_by_image_leaves_it_out(library: clipcli.Library, photos: Path) -> None:
    scene(0).save(photos / "copy.jpg", quality=95)
    library.update()
    term = clipcli.Term("image", str(photos / "0.png"))
    found = [os.path.basename(hit.path) for hit in library.search(term)]
    assert "0.png" not in found
    everything = library.search(term, filters=clipcli.Filters(include_self=True))
    assert os.path.basename(everything[0].path) == "0.png"
    assert everything[0].cosine == pytest.approx(1, abs=1e-5)
    assert [hit.rank for hit in everything] == list(range(1, 8))


def test_scores_differ_between_queries(library: clipcli.Library) -> None:
    first, second = (library.search(text) for text in ("a dog", "a car on the road"))
    assert {hit.path: hit.cosine for hit in first} != {hit.path: hit.cosine for hit in second}


def test_a_vector_is_a_query(library: clipcli.Library) -> None:
    features, paths = library.features()
    filters = clipcli.Filters(include_self=True)
    best = library.search(clipcli.Term("vector", features[2] * 3), filters=filters)[0]
    assert best.path == paths[2]
    with pytest.raises(UsageError):
        library.search(clipcli.Term("vector", features[2][:5]))


def test_filters(library: clipcli.Library, photos: Path) -> None:
    def found(**filters: object) -> set[str]:
        hits = library.search("a dog", filters=clipcli.Filters(**filters))  # type: ignore[arg-type]
        return {os.path.basename(hit.path) for hit in hits}

    assert found(only=("[0-2].png",)) == {"0.png", "1.png", "2.png"}
    assert found(exclude=("*/trip/*",)) == {"0.png", "1.png", "2.png", "3.png"}
    assert found(under=(str(photos / "trip"),)) == {"4.png", "5.png"}


def test_filters_by_time(library: clipcli.Library, photos: Path) -> None:
    image, exif = scene(20), Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2019:06:01 12:30:00"
    image.save(photos / "old.jpg", exif=exif)
    library.update()

    def found(**filters: str) -> list[str]:
        hits = library.search("a dog", filters=clipcli.Filters(**filters))  # type: ignore[arg-type]
        return [os.path.basename(hit.path) for hit in hits]

    assert found(before="2019") == found(after="2019-06-01T12", before="2019-06-01") == ["old.jpg"]
    assert found(before="2018") == []
    assert len(found(after="2019-06-02")) == 6
    assert library.search("a dog", filters=clipcli.Filters(before="2019"))[0].taken == "2019-06-01T12:30:00"
    with pytest.raises(UsageError):
        clipcli.Filters(after="yesterday")


def test_without_leaves_out_what_fits_better(library: clipcli.Library) -> None:
    features, paths = library.features()
    wanted, unwanted = (clipcli.Term("vector", row) for row in features[:2])
    found = library.search(clipcli.Query((wanted,), without=(unwanted,)), filters=clipcli.Filters(include_self=True))
    assert paths[1] not in [hit.path for hit in found]
    assert paths[0] in [hit.path for hit in found]


@pytest.mark.parametrize("query", ["", "  ", [], [clipcli.Term("text", "a dog", -1)]])
def test_queries_without_a_meaning_are_refused(library: clipcli.Library, query: object) -> None:
    with pytest.raises(UsageError):
        library.search(query)  # type: ignore[arg-type]


def test_a_query_image_that_cannot_be_used(library: clipcli.Library, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UnreadableImage):
        library.search(clipcli.Term("image", str(tmp_path / "text.png")))


def test_an_empty_library(tmp_path: Path, photos: Path, clip_checkpoint: Path) -> None:
    (tmp_path / "nothing").mkdir()
    library = clipcli.Library.create(tmp_path / "nothing", model=str(clip_checkpoint))
    assert library.update() == Updated()
    assert library.search("a dog") == []
    assert library.duplicates() == []
    assert library.clusters(3) == []


def test_another_model_is_refused(library: clipcli.Library) -> None:
    other = clipcli.Library.open(library.folder, model="demo")
    with pytest.raises(ModelError) as caught:
        other.search("a dog", options=clipcli.SearchOptions())
        other.update()
    assert "demo" in str(caught.value)


def test_cached_texts_need_no_model(library: clipcli.Library) -> None:
    before = library.search("a dog")

    def refuse() -> clipcli.Model:
        raise AssertionError("the model is not needed")

    assert clipcli.Library(library.store, refuse).search("a dog") == before


def test_folders_inside_each_other_are_one(photos: Path, clip_checkpoint: Path) -> None:
    library = clipcli.Library.create(photos / "trip", photos, model=str(clip_checkpoint))
    assert library.store.description.folders == (str(photos),)
    with pytest.raises(UsageError):
        clipcli.Library.create(photos / "0.png", model="demo")
    with pytest.raises(ClipError):
        clipcli.Library.open("no-such-library")


def test_levels_of_duplicates(library: clipcli.Library, photos: Path) -> None:
    shutil.copy(photos / "0.png", photos / "again.png")
    scene(1).save(photos / "1-same-pixels.bmp")
    scene(2).resize((200, 150)).save(photos / "2-small.jpg", quality=70)
    ImageOps.mirror(scene(3)).save(photos / "3-mirrored.png")
    library.update()

    def groups(level: str, **options: object) -> list[list[str]]:
        found = library.duplicates(level, **options)  # type: ignore[arg-type]
        names = [[twins.keep.path, *(twin.image.path for twin in twins.others)] for twins in found]
        return sorted([os.path.basename(name) for name in group] for group in names)

    assert groups("bytes") == [["0.png", "again.png"]]
    assert [set(group) for group in groups("pixels")] == [{"0.png", "again.png"}, {"1.png", "1-same-pixels.bmp"}]
    copies = {frozenset(group) for group in groups("copy")}
    assert {"2.png", "2-small.jpg"} in copies
    assert {"0.png", "again.png"} in copies
    with pytest.raises(UsageError):
        groups("nearly")
    with pytest.raises(UsageError):
        groups("bytes", threshold=0.5)
    with pytest.raises(UsageError):
        groups("copy", keep=["prettiest"])


def test_what_is_kept(library: clipcli.Library, photos: Path) -> None:
    scene(0).resize((640, 480)).save(photos / "trip" / "large.png")
    library.update()

    def kept(**options: object) -> str:
        (twins,) = (
            twins
            for twins in library.duplicates("copy", **options)  # type: ignore[arg-type]
            if "0.png" in {os.path.basename(image.path) for image in (twins.keep, *(t.image for t in twins.others))}
        )
        return os.path.basename(twins.keep.path)

    assert kept() == "large.png"
    assert kept(keep=["path"]) == "0.png"
    settle(photos / "0.png")
    library.update()
    assert kept(keep=["oldest"]) == "0.png"
    assert kept(keep=["newest"]) == "large.png"
    assert kept(keep=["path"], reference=photos / "trip") == "large.png"


def test_clusters_are_named(library: clipcli.Library) -> None:
    labels = clipcli.LabelSet(name="things", labels=tuple(clipcli.Label(name) for name in ("dog", "car")))
    found = library.clusters(2, labels)
    assert sum(len(cluster.paths) for cluster in found) == 6
    assert {cluster.label for cluster in found} <= {"dog", "car"}
