"""Metrics against scikit-learn on random and degenerate input, and against examples worked out by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn

from clipcli.answers import metrics

SEEDS = range(20)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, C) with many ties, and truth (N,) in which some labels never occur."""
    rng = np.random.default_rng(seed)
    images, labels = int(rng.integers(1, 60)), int(rng.integers(2, 8))
    scores = np.round(rng.normal(size=(images, labels)), 1).astype(np.float32)
    return scores, rng.integers(0, max(labels - 1, 1), images)


def binary(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=int(rng.integers(2, 80))), 1)
    truth = rng.random(len(scores)) < rng.random()
    truth[0], truth[-1] = True, False
    return scores, truth


# Ranks


def test_a_tie_goes_against_the_truth() -> None:
    scores = np.float32([[3, 2, 1], [1, 1, 1], [0, 2, 2], [0, 0, 5]])
    assert metrics.true_ranks(scores, np.array([0, 0, 1, 2])).tolist() == [1, 3, 2, 1]


def test_a_constant_scorer_gets_nothing_right() -> None:
    ranks = metrics.true_ranks(np.zeros((10, 4)), np.arange(10) % 4)
    assert metrics.top_k_accuracy(ranks, 1) == 0 and metrics.top_k_accuracy(ranks, 3) == 0
    assert metrics.top_k_accuracy(ranks, 4) == 1


def test_of_several_right_labels_the_best_counts() -> None:
    scores = np.float32([[3, 2, 1], [3, 2, 1], [1, 1, 1], [3, 2, 1]])
    truth = np.array([[0, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=bool)
    # The last image has no right label, so that no rank within the list is right.
    assert metrics.true_ranks(scores, truth).tolist() == [2, 1, 2, 4]


@pytest.mark.parametrize("seed", SEEDS)
def test_top_k_without_ties_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(40, 6)), rng.integers(0, 6, 40)
    ranks = metrics.true_ranks(scores, truth)
    for k in (1, 2, 5):
        expected = sklearn.top_k_accuracy_score(truth, scores, k=k, labels=range(6))
        assert metrics.top_k_accuracy(ranks, k) == pytest.approx(expected)


# Labels


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore:.*")
def test_labels_against_scikit_learn(seed: int) -> None:
    scores, truth = draw(seed)
    labels, predicted = scores.shape[1], scores.argmax(axis=1)
    expected = sklearn.balanced_accuracy_score(truth, predicted)
    assert metrics.mean_per_class(truth, predicted, labels) == pytest.approx(expected)
    f1 = metrics.f1_per_label(truth, predicted, labels)
    assert np.nanmean(f1) == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    counts = sklearn.confusion_matrix(truth, predicted, labels=range(labels))
    assert (metrics.confusion(truth, predicted, labels) == counts).all()


def test_labels_without_images_are_left_out_of_the_mean() -> None:
    truth, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    assert metrics.recall_per_label(truth, predicted, 4).tolist()[:2] == [0.5, 1.0]
    assert metrics.mean_per_class(truth, predicted, 4) == 0.75
    # Label 3 is neither there nor predicted; label 2 is predicted wrongly and has F1 0.
    f1 = metrics.f1_per_label(truth, predicted, 4)
    assert math.isnan(f1[3]) and f1[2] == 0


def test_baselines() -> None:
    assert metrics.chance(4) == 0.25 and metrics.chance(4, 5) == 1
    assert metrics.majority(np.array([1, 1, 0, 2]), 5) == 0.5


# Ranking


@pytest.mark.parametrize("seed", SEEDS)
def test_ranking_against_scikit_learn(seed: int) -> None:
    scores, truth = binary(seed)
    assert metrics.average_precision(scores, truth) == pytest.approx(sklearn.average_precision_score(truth, scores))
    assert metrics.auroc(scores, truth) == pytest.approx(sklearn.roc_auc_score(truth, scores))
    false, true, _ = sklearn.roc_curve(truth, scores, drop_intermediate=False)
    assert metrics.false_positives_at_recall(scores, truth) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_average_precision_by_hand() -> None:
    # Right ones at ranks 1 and 3: 1/2 * 1/1 + 1/2 * 2/3.
    found = metrics.average_precision(np.array([4, 3, 2, 1]), np.array([True, False, True, False]))
    assert found == pytest.approx(5 / 6)


def test_tied_scores_enter_together() -> None:
    truth = np.array([True, False, False, False])
    assert metrics.average_precision(np.ones(4), truth) == 0.25
    assert metrics.average_precision(np.ones(4), truth[::-1]) == 0.25
    assert metrics.auroc(np.ones(4), truth) == 0.5
    assert metrics.false_positives_at_recall(np.ones(4), truth) == 1


def test_a_label_without_images_does_not_count_as_zero() -> None:
    scores, truth = np.array([[2.0, 1], [1, 2]]), np.array([[True, False], [False, False]])
    found = metrics.average_precisions(scores, truth)
    assert found[0] == 1 and math.isnan(found[1])
    assert metrics.mean_average_precision(scores, truth) == 1


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_one_kind_alone_is_not_a_number(truth: list[bool]) -> None:
    assert math.isnan(metrics.auroc(np.array([1.0, 2]), np.array(truth)))
    assert math.isnan(metrics.false_positives_at_recall(np.array([1.0, 2]), np.array(truth)))


# Probabilities


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = rng.normal(scale=5, size=(30, 5)).astype(np.float32), rng.integers(0, 5, 30)
    probabilities = metrics.softmax(logits)
    expected = sklearn.log_loss(truth, probabilities, labels=range(5))
    assert metrics.negative_log_likelihood(logits, truth) == pytest.approx(expected)
    onehot = np.eye(5)[truth]
    assert metrics.brier(probabilities, truth) == pytest.approx(np.square(probabilities - onehot).sum(axis=1).mean())
    halves = metrics.softmax(logits[:, :2])
    expected = sklearn.brier_score_loss(truth % 2, halves[:, 1])
    assert metrics.brier(halves, truth % 2) == pytest.approx(2 * expected)


def test_losses_at_the_ends() -> None:
    truth = np.array([0])
    assert metrics.negative_log_likelihood(np.float32([[0, 0, 0]]), truth) == pytest.approx(math.log(3))
    assert metrics.negative_log_likelihood(np.float32([[0, 2000]]), truth) == pytest.approx(2000)
    assert metrics.brier(np.float32([[0, 1]]), truth) == 2 and metrics.brier(np.float32([[1, 0]]), truth) == 0


def test_calibration_error_by_hand() -> None:
    # Two bins of ten: confidence 0.95 with 1/2 right, confidence 0.55 with 2/2 right.
    confidence, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, False, True, True])
    assert metrics.expected_calibration_error(confidence, right, 10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.45)
    found = metrics.reliability(confidence, right, 2, "mass")
    assert found.confidence.tolist() == [0.55, 0.95] and found.images.tolist() == [2, 2]


