"""From features to predictions: order, scores, thresholds, none of these, depth."""

import dataclasses
import math

import numpy as np
import pytest

from clipcli.answers.classify import ClassifyOptions, Groups, HeadClassifier, LabelClassifier, TextScorer, shortest
from clipcli.errors import UsageError
from clipcli.results import Classification
from clipcli.scoring import Floats, Logits
from tests.helpers.errors import about

SCALE = 10.0
NAMES = ("a", "b", "c", "d")
# Unit vectors whose cosines with the first axis are 0.6, 0.8, 0.8 and -1.
LABELS = np.array([[0.6, 0.8], [0.8, 0.6], [0.8, -0.6], [-1, 0]], dtype=np.float32)
IMAGE = np.array([1, 0], dtype=np.float32)
EXPS = {name: math.exp(SCALE * cosine) for name, cosine in zip(NAMES, (0.6, 0.8, 0.8, -1), strict=True)}


def classify(
    options: ClassifyOptions | None = None, none_label: str | None = None, groups: Groups | None = None
) -> Classification:
    classifier = LabelClassifier(
        NAMES, LABELS, Logits(SCALE), options or ClassifyOptions(), none_label=none_label, groups=groups
    )
    return classifier.answer("x.jpg", IMAGE)


def test_best_first_and_equals_in_the_order_given() -> None:
    found = classify()
    assert [p.label for p in found.predictions] == ["b", "c", "a", "d"]
    assert (found.path, found.label, found.score) == ("x.jpg", "b", found.predictions[0].score)
    for p in found.predictions:
        assert p.score == pytest.approx(EXPS[p.label] / sum(EXPS.values()), rel=1e-5)
        assert p.logit == pytest.approx(SCALE * (p.cosine or 0), rel=1e-6)


def test_top_cuts_after_scoring() -> None:
    assert classify(ClassifyOptions(top=2)).predictions == classify().predictions[:2]


@pytest.mark.parametrize(
    ("scoring", "threshold", "left"), [("softmax", 0.1, 2), ("sigmoid", 0.5, 3), ("cosine", -1, 4)]
)
def test_a_threshold_is_one_of_scores(scoring: str, threshold: float, left: int) -> None:
    found = classify(ClassifyOptions(scoring=scoring, threshold=threshold))  # type: ignore[arg-type]
    assert len(found.predictions) == left
    assert all((p.score or 0) >= threshold for p in found.predictions)


def test_nothing_reaches_the_threshold() -> None:
    assert classify(ClassifyOptions(threshold=0.9)) == Classification("x.jpg")


def test_a_threshold_that_is_reached_exactly_keeps_the_label() -> None:
    best = classify().predictions[0].score
    assert [p.label for p in classify(ClassifyOptions(threshold=best)).predictions] == ["b", "c"]


def test_none_of_these_takes_the_label_away_only_when_it_wins() -> None:
    assert classify(none_label="b") == dataclasses.replace(classify(), label=None, score=None)
    assert classify(none_label="a") == classify()


def test_groups_sum_scores_and_keep_the_numbers_of_their_best_label() -> None:
    groups = Groups.of_parents(["y", "x", "y", "x"])
    assert groups.names == ("y", "x")
    found = {p.label: p for p in classify(groups=groups).predictions}
    assert found["y"].score == pytest.approx((EXPS["a"] + EXPS["c"]) / sum(EXPS.values()), rel=1e-5)
    assert found["x"].score == pytest.approx((EXPS["b"] + EXPS["d"]) / sum(EXPS.values()), rel=1e-5)
    assert found["y"].cosine == pytest.approx(0.8)
    assert found["x"].cosine == pytest.approx(0.8)


def test_softmax_over_one_label_or_one_group_has_no_score() -> None:
    alone = LabelClassifier(("a",), LABELS[:1], Logits(SCALE), ClassifyOptions())
    assert not alone.has_scores
    found = alone.answer("x.jpg", IMAGE)
    assert (found.label, found.score, found.predictions[0].score) == ("a", None, None)
    assert found.predictions[0].cosine == pytest.approx(0.6)
    single = LabelClassifier(NAMES, LABELS, Logits(SCALE), ClassifyOptions(), groups=Groups.of_parents(["x"] * 4))
    assert not single.has_scores
    with pytest.raises(UsageError, check=about("threshold")):
        LabelClassifier(("a",), LABELS[:1], Logits(SCALE), ClassifyOptions(threshold=0.5))
    assert LabelClassifier(
        ("a",), LABELS[:1], Logits(SCALE), ClassifyOptions(scoring="sigmoid", threshold=0.5)
    ).has_scores


