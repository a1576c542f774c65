"""The approximate index of a library: its hits have the scores of an exact search; one that does not fit is refused."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import clipcli
from clipcli import scoring
from clipcli.answers.search import Moments, SearchOptions, scan
from clipcli.api.libraries.library import Library
from clipcli.api.libraries.query import Filters, Query, Term
from clipcli.errors import ClipError, UsageError
from clipcli.library.index.approximate import FACTS_NAME
from clipcli.library.index.description import Description, ModelIdentity
from clipcli.library.index.store import NewImage, Store
from clipcli.library.index.table import NewRow
from clipcli.progress import unobserved
from clipcli.results import Hit
from clipcli.scoring import Floats
from tests.helpers.full_disk import full_disk

DIMENSIONS, COUNT = 32, 3000
MODEL = ModelIdentity("demo", None, "c" * 64, "preparation", "float32")


def features_of(count: int, seed: int = 0) -> Floats:
    """Rows around a hundred topics, all in one direction, as features of images are."""
    random = np.random.default_rng(seed)
    topics = np.random.default_rng(99).standard_normal((100, DIMENSIONS)).astype(np.float32)
    rows = topics[random.integers(0, 100, count)] + 0.5 * random.standard_normal((count, DIMENSIONS), dtype=np.float32)
    return scoring.normalize(rows + 1)


def refuse() -> clipcli.Model:
    raise AssertionError("the model was opened")


def refuse_progress(done: int, total: int) -> None:
    raise AssertionError("rows were added")


def add(store: Store, photos: Path, features: Floats, start: int = 0) -> None:
    images = []
    for number, row in enumerate(features, start=start):
        path = photos / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        digest = number.to_bytes(32, "little")
        time = f"20{number % 20:02}-01-01T00:00:00"
        images.append(NewImage(NewRow(str(path), None, digest, b"", 1, 1, 1, "PNG", time, time, None, None), row))
    store.add(images)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    photos = Path(os.path.realpath(tmp_path / "photos"))
    store = Store.create(tmp_path / "library", Description(MODEL, DIMENSIONS, (str(photos),)))
    add(store, photos, features_of(COUNT))
    store.build_approximate(features_of(50, seed=1), unobserved)
    return Library(store, refuse)


def photos_of(library: Library) -> Path:
    return Path(library.store.description.folders[0])


def vectors(count: int = 20) -> Floats:
    return features_of(count, seed=2)


def search(library: Library, vector: Floats, *, exact: bool = False, top: int = 10, **options: object) -> list[Hit]:
    query = [Term("vector", vector, made_of="text")]
    return library.search(query, options=SearchOptions(top=top, exact=exact, **options))  # type: ignore[arg-type]


def paths(hits: list[Hit]) -> list[str]:
    return [hit.path for hit in hits]


def numbers_of(library: Library, hits: list[Hit]) -> list[int]:
    return [hit.id for hit in hits]


def test_hits_have_the_scores_of_an_exact_search(library: Library) -> None:
    for vector in vectors():
        found, exact = search(library, vector), search(library, vector, exact=True)
        assert library.index_problem is None
        assert paths(found) == paths(exact)
        assert [hit.cosine for hit in found] == [hit.cosine for hit in exact]  # to the last digit
        assert np.allclose([hit.z for hit in found], [hit.z for hit in exact], rtol=1e-5)


def test_its_recall_is_measured(library: Library) -> None:
    facts = library.store.build_approximate(vectors(), unobserved)
    assert facts.moments.count == COUNT
    assert min(facts.recall) > 0.95


def test_the_index_is_used(library: Library) -> None:
    """An index over other rows than the library's would be noticed: it names the candidates."""
    with library.store.snapshot() as snapshot:
        rows = library.store.approximate(snapshot).candidates(vectors()[0], 10, snapshot)
    assert rows is not None
    assert len(rows) < COUNT


