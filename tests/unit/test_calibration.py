from pathlib import Path

import numpy as np
import pytest

from clipcli.answers.calibration.thresholds import Fit, fit_thresholds
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.library import find_label_set, list_label_sets
from clipcli.labels.write import to_yaml


def fit(scores: list[float], truth: list[int]) -> Fit:
    (only,) = fit_thresholds(["x"], np.float32([scores]).T, np.array([truth], dtype=bool).T)
    return only


def test_a_label_that_separates_gets_the_middle_of_the_gap() -> None:
    assert fit([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == Fit("x", 2, 0.5, 1.0, 1.0)


def test_the_cut_with_the_highest_f1() -> None:
    # Cut after 1: F1 2/4; after 3: 4/6; after 4: 6/7.
    found = fit([0.9, 0.8, 0.7, 0.6, 0.1], [1, 0, 1, 1, 0])
    assert found.threshold == pytest.approx(0.35)
    assert (found.precision, found.recall) == (0.75, 1.0)


def test_the_fitted_threshold_does_what_it_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = rng.random(30) < 0.3
        scores = np.float32(np.clip(0.3 * truth + rng.normal(0.4, 0.2, 30), 0, 1))
        found = fit(scores.tolist(), truth.astype(int).tolist())
        if found.threshold is None:
            continue
        given = scores >= np.float32(found.threshold)
        assert found.precision == pytest.approx(truth[given].mean())
        assert found.recall == pytest.approx(given[truth].mean())
        best = max(2 * (truth & (scores >= s)).sum() / ((scores >= s).sum() + truth.sum()) for s in scores)
        assert 2 * (truth & given).sum() / (given.sum() + truth.sum()) == pytest.approx(best)


def test_equal_scores_are_never_parted() -> None:
    found = fit([0.5, 0.5, 0.5, 0.1], [1, 0, 1, 0])
    assert found.threshold == pytest.approx(0.3)
    assert found.precision == pytest.approx(2 / 3)


def test_a_gap_narrower_than_the_rounding() -> None:
    found = fit([0.50002, 0.50001], [1, 0])
    assert found.threshold is not None and 0.50001 < found.threshold <= 0.50002


def test_no_image_leaves_nothing_to_fit() -> None:
    assert fit([0.5, 0.4], [0, 0]).threshold is None


def test_every_image_has_it() -> None:
    found = fit([0.6, 0.4], [1, 1])
    assert found.threshold == pytest.approx(0.2)


@pytest.mark.parametrize("name", [entry.name for entry in list_label_sets()])
def test_a_label_set_survives_being_written(name: str, tmp_path: Path) -> None:
    original = find_label_set(name)
    path = tmp_path / "copy.yaml"
    path.write_text(to_yaml(original), encoding="utf-8")
    assert find_label_set(str(path)) == original


def test_awkward_labels_survive_being_written(tmp_path: Path) -> None:
    labels = (
        Label("no"),
        Label("7", threshold=0.123),
        Label("AC/DC"),
        Label("music/AC/DC", path=("music", "AC/DC"), prompts=("a: b", "# c")),
        Label("rain", group="weather"),
        Label("dog, puppy"),
        Label("晴", group="weather", threshold=0.0),
    )
    original = LabelSet("x", labels, background=("a {}",), none=Label("nothing", prompts=("else", "other")))
    path = tmp_path / "x.yaml"
    path.write_text(to_yaml(original), encoding="utf-8")
    read = find_label_set(str(path))
    assert set(read.labels) == set(labels)
    assert (read.background, read.none) == (original.background, original.none)
