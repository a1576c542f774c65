"""Maps as numbers: peaks, boxes, heat, and what several sizes come to."""

import numpy as np
import pytest

from clipcli.answers.maps import (
    ExplainOptions,
    box_at_half,
    connected,
    heat_of,
    label_maps,
    mean_cosines,
    peak,
    resized,
)
from clipcli.errors import UsageError
from clipcli.scoring import Floats, Logits, normalize


def grid(*rows: list[float]) -> Floats:
    return np.array(rows, dtype=np.float32)


def test_the_peak_is_the_middle_of_the_hottest_patch() -> None:
    heat = grid([0, 0, 0, 0], [0, 0, 1, 0])
    assert peak(heat, (400, 100)) == (250.0, 75.0)
    assert peak(np.ones((2, 2), dtype=np.float32), (10, 10)) == (2.5, 2.5)


def test_a_box_is_around_what_is_hot_and_connected_with_the_peak() -> None:
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[1:4, 2:5] = 1
    heat[6, 6] = 0.9  # as hot, and elsewhere
    left, top, right, bottom = box_at_half(heat, (80, 160))
    assert (left, right) == pytest.approx((20, 50), abs=3)
    assert (top, bottom) == pytest.approx((20, 80), abs=6)


def test_half_is_between_the_least_and_the_greatest_heat() -> None:
    heat = np.full((8, 8), 0.8, dtype=np.float32)
    heat[3:5, 3:5] = 0.9
    left, top, right, bottom = box_at_half(heat, (8, 8))
    assert (left, top, right, bottom) == pytest.approx((3, 3, 5, 5), abs=0.6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (7, 7)])
def test_a_map_that_is_the_same_everywhere_has_a_box_around_everything(shape: tuple[int, int]) -> None:
    assert box_at_half(np.full(shape, 0.3, dtype=np.float32), (30, 20)) == (0, 0, 30, 20)


def test_boxes_and_peaks_stay_inside_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 12, 2)
        heat, size = (
            rng.random((height, width), dtype=np.float32),
            (int(rng.integers(1, 900)), int(rng.integers(1, 900))),
        )
        left, top, right, bottom = box_at_half(heat, size)
        x, y = peak(heat, size)
        assert 0 <= left <= x <= right <= size[0] + 1e-6
        assert 0 <= top <= y <= bottom <= size[1] + 1e-6


def test_connected_over_edges_only() -> None:
    mask = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=bool)
    assert connected(mask, 0).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    snake = np.array([[1, 1, 1], [0, 0, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]], dtype=bool)
    assert (connected(snake, 14) == snake).all()


def test_maps_are_resized_as_pillow_and_torch_do() -> None:
    import torch
    from torch.nn import functional as F

    maps = np.random.default_rng(1).random((3, 5, 7), dtype=np.float32)
    for size in ((5, 7), (11, 7), (20, 31), (1, 1)):
        theirs = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear", align_corners=False)[0]
        np.testing.assert_allclose(resized(maps, *size), theirs.numpy(), atol=1e-6)


def test_heat_is_the_share_of_a_label_against_none() -> None:
    maps, none = np.full((1, 2, 2), 0.3, dtype=np.float32), np.full((2, 2), 0.3, dtype=np.float32)
    np.testing.assert_allclose(heat_of(maps, none, Logits(100.0)), 0.5)
    np.testing.assert_allclose(heat_of(maps + 0.02, none, Logits(100.0, bias=-10)), 1 / (1 + np.exp(-2)), rtol=1e-4)
    assert ((heat := heat_of(maps + 0.9, none, Logits(1e4))) <= 1).all() and np.isfinite(heat).all()


def test_the_mean_of_several_sizes_lies_on_the_finest_grid() -> None:
    rng = np.random.default_rng(2)
    texts = normalize(rng.standard_normal((3, 8), dtype=np.float32))
    coarse, fine = np.tile(texts[0], (2, 2, 1)), np.tile(texts[1], (4, 6, 1))
    found = mean_cosines([coarse, fine], texts)
    assert found.shape == (3, 4, 6)
    expected = (texts @ texts[0] + texts @ texts[1]) / 2
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), atol=1e-6)


def test_maps_keep_labels_and_cosines_apart() -> None:
    heat = np.stack([grid([1, 0], [0, 0]), grid([0, 0], [0, 1])])
    one, other = label_maps(["cat", "dog"], np.array([0.3, 0.2], dtype=np.float32), heat * 0.5, heat, (10, 10))
    assert (one.label, one.x, one.y) == ("cat", 2.5, 2.5)
    assert (other.label, other.x, other.y, other.cosine) == ("dog", 7.5, 7.5, pytest.approx(0.2))
    row = one.to_dict()
    assert row["grid"] == [[1, 0], [0, 0]] and row["peak"]["heat"] == 1
    assert one.cosines.max() == 0.5


@pytest.mark.parametrize("wrong", [{"method": "gradcam"}, {"quality": "great"}, {"top": 0}])
def test_wrong_options_name_their_parameter(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        ExplainOptions(**wrong)  # type: ignore[arg-type]
    assert {caught.value.parameter: caught.value.value} == wrong
