"""Temperature, conformal sets, the limit for none, cross-fitting: against theory and examples worked out by hand."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from clipcli.answers import metrics
from clipcli.answers.calibration.conformal import (
    conformal_quantile,
    prediction_sets,
    quantiles_by_coverage,
    shortfalls,
)
from clipcli.answers.calibration.folds import folds
from clipcli.answers.calibration.none_of_them import fit_and_judge_none, fit_none
from clipcli.answers.calibration.temperature import LEAST, MOST, fit_temperature, mean_log_loss


def draw(images: int, labels: int = 6, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and truth drawn from their softmax at a temperature: that is then the right one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(images, labels)).astype(np.float32)
    odds = metrics.softmax(logits, temperature)
    return logits, np.array([rng.choice(labels, p=row) for row in odds])


# Temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_truth_is_found(true: float) -> None:
    found = fit_temperature(*draw(4000, temperature=true))
    assert found.low < true < found.high and found.temperature == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_is_scipys(seed: int) -> None:
    logits, truth = draw(80, temperature=1.7, seed=seed)
    best = optimize.minimize_scalar(
        lambda x: metrics.negative_log_likelihood(logits, truth, math.exp(x)), bounds=(-3, 3), method="bounded"
    )
    assert fit_temperature(logits, truth).temperature == pytest.approx(math.exp(best.x), rel=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    fits = [fit_temperature(*draw(60, temperature=1.5, seed=seed)) for seed in range(300)]
    assert 0.9 < np.mean([fit.low <= 1.5 <= fit.high for fit in fits]) < 0.99


def test_all_right_or_all_wrong_ends_at_the_limits() -> None:
    logits = np.float32([[5, 0], [5, 0], [5, 0]])
    assert fit_temperature(logits, np.zeros(3, dtype=int)).temperature == pytest.approx(LEAST, rel=0.01)
    found = fit_temperature(logits, np.ones(3, dtype=int))
    assert found.temperature == pytest.approx(MOST, rel=0.01) and found.high <= MOST


def test_blocks_change_nothing() -> None:
    logits, truth = draw(5000)
    assert mean_log_loss(logits, truth, 2) == pytest.approx(metrics.negative_log_likelihood(logits, truth, 2))


# Sets


def test_the_quantile_by_hand() -> None:
    scores = np.arange(1, 20) / 100  # n = 19: k = ceil(20 * 0.95) = 19, the largest
    assert conformal_quantile(scores, 0.95) == 0.19
    assert conformal_quantile(scores, 0.9) == 0.18
    assert conformal_quantile(scores[:18], 0.95) == math.inf


@pytest.mark.parametrize(("coverage", "images"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1), (0.8, 4)])
def test_the_least_number_of_images(coverage: float, images: int) -> None:
    assert conformal_quantile(np.zeros(images), coverage) == 0
    if images > 1:
        assert conformal_quantile(np.zeros(images - 1), coverage) == math.inf


def test_sets_hold_what_lacks_no_more_than_the_quantile() -> None:
    odds = np.float32([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    assert prediction_sets(odds, 0.66).tolist() == [[True, False, False], [True, True, False], [False] * 3]
    assert prediction_sets(odds, math.inf).all()


def test_coverage_follows_the_distribution_of_theory() -> None:
    """1,000 splits: the coverage of each is Beta(k, n + 1 - k), here seen through 2,000 images (beta-binomial)."""
    logits, truth = draw(4000, labels=8, temperature=2, seed=3)
    lack = shortfalls(metrics.softmax(logits).astype(np.float32), truth)
    rng = np.random.default_rng(4)
    n, coverage = 100, 0.9
    k = math.ceil((n + 1) * coverage)
    found = []
    for _ in range(1000):
        order = rng.permutation(len(lack))
        quantile = conformal_quantile(lack[order[:n]], coverage)
        found.append(np.mean(lack[order[n:]] <= quantile))
    expected = stats.beta(k, n + 1 - k)
    assert np.mean(found) == pytest.approx(expected.mean(), abs=3 * expected.std() / math.sqrt(1000))
    assert np.std(found) == pytest.approx(expected.std(), rel=0.1)
    assert stats.kstest(found, expected.cdf).pvalue > 0.001


def test_quantiles_of_every_coverage_are_rounded_up() -> None:
    scores = np.linspace(0, 0.999999949, 60)
    found = quantiles_by_coverage(scores)
    assert min(found) == 50 and max(found) == 98  # 99 needs 99 images
    for percent, quantile in found.items():
        assert 0 <= quantile - conformal_quantile(scores, percent / 100) < 1.1e-6


# None of them


def test_the_limit_for_none_lies_in_the_middle_of_the_gap() -> None:
    found = fit_none(np.array([0.3, 0.4, 0.35]), np.array([0.1, 0.2]))
    assert (found.below, found.kept, found.refused) == (pytest.approx(0.25), 1.0, 1.0)


def test_the_limit_for_none_does_what_it_says() -> None:
    rng = np.random.default_rng(0)
    labelled, others = rng.normal(0.3, 0.05, 200), rng.normal(0.22, 0.05, 80)
    found = fit_none(labelled, others)
    assert found.kept == pytest.approx(np.mean(labelled >= found.below))
    assert found.refused == pytest.approx(np.mean(others < found.below))
    best = max(np.mean(labelled >= x) + np.mean(others < x) for x in np.concatenate([labelled, others]))
    assert found.kept + found.refused == pytest.approx(best)


def test_the_limit_for_none_is_judged_by_images_that_it_was_not_fitted_to() -> None:
    rng = np.random.default_rng(1)
    fitted, judged = [], []
    for _ in range(200):  # both kinds alike: no limit parts them, however well it does where it was fitted
        cosines = rng.normal(0.3, 0.05, (2, 10))
        for shares, found in ((fitted, fit_none(*cosines)), (judged, fit_and_judge_none(*cosines))):
            shares.append(found.kept + found.refused)
    assert np.mean(fitted) > 1.2
    assert np.mean(judged) == pytest.approx(1, abs=0.05)


def test_a_limit_for_none_of_few_images_is_that_of_all() -> None:
    few = np.array([0.3, 0.4, 0.35]), np.array([0.1])
    assert fit_and_judge_none(*few) == fit_none(*few)


def test_equal_cosines_cannot_be_parted() -> None:
    found = fit_none(np.full(3, 0.2), np.full(2, 0.2))
    assert found.kept == 1 and found.refused == 0


# Folds


@pytest.mark.parametrize("images", [2, 3, 5, 17])
def test_every_image_is_judged_once_and_never_by_itself(images: int) -> None:
    judged = []
    for fitted, held_out in folds(images):
        assert not set(fitted) & set(held_out) and len(fitted) + len(held_out) == images
        judged.extend(held_out)
    assert sorted(judged) == list(range(images))


def test_one_image_cannot_be_cross_fitted() -> None:
    assert list(folds(1)) == [] and list(folds(0)) == []
