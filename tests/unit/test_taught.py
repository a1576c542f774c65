"""The arithmetic of labels taught by example: exact leave-one-out, harmless to good names, on the scale of cosines."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.answers.taught import Taught, are_right, copies, fewer, same_images, teach
from clipcli.scoring import Floats, Logits

LOGITS = Logits(30.0)
LABELS, WIDTH = 6, 32


def near(centers: Floats, owners: NDArray[np.intp], spread: float, seed: int) -> Floats:
    """Unit vectors around the centers of their labels."""
    noise = np.random.default_rng(seed).normal(size=(len(owners), centers.shape[1])) / centers.shape[1] ** 0.5
    return scoring.normalize((centers[owners] + spread * noise).astype(np.float32))


def unit(rows: int, seed: int) -> Floats:
    return scoring.normalize(np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32))


CENTERS = unit(LABELS, 0)
OWNERS = np.repeat(np.arange(LABELS), 4)
EXAMPLES = near(CENTERS, OWNERS, 0.8, 1)
NEW = np.repeat(np.arange(LABELS), 20)
IMAGES = near(CENTERS, NEW, 0.8, 2)
WEAK, GOOD = unit(LABELS, 3), near(CENTERS, np.arange(LABELS), 0.3, 4)


def accuracy(cosines: Floats, owners: NDArray[np.intp]) -> float:
    return float(are_right(cosines, owners).mean())


def test_examples_make_up_for_names_that_mean_nothing() -> None:
    found = teach(WEAK, EXAMPLES, OWNERS, LOGITS)
    assert accuracy(scoring.cosines(IMAGES, WEAK), NEW) < 0.4
    assert accuracy(found.cosines(IMAGES), NEW) > 0.9


def test_good_names_are_left_alone() -> None:
    found = teach(GOOD, EXAMPLES, OWNERS, Logits(100.0))
    assert found.strength == 0
    np.testing.assert_array_equal(found.cosines(IMAGES), scoring.cosines(IMAGES, GOOD))


@pytest.mark.parametrize("owners", [OWNERS, np.sort(OWNERS % 3)], ids=["all labels", "half of them"])
def test_leave_one_out_is_what_teaching_without_the_example_gives(owners: NDArray[np.intp]) -> None:
    found = teach(WEAK, EXAMPLES, owners, LOGITS)
    assert found.strength > 0
    for i in range(len(EXAMPLES)):
        np.testing.assert_allclose(found.held_out[i], _without(found, i), atol=2e-5)


def _without(found: Taught, left_out: int) -> NDArray[np.float64]:
    """The cosines of an example by the others alone, in the same strength, where those of its label count for it too:
    weighted least squares solved anew, from the definition."""
    kept = np.arange(len(found.examples)) != left_out
    examples, own = found.examples[kept].astype(np.float64), found.owners[kept]
    cosines = found.examples.astype(np.float64) @ found.texts.T.astype(np.float64)
    level = cosines[:, found.columns].mean(axis=1, keepdims=True)
    said = found.text_weight * (cosines[:, found.columns] - level)
    target = (own[:, None] == found.columns) - 1 / len(found.columns) - said[kept]
    alike = np.exp(-found.width * (1 - examples @ examples.T))
    counted = (found.owners == found.owners[left_out]).sum()
    noise = np.where(own == found.owners[left_out], (counted - 1) / counted, 1.0)
    weights = np.linalg.solve(alike / found.strength + np.diag(noise), target)
    added = np.exp(-found.width * (1 - found.examples[left_out].astype(np.float64) @ examples.T)) @ weights
    result = cosines[left_out].copy()
    result[found.columns] = level[left_out] + said[left_out] + added
    return result


def test_of_few_examples_leave_one_out_does_not_say_far_too_little() -> None:
    owners = np.repeat(np.arange(LABELS), 2)
    told, held_out = [], []
    for seed in range(20):
        found = teach(WEAK, near(CENTERS, owners, 0.8, 200 + seed), owners, LOGITS)
        told.append(accuracy(found.held_out, owners))
        held_out.append(accuracy(found.cosines(IMAGES), NEW))
    assert np.mean(held_out) - 0.1 < np.mean(told) < np.mean(held_out)


def test_labels_without_examples_keep_the_score_of_their_text() -> None:
    some = OWNERS < 3
    found = teach(WEAK, EXAMPLES[some], OWNERS[some], LOGITS)
    assert found.strength > 0
    np.testing.assert_array_equal(found.cosines(IMAGES)[:, 3:], scoring.cosines(IMAGES, WEAK)[:, 3:])
    assert found.columns.tolist() == [0, 1, 2]


def test_taught_labels_do_not_take_the_images_of_others() -> None:
    some = OWNERS < 3
    found = teach(np.concatenate([WEAK[:3], GOOD[3:]]), EXAMPLES[some], OWNERS[some], LOGITS)
    assert found.strength > 0
    assert accuracy(found.cosines(IMAGES)[NEW >= 3], NEW[NEW >= 3]) > 0.95


def test_the_mean_of_taught_labels_stays_that_of_their_texts() -> None:
    found = teach(WEAK, EXAMPLES, OWNERS, LOGITS)
    texts = scoring.cosines(IMAGES, WEAK)
    np.testing.assert_allclose(found.cosines(IMAGES).mean(axis=1), texts.mean(axis=1), atol=1e-5)


def test_scores_stay_cosines() -> None:
    crowded = np.repeat(EXAMPLES, 5, axis=0)
    for texts in (WEAK, GOOD):
        found = teach(texts, crowded, np.repeat(OWNERS, 5), LOGITS)
        assert np.abs(found.cosines(crowded)).max() <= 1
        assert np.abs(found.held_out).max() <= 1


def test_one_example_of_each_label_is_enough_to_teach() -> None:
    found = teach(WEAK, EXAMPLES[::4], OWNERS[::4], LOGITS, wordless=True)
    assert accuracy(found.cosines(IMAGES), NEW) > 0.7


def test_labels_without_texts_are_distinguished() -> None:
    nothing = np.repeat(unit(1, 5), LABELS, axis=0)
    found = teach(nothing, EXAMPLES, OWNERS, LOGITS, wordless=True)
    assert found.text_weight < 1
    assert accuracy(found.cosines(IMAGES), NEW) > 0.9


def test_ties_are_lost() -> None:
    assert are_right(np.float32([[1, 1, 0], [1, 0.5, 0]]), np.array([0, 0])).tolist() == [False, True]


def test_an_example_is_known_again() -> None:
    found = teach(WEAK, EXAMPLES, OWNERS, LOGITS)
    assert found.is_example(EXAMPLES[:2]).all()
    assert not found.is_example(IMAGES).any()


def test_copies_count_once_within_their_label() -> None:
    nearly = scoring.normalize(EXAMPLES[:1] + np.float32(0.001))
    features = np.concatenate([EXAMPLES, nearly, nearly])
    rows, found = copies(features, np.array([*OWNERS, 0, 1]))
    assert found == [(24, 0)]
    assert rows.tolist() == [*range(24), 25]


def test_the_same_image_is_found_whatever_its_label() -> None:
    assert same_images(np.concatenate([EXAMPLES, EXAMPLES[5:6]])) == [(5, 24)]
    assert same_images(EXAMPLES) == []


def test_of_many_examples_each_label_keeps_the_most_typical() -> None:
    owners = np.array([0] * 50 + [1] * 5)
    features = near(CENTERS, owners, 0.5, 7)
    rows = np.arange(55)
    kept = fewer(features, owners, rows, most=20)
    assert np.bincount(owners[kept]).tolist() == [15, 5]
    assert len(set(kept.tolist())) == 20
    assert fewer(features, owners, rows, most=55) is rows
    assert np.bincount(owners[fewer(features, owners, rows, most=1)]).tolist() == [1, 1]


def test_the_constants_between_the_published_ones_are_interpolated() -> None:
    """arXiv:2501.11175: a kernel of width 3 for one example a label, 2.6 for two."""
    widths = [
        teach(WEAK, EXAMPLES[rows], OWNERS[rows], LOGITS).width for rows in (slice(0, None, 4), slice(0, None, 2))
    ]
    assert widths == pytest.approx([3.0, 2.6])
    uneven = np.isin(np.arange(24) % 4, [0, 1]) | (OWNERS == 0)
    assert 1.5 < teach(WEAK, EXAMPLES[uneven], OWNERS[uneven], LOGITS).width < 2.6
