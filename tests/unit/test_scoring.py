import sys
import warnings

import numpy as np
import pytest

from clipcli import scoring

RNG = np.random.default_rng(0)


def unit(*shape: int) -> scoring.Floats:
    return scoring.normalize(RNG.normal(size=shape).astype(np.float32))


def test_ensemble_is_the_unit_mean_of_each_labels_unit_prompts() -> None:
    prompts = unit(5, 8)
    labels = scoring.ensemble(prompts, [0, 0, 1, 1, 1], 2)
    for row, part in zip(labels, (prompts[:2], prompts[2:]), strict=True):
        mean = part.mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_cosines_of_unit_vectors() -> None:
    images, texts = unit(3, 8), unit(4, 8)
    expected = [[float(np.dot(i, t)) for t in texts] for i in images]
    np.testing.assert_allclose(scoring.cosines(images, texts), expected, atol=1e-6)
    assert scoring.cosines(images, images).max() <= 1


def test_softmax_sums_to_one_and_survives_large_logits() -> None:
    found = scoring.scores(np.array([[1000.0, 999.0, -1000.0]], dtype=np.float32), "softmax")
    np.testing.assert_allclose(found, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]], atol=1e-6)


def test_temperature_divides_the_logits() -> None:
    logits = np.array([[3.0, 1.0]], dtype=np.float32)
    halved = scoring.scores(logits / 2, "softmax")
    np.testing.assert_allclose(scoring.scores(logits, "softmax", temperature=2), halved, atol=1e-7)


def test_sigmoid_judges_each_label_alone() -> None:
    one = scoring.scores(np.array([[2.0]], dtype=np.float32), "sigmoid")
    two = scoring.scores(np.array([[2.0, 9.0]], dtype=np.float32), "sigmoid")
    assert one[0, 0] == two[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))


@pytest.mark.parametrize("scoring_name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [scoring.LEAST_TEMPERATURE, sys.float_info.max])
def test_no_temperature_is_too_extreme(scoring_name: scoring.Scoring, temperature: float) -> None:
    most = np.finfo(np.float32).max
    logits = np.array([[most, 100, 0, -100, -most]], dtype=np.float32)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        found = scoring.scores(logits, scoring_name, temperature=temperature)[0]
    flat = {"softmax": [0.2] * 5, "sigmoid": [0.5] * 5}
    sharp = {"softmax": [1.0, 0, 0, 0, 0], "sigmoid": [1, 1, 0.5, 0, 0]}
    np.testing.assert_allclose(found, (sharp if temperature < 1 else flat)[scoring_name])


def test_a_small_sigmoid_keeps_its_digits() -> None:
    found = scoring.scores(np.array([[-40.0]], dtype=np.float32), "sigmoid")[0, 0]
    assert found == pytest.approx(np.exp(-40), rel=1e-6)


@pytest.mark.parametrize("made_by", [scoring.Logits(100), scoring.Logits(117.5, -16.25)])
def test_cosine_scoring_gives_cosines_back(made_by: scoring.Logits) -> None:
    cosines = np.array([[0.25, -0.05]], dtype=np.float32)
    logits = made_by.of(cosines)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, cosines * made_by.scale + made_by.bias, rtol=1e-6)
    np.testing.assert_allclose(scoring.scores(logits, "cosine", made_by=made_by), cosines, atol=2e-7)


def test_a_bias_tells_which_loss_a_checkpoint_was_trained_with() -> None:
    assert scoring.Logits(100).scoring == "softmax"
    assert scoring.Logits(117.5, -16.25).scoring == "sigmoid"


def test_best_first_keeps_the_order_of_equals() -> None:
    values = np.array([1.0, 3.0, 3.0, 2.0], dtype=np.float32)
    assert scoring.best_first(values).tolist() == [1, 2, 3, 0]
    assert scoring.best_first(values, 2).tolist() == [1, 2]