def test_a_checkpoint_with_a_learned_bias_is_scored_by_sigmoid_with_it() -> None:
    biased = Logits(SCALE, -9.0)
    classifier = LabelClassifier(NAMES, LABELS, biased, ClassifyOptions())
    assert classifier.scoring == "sigmoid"
    best = classifier.answer("x.jpg", IMAGE).predictions[0]
    assert best.logit == pytest.approx(SCALE * 0.8 - 9, rel=1e-5)
    assert best.score == pytest.approx(1 / (1 + math.exp(9 - SCALE * 0.8)), rel=1e-5)
    alone = TextScorer(("a",), LABELS[:1], biased, ClassifyOptions()).answer("x.jpg", IMAGE)
    assert alone.scores[0].score == pytest.approx(1 / (1 + math.exp(9 - SCALE * 0.6)), rel=1e-5)
    cosine = LabelClassifier(NAMES, LABELS, biased, ClassifyOptions(scoring="cosine"))
    assert cosine.answer("x.jpg", IMAGE).score == pytest.approx(0.8, rel=1e-5)
    softmax = LabelClassifier(NAMES, LABELS, biased, ClassifyOptions(scoring="softmax"))
    assert softmax.answer("x.jpg", IMAGE).score == pytest.approx(classify().score, rel=1e-5)


def test_sums_of_groups_are_of_softmax_whatever_the_checkpoint_was_trained_with() -> None:
    groups = Groups.of_parents(["y", "x", "y", "x"])
    classifier = LabelClassifier(NAMES, LABELS, Logits(SCALE, -9.0), ClassifyOptions(), groups=groups)
    assert classifier.scoring == "softmax"
    assert sum(p.score or 0 for p in classifier.answer("x.jpg", IMAGE).predictions) == pytest.approx(1, rel=1e-5)


def test_a_classification_head_has_logits_only() -> None:
    classifier = HeadClassifier(("a", "b"), ClassifyOptions())
    found = classifier.answer("x.jpg", np.array([1, 3], dtype=np.float32))
    assert [(p.label, p.logit, p.cosine) for p in found.predictions] == [("b", 3, None), ("a", 1, None)]
    assert found.score == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)


def test_texts_keep_their_order_and_one_alone_has_no_score() -> None:
    found = TextScorer(NAMES, LABELS, Logits(SCALE), ClassifyOptions()).answer("x.jpg", IMAGE)
    assert [s.text for s in found.scores] == list(NAMES)
    assert [s.score for s in found.scores] == pytest.approx([EXPS[n] / sum(EXPS.values()) for n in NAMES], rel=1e-5)
    alone = TextScorer(("a",), LABELS[:1], Logits(SCALE), ClassifyOptions()).answer("x.jpg", IMAGE)
    assert alone.scores[0].score is None
    cosine = TextScorer(("a",), LABELS[:1], Logits(SCALE), ClassifyOptions(scoring="cosine")).answer("x.jpg", IMAGE)
    assert cosine.scores[0].score == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"top": 0}, "top"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 1e-310}, "1e-06"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": 2.0, "scoring": "cosine"}, "temperature"),
        ({"threshold": math.nan}, "threshold"),
        ({"threshold": -0.5}, "threshold"),
        ({"threshold": 1.5, "scoring": "sigmoid"}, "threshold"),
        ({"threshold": -1.5, "scoring": "cosine"}, "threshold"),
        ({"scoring": "max"}, "scoring"),
    ],
)
def test_options_out_of_range(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ClassifyOptions(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 27.123456, -0.0, 16777216.0])
def test_shortest_is_the_same_float32_in_the_fewest_digits(value: float) -> None:
    single: Floats = np.array(value, dtype=np.float32)
    assert np.float32(shortest(np.float32(single))) == single
    assert len(repr(shortest(np.float32(single)))) <= len(repr(float(single)))