def test_images_that_came_later_are_found(library: Library) -> None:
    vector = vectors()[0]
    add(library.store, photos_of(library), vector[None], start=COUNT)
    found = search(library, vector)
    assert library.index_problem is None
    assert found[0].path.endswith(f"/{COUNT}.png")
    assert found[0].cosine == pytest.approx(1)
    assert [(hit.path, hit.cosine) for hit in found] == [
        (hit.path, hit.cosine) for hit in search(library, vector, exact=True)
    ]


def test_images_that_are_gone_are_not_shown(library: Library) -> None:
    vector = vectors()[1]
    gone = search(library, vector)
    library.store.remove(numbers_of(library, gone))
    found, exact = search(library, vector), search(library, vector, exact=True)
    assert not set(paths(gone)) & set(paths(found))
    assert paths(found) == paths(exact)
    assert np.allclose([hit.z for hit in found], [hit.z for hit in exact], rtol=1e-5)


def test_z_counts_what_was_dead_when_the_index_was_built(library: Library) -> None:
    library.store.remove(list(range(1, 200)))
    library.store.build_approximate(vectors(), unobserved)
    library.store.remove(list(range(200, 300)))
    found, exact = search(library, vectors()[2]), search(library, vectors()[2], exact=True)
    assert library.index_problem is None
    assert np.allclose([hit.z for hit in found], [hit.z for hit in exact], rtol=1e-5)


def test_filters_that_few_images_pass(library: Library) -> None:
    folder, vector = photos_of(library), vectors()[3]
    add(library.store, folder / "few", features_of(15, seed=5), start=5000)
    query = Query((Term("vector", vector, made_of="text"),))
    for filters in (Filters(under=(str(folder / "few"),)), Filters(after="2019"), Filters(only=("*1.png",))):
        found = library.search(query, filters=filters, options=SearchOptions(10))
        assert paths(found) == paths(library.search(query, filters=filters, options=SearchOptions(10, exact=True)))
        assert len(found) == 10


def test_deep_pages_thresholds_and_everything(library: Library) -> None:
    vector = vectors()[4]
    for options in ({"top": 0}, {"offset": 2000}, {"threshold": 0.9}, {"min_z": 1.9}, {"top": 2000}):
        top = int(options.pop("top", 10))  # type: ignore[call-overload]
        found = search(library, vector, top=top, **options)
        assert paths(found) == paths(search(library, vector, top=top, exact=True, **options))


def test_without_leaves_out_the_same(library: Library) -> None:
    first, second = (Term("vector", vector, made_of="text") for vector in vectors()[:2])
    query = Query((first,), without=(second,))
    assert paths(library.search(query)) == paths(library.search(query, options=SearchOptions(exact=True)))


def cut_graph(library: Library) -> None:
    (graph,) = library.folder.glob("*.usearch")
    graph.write_bytes(graph.read_bytes()[:-1000])