def test_bins_hold_their_upper_end_and_empty_ones_are_left_out() -> None:
    found = metrics.reliability(np.array([0.0, 0.2, 0.2001, 1.0]), np.zeros(4, dtype=bool), 5)
    assert found.images.tolist() == [2, 1, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_error_against_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(100), rng.random(100) < 0.5
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(expected)


def test_equal_mass_bins_differ_by_one_image_at_most() -> None:
    found = metrics.reliability(np.linspace(0, 1, 100), np.zeros(100, dtype=bool), 15, "mass")
    assert found.images.sum() == 100 and set(found.images.tolist()) <= {6, 7}


# Intervals


def test_wilson_by_hand() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29; 95 %.
    for hits, images, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        found = metrics.wilson(hits, images)
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert metrics.wilson(5, 5).high == 1


def test_wilson_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [metrics.wilson(int(hits), 100) for hits in rng.binomial(100, 0.85, 4000)]
    assert 0.93 < np.mean([interval.low <= 0.85 <= interval.high for interval in found]) < 0.97


def test_bootstrap_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = metrics.bootstrap(lambda which: float(values[which].mean()), len(values))
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == (
        pytest.approx(values.mean() - half, abs=0.05),
        pytest.approx(values.mean() + half, abs=0.05),
    )


def test_an_interval_holds_its_figure_even_where_samples_are_biased() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200)
    right = rng.random(200) < confidence  # calibrated, so that every sample has the larger error

    def error(which: np.ndarray) -> float:
        return metrics.expected_calibration_error(confidence[which], right[which])

    found = metrics.bootstrap(error, 200, resamples=200)
    assert 0 <= found.low <= found.value <= found.high


