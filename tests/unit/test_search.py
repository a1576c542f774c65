"""Query vectors, the scan, and which rows are answers."""

import numpy as np
import pytest

from clipcli import scoring
from clipcli.answers.search import BLOCK_ROWS, QueryPart, SearchOptions, best, nearer_to, products, query_vector, scan
from clipcli.errors import UsageError
from clipcli.scoring import Floats


def unit_rows(count: int, dimensions: int = 64, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return scoring.normalize(random.standard_normal((count, dimensions), dtype=np.float32))


@pytest.mark.parametrize("count", [1, 7, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 3])
def test_equal_rows_have_equal_cosines_wherever_they_stand(count: int) -> None:
    matrix = np.tile(unit_rows(1, 512), (count, 1))
    assert len(set(products(matrix, unit_rows(1, 512, seed=1)[0]).tolist())) == 1


def test_a_row_keeps_its_cosine_when_rows_are_added() -> None:
    matrix, query = unit_rows(BLOCK_ROWS + 50), unit_rows(1, seed=1)[0]
    assert np.array_equal(products(matrix[:100], query), products(matrix, query)[:100])


def test_cosines_are_those_of_a_plain_product() -> None:
    matrix, query = unit_rows(5000), unit_rows(1, seed=1)[0]
    assert np.allclose(products(matrix, query), matrix @ query, atol=1e-6)


def test_z_is_standardized_over_live_rows() -> None:
    matrix, query = unit_rows(1000), unit_rows(1, seed=1)[0]
    live = np.arange(1000) < 900
    z = scan(matrix, query, live).z
    assert z[live].mean() == pytest.approx(0, abs=1e-4)
    assert z[live].std() == pytest.approx(1, abs=1e-3)


def test_a_library_of_the_same_image_has_z_zero() -> None:
    matrix = np.tile(unit_rows(1), (5, 1))
    assert scan(matrix, unit_rows(1, seed=1)[0]).z.tolist() == [0] * 5


def test_an_empty_library_has_no_answers() -> None:
    scanned = scan(np.empty((0, 64), dtype=np.float32), unit_rows(1)[0])
    assert best(scanned, None, SearchOptions()).tolist() == []


@pytest.mark.parametrize("top", [1, 5, 999, 1000, 2000, 0])
def test_best_rows_are_those_of_a_full_sort(top: int) -> None:
    scanned = scan(unit_rows(1000), unit_rows(1, seed=1)[0])
    expected = np.argsort(-scanned.cosines, kind="stable")[: top or None]
    assert best(scanned, None, SearchOptions(top=top)).tolist() == expected.tolist()


def test_equal_rows_keep_their_order_at_the_cut() -> None:
    matrix = np.concatenate([np.tile(unit_rows(1), (10, 1)), unit_rows(10, seed=2)])
    scanned = scan(matrix, matrix[0])
    assert best(scanned, None, SearchOptions(top=4)).tolist() == [0, 1, 2, 3]


def test_pages_follow_each_other() -> None:
    scanned = scan(unit_rows(100), unit_rows(1, seed=1)[0])
    whole = best(scanned, None, SearchOptions(top=30)).tolist()
    pages = [best(scanned, None, SearchOptions(top=10, offset=offset)).tolist() for offset in (0, 10, 20)]
    assert [row for page in pages for row in page] == whole
    assert best(scanned, None, SearchOptions(top=10, offset=1000)).tolist() == []


def test_filters_thresholds_and_masks() -> None:
    scanned = scan(unit_rows(1000), unit_rows(1, seed=1)[0])
    mask = np.arange(1000) % 2 == 0
    rows = best(scanned, mask, SearchOptions(top=0, threshold=0.1, min_z=1.5))
    assert len(rows) and mask[rows].all()
    assert (scanned.cosines[rows] >= 0.1).all() and (scanned.z[rows] >= 1.5).all()


def test_z_does_not_depend_on_filters() -> None:
    matrix, query = unit_rows(1000), unit_rows(1, seed=1)[0]
    assert np.array_equal(scan(matrix, query).z, scan(matrix, query, np.ones(1000, dtype=np.bool_)).z)


def test_the_query_vector_is_normalized_and_weighted() -> None:
    matrix = unit_rows(10)
    one, other = unit_rows(2, seed=3)
    vector = query_vector([QueryPart("text", one, 3.0), QueryPart("text", other, -1.0)], matrix)
    expected = 3 * one - other
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert vector.dtype == np.float32


def test_texts_and_images_are_balanced_by_their_spread() -> None:
    axes = np.eye(64, dtype=np.float32)
    spreads = np.array([0.3, 0.03], dtype=np.float32)  # along the axes of the image and of the text
    matrix = scoring.normalize(np.random.default_rng(0).standard_normal((5000, 64), dtype=np.float32))
    matrix[:, :2] *= 8 * spreads
    parts = [QueryPart("image", axes[0]), QueryPart("text", axes[1])]
    balanced, raw = query_vector(parts, matrix), query_vector(parts, matrix, balanced=False)
    assert raw[0] == pytest.approx(raw[1])
    ratio = (matrix @ axes[0]).std() / (matrix @ axes[1]).std()
    assert balanced[1] / balanced[0] == pytest.approx(ratio**0.5, rel=1e-3)


def test_parts_that_cancel_each_other_are_refused() -> None:
    row = unit_rows(1)[0]
    with pytest.raises(UsageError):
        query_vector([QueryPart("text", row), QueryPart("text", row, -1.0)], unit_rows(3))
    with pytest.raises(UsageError):
        query_vector([], unit_rows(3))


def test_rows_nearer_to_another_text() -> None:
    matrix = unit_rows(1000)
    wanted, other = scan(matrix, matrix[0]), scan(matrix, matrix[1])
    found = nearer_to(wanted, [other])
    assert found[1] and not found[0]


@pytest.mark.parametrize("bad", [{"top": -1}, {"offset": -1}, {"threshold": 2.0}, {"threshold": float("nan")}])
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SearchOptions(**bad)  # type: ignore[arg-type]