def overwrite_graph(library: Library) -> None:
    (graph,) = library.folder.glob("*.usearch")
    data = bytearray(graph.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = b"\xff" * 5000
    graph.write_bytes(data)


def delete_graph(library: Library) -> None:
    (graph,) = library.folder.glob("*.usearch")
    graph.unlink()


def damage_facts(library: Library) -> None:
    data = (library.folder / FACTS_NAME).read_bytes()
    (library.folder / FACTS_NAME).write_bytes(data[: len(data) // 2])


def compact(library: Library) -> None:
    library.store.remove([1, 2, 3])
    library.store.compact()


def grow(library: Library) -> None:
    add(library.store, photos_of(library), features_of(1000, seed=7), start=COUNT)


@pytest.mark.parametrize("change", [cut_graph, overwrite_graph, delete_graph, damage_facts, compact, grow])
def test_an_index_that_does_not_fit_is_said_and_not_used(library: Library, change: Callable[[Library], None]) -> None:
    change(library)
    opened = Library(Store(library.folder), refuse)
    found = search(opened, vectors()[5])
    assert opened.index_problem is not None
    assert opened.store.index_problem() is not None
    assert paths(found) == paths(search(opened, vectors()[5], exact=True))
    opened.store.build_approximate(vectors(), unobserved)
    search(opened, vectors()[5])
    assert opened.index_problem is None
    assert len(list(library.folder.glob("approximate*"))) == 2


def test_a_copied_library_keeps_its_index(library: Library) -> None:
    (graph,) = library.folder.glob("*.usearch")
    os.utime(graph, (1, 1))
    search(library, vectors()[0])
    assert library.index_problem is None


def test_a_library_without_an_index_has_no_problem(library: Library) -> None:
    assert library.remove_index()
    assert not library.remove_index()
    search(library, vectors()[0])
    assert library.index_problem is None
    assert library.store.index_problem() is None


def test_an_open_library_sees_a_new_index(library: Library) -> None:
    search(library, vectors()[0])
    add(library.store, photos_of(library), features_of(10, seed=8), start=COUNT)
    Store(library.folder).build_approximate(vectors(), unobserved)
    with library.store.snapshot() as snapshot:
        assert library.store.approximate(snapshot).facts.rows == COUNT + 10


def test_a_full_disk_leaves_the_index_as_it_was(library: Library) -> None:
    before = sorted(library.folder.iterdir())
    with full_disk(50_000), pytest.raises(ClipError, match="cannot be written"):
        library.store.build_approximate(vectors(), unobserved)
    assert sorted(library.folder.iterdir()) == before
    search(library, vectors()[0])
    assert library.index_problem is None


def test_without_usearch_every_image_is_compared(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)  # Python's own way to say: not installed
    opened = Library(Store(library.folder), refuse)
    assert paths(search(opened, vectors()[0])) == paths(search(opened, vectors()[0], exact=True))
    search(opened, vectors()[0])
    assert "clipcli[index]" in (getattr(opened.index_problem, "hint", "") or "")
    with pytest.raises(UsageError, match="usearch"):
        opened.store.build_approximate(vectors(), unobserved)


def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(ClipError, match="Read-only"):
        library.store.build_approximate(vectors(), refuse_progress)


def test_compaction_meanwhile_is_noticed(library: Library) -> None:
    def compact_at_the_end(done: int, total: int) -> None:
        if done == total:
            other = Store(library.folder)
            other.remove([1])
            other.compact()

    with pytest.raises(ClipError, match="meanwhile"):
        library.store.build_approximate(vectors(), compact_at_the_end)
    assert not list(library.folder.glob("*.part"))


def test_what_an_interrupted_build_left_is_removed(library: Library) -> None:
    (library.folder / "approximate-1.part").write_bytes(b"half")
    library.store.build_approximate(vectors(), unobserved)
    assert not list(library.folder.glob("*.part"))


def test_deleting_a_library_deletes_its_index(library: Library) -> None:
    library.store.delete()
    assert not library.folder.exists()


@pytest.mark.parametrize("count", [0, 1, 2, 12])
def test_small_libraries(tmp_path: Path, count: int) -> None:
    photos = Path(os.path.realpath(tmp_path / "photos"))
    store = Store.create(tmp_path / "small", Description(MODEL, DIMENSIONS, (str(photos),)))
    add(store, photos, features_of(count))
    store.build_approximate(vectors(), unobserved)
    small = Library(store, refuse)
    assert len(search(small, vectors()[0])) == min(count, 10)
    assert small.index_problem is None


def test_moments_are_those_of_a_scan() -> None:
    matrix, query = features_of(10_000), vectors()[0]
    cosines = scan(matrix, query).cosines
    mean, deviation = Moments.of(matrix, np.arange(6000)).spread(query, cosines[6000:], cosines[:100])
    assert mean == pytest.approx(cosines[100:].mean(dtype=np.float64), rel=1e-6)
    assert deviation == pytest.approx(cosines[100:].std(dtype=np.float64), rel=1e-6)