def test_no_interval_goes_beyond_what_a_figure_can_be() -> None:
    truth, predicted = np.repeat([0, 1], 10), np.repeat([0, 1], 10)
    predicted[[0, 10, 11]] = 1 - predicted[[0, 10, 11]]

    def f1(which: np.ndarray) -> float:
        return metrics.macro_f1(truth[which], predicted[which], 2)

    assert metrics.bootstrap(f1, 20).high > 1
    assert metrics.bootstrap(f1, 20, most=1.0).high == 1


def test_mcnemar_by_hand() -> None:
    first = np.array([True] * 10 + [False] * 6 + [True] * 0)
    second = np.array([True] * 8 + [False] * 2 + [True] * 6)
    found = metrics.mcnemar(first, second)
    # 2 against 6 of 8 fair coins: 2 * (1 + 8 + 28) / 256.
    assert (found.only_first, found.only_second, found.p) == (2, 6, pytest.approx(74 / 256))
    assert metrics.mcnemar(first, first).p == 1


def test_mcnemar_of_many() -> None:
    found = metrics.mcnemar(np.arange(5000) < 2000, np.arange(5000) >= 2000)
    assert 0 < found.p < 1e-40


def test_paired_difference_by_hand() -> None:
    # Newcombe (1998), table II, method 10: 36 both, 12 only one, 2 only the other, 0 neither; 0.0569 to 0.3404.
    second = np.array([True] * 36 + [True] * 12 + [False] * 2)
    first = np.array([True] * 36 + [False] * 12 + [True] * 2)
    found = metrics.paired_difference(first, second)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0569, abs=5e-4), pytest.approx(0.3404, abs=5e-4))


def test_no_difference() -> None:
    same = np.array([True, False, True])
    found = metrics.paired_difference(same, same)
    assert found.value == 0 and found.low <= 0 <= found.high


# Retrieval


def unit(rows: np.ndarray) -> np.ndarray:
    return np.float32(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_retrieval_by_hand() -> None:
    queries = np.float32([[1, 0], [0, 1]])
    candidates = unit(np.array([[1.0, 0.1], [1, 0.2], [0, 1]]))
    found = metrics.retrieval(queries, candidates, [[1, 2], [2]], ks=(1, 2, 3))
    # The first query finds candidate 0 (wrong), 1, 2; the second one finds 2 at once.
    assert found.ranks.tolist() == [2, 1] and found.median_rank == 1.5
    assert found.hit_at == {1: 0.5, 2: 1.0, 3: 1.0}
    assert found.recall_at == {1: 0.5, 2: 0.75, 3: 1.0}
    recall, rank = found.recall_interval(2), found.median_rank_interval
    assert recall.value == 0.75 and 0 <= recall.low <= 0.75 <= recall.high <= 1
    assert rank.value == 1.5 and 1 <= rank.low <= 1.5 <= rank.high <= 2


def test_retrieval_among_equals_finds_the_right_one_last() -> None:
    same = np.float32([[1, 0]] * 5)
    assert metrics.retrieval(same[:1], same, [[2]]).ranks.tolist() == [5]


@pytest.mark.parametrize("seed", range(5))
def test_retrieval_against_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, candidates = unit(rng.normal(size=(1100, 4))), unit(rng.normal(size=(30, 4)))
    right = [rng.choice(30, int(rng.integers(0, 4)), replace=False).tolist() for _ in queries]
    found = metrics.retrieval(queries, candidates, right)
    kept = [i for i, some in enumerate(right) if some]
    orders = {i: np.argsort(-(queries[i] @ candidates.T)).tolist() for i in kept}
    assert found.queries == len(kept)
    for k in (1, 5, 10):
        hits = [len(set(orders[i][:k]) & set(right[i])) for i in kept]
        assert found.hit_at[k] == pytest.approx(np.mean([hit > 0 for hit in hits]))
        assert found.recall_at[k] == pytest.approx(
            np.mean([hit / len(right[i]) for hit, i in zip(hits, kept, strict=True)])
        )


def test_nothing_to_find() -> None:
    found = metrics.retrieval(np.float32([[1, 0]]), np.float32([[1, 0]]), [[]])
    assert found.queries == 0 and math.isnan(found.hit_at[1])
