import math

import numpy as np
import pytest

from clipcli.answers.tag import DEFAULT_THRESHOLD, Tagger, TagOptions, background_scores
from clipcli.errors import UsageError
from clipcli.labels.background import background_of
from clipcli.labels.label_set import Label, LabelSet
from clipcli.scoring import Floats, Logits, normalize
from tests.helpers.errors import about

LABELS = (
    Label("rain", group="weather"),
    Label("snow", group="weather"),
    Label("dog"),
    Label("cat", threshold=0.0),
    Label("tree", group="place"),
)
SCALE = 20.0


def features(count: int, seed: int) -> Floats:
    return normalize(np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32))


def make_tagger(options: TagOptions | None = None, labels: tuple[Label, ...] = LABELS) -> Tagger:
    rows = dict(zip((label.name for label in LABELS), features(len(LABELS), 1), strict=True))
    label_features = np.stack([rows[label.name] for label in labels])
    return Tagger(LabelSet("test", labels), label_features, features(3, 2), Logits(SCALE), options or TagOptions())


def test_a_score_is_the_labels_share_of_itself_and_the_background() -> None:
    scores = background_scores(np.float32([[0.3, 0.1]]), np.float32([[0.2, 0.25, 0.1]]), Logits(10.0))
    background = math.exp(2) + math.exp(2.5) + math.exp(1)
    assert scores[0] == pytest.approx([math.exp(3) / (math.exp(3) + background), math.exp(1) / (math.e + background)])
    assert scores.dtype == np.float32


def test_the_checkpoints_scale_decides_how_sharp_it_is() -> None:
    label, background = np.float32([[0.3]]), np.float32([[0.2, 0.2]])
    assert background_scores(label, background, Logits(0.0))[0, 0] == pytest.approx(1 / 3)
    assert background_scores(label, background, Logits(100.0))[0, 0] == pytest.approx(1 / (1 + 2 * math.exp(-10)))


def test_extreme_scales_neither_overflow_nor_lose_the_answer() -> None:
    with np.errstate(all="raise", under="ignore"):
        scores = background_scores(np.float32([[1.0, -1.0]]), np.float32([[-1.0], [1.0]])[:1], Logits(1e6))
    assert scores.tolist() == [[1.0, 0.5]]


def test_a_score_does_not_depend_on_the_other_labels() -> None:
    image = features(1, 3)[0]
    everything = {tag.label: tag for tag in make_tagger(TagOptions(threshold=0)).answer("x", image).tags}
    assert len(everything) == 5
    for label in LABELS:
        (alone,) = make_tagger(TagOptions(threshold=0), (label,)).answer("x", image).tags
        assert alone.score == pytest.approx(everything[label.name].score, abs=1e-6)
        assert alone.cosine == pytest.approx(everything[label.name].cosine, abs=1e-6)


def test_best_first_and_label_order_only_permutes() -> None:
    for seed in range(5):
        image = features(1, seed)[0]
        tags = make_tagger(TagOptions(threshold=0)).answer("x", image).tags
        assert [tag.score for tag in tags] == sorted((tag.score for tag in tags), reverse=True)
        turned = make_tagger(TagOptions(threshold=0), LABELS[::-1]).answer("x", image).tags
        assert [tag.label for tag in turned] == [tag.label for tag in tags]


def test_a_threshold_that_is_given_takes_the_place_of_the_labels_own() -> None:
    image = features(1, 3)[0]
    assert make_tagger(TagOptions(threshold=1.0)).answer("x", image).tags == ()
    assert "cat" in [tag.label for tag in make_tagger().answer("x", image).tags]


def test_the_default_threshold() -> None:
    images = features(60, 4)
    given = make_tagger()
    judged = make_tagger(TagOptions(threshold=0))
    seen = 0
    for image in images:
        everything = judged.answer("x", image).tags
        wanted = [tag.label for tag in everything if tag.score >= (0.0 if tag.label == "cat" else DEFAULT_THRESHOLD)]
        assert [tag.label for tag in given.answer("x", image).tags] == wanted
        seen += len(wanted)
    assert 0 < seen < 300


def test_a_score_equal_to_the_threshold_is_enough() -> None:
    image = features(1, 5)[0]
    best = make_tagger(TagOptions(threshold=0)).answer("x", image).tags[0]
    (only,) = make_tagger(TagOptions(threshold=best.score, top=1)).answer("x", image).tags
    assert only == best


def test_top() -> None:
    image = features(1, 6)[0]
    everything = make_tagger(TagOptions(threshold=0)).answer("x", image).tags
    assert make_tagger(TagOptions(threshold=0, top=2)).answer("x", image).tags == everything[:2]


def test_of_an_exclusive_group_only_the_best_label_is_given() -> None:
    options = TagOptions(threshold=0, exclusive=("weather",))
    winners = set()
    for seed in range(20):
        image = features(1, seed)[0]
        everything = make_tagger(TagOptions(threshold=0)).answer("x", image).tags
        tags = make_tagger(options).answer("x", image).tags
        loser = [tag for tag in everything if tag.label in ("rain", "snow")][1]
        assert tags == tuple(tag for tag in everything if tag != loser)
        winners.add(loser.label)
    assert winners == {"rain", "snow"}


def test_the_best_of_a_group_counts_among_those_that_reach_their_threshold() -> None:
    labels = (Label("rain", group="weather", threshold=1.0), Label("snow", group="weather", threshold=0.0))
    tagger = make_tagger(TagOptions(exclusive=("weather",)), labels)
    assert all([tag.label for tag in tagger.answer("x", features(1, seed)[0]).tags] == ["snow"] for seed in range(10))


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(UsageError, check=about("exclusive")) as caught:
        make_tagger(TagOptions(exclusive=("wether",)))
    assert "weather, place" in str(caught.value.hint)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_thresholds_out_of_range(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        TagOptions(threshold=threshold)


def test_top_out_of_range() -> None:
    with pytest.raises(UsageError, match="top"):
        TagOptions(top=0)


def test_the_background_is_the_sets_own_or_speaks_its_language() -> None:
    assert background_of(LabelSet("x", (Label("cat"),), background=("a thing.",))) == ("a thing.",)
    english = background_of(LabelSet("x", (Label("cat"),)))
    chinese = background_of(LabelSet("x", (Label("猫"),)))
    assert all(text.isascii() for text in english) and not any(text.isascii() for text in chinese)
    assert len(set(english)) == len(english) > 1 and len(set(chinese)) == len(chinese) > 1
    assert background_of(LabelSet("x", (Label("Katze"),), language="de")) == english
    assert background_of(LabelSet("x", (Label("cat"),), language="zh-Hans")) == chinese
