from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from clipcli.errors import ClipWarning, LabelSetError
from clipcli.features.cache import FeatureCache, FeatureSpace, open_cache
from clipcli.features.labels import LabelEncoder, LabelFeature, name_prompt, warn_cut
from clipcli.labels.label_set import Label
from clipcli.text.tokenizer import Encoding

CONTEXT = 6
SPACE = FeatureSpace("text", "checkpoint", "tokenizer", "cpu float32")


class Tokenizer:
    """One id a letter, case-blind; cut to `CONTEXT`."""

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [Encoding(tuple(map(ord, t.lower()))[:CONTEXT], len(t) > CONTEXT) for t in texts]


def encode(ids: Sequence[tuple[int, ...]], on_progress: object) -> np.ndarray:
    rows = [np.random.default_rng(list(sequence)).standard_normal(8) for sequence in ids]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


class Encoder(LabelEncoder):
    """Counts what it is asked to encode."""

    def __new__(cls, cache: FeatureCache, space: FeatureSpace = SPACE, **more: int) -> "LabelEncoder":  # type: ignore[misc]
        encoded.clear()
        progress.clear()

        def counting(ids: Sequence[tuple[int, ...]], on_progress: object) -> np.ndarray:
            encoded.extend("".join(map(chr, sequence)) for sequence in ids)
            on_progress(len(ids), len(ids))  # type: ignore[operator]
            return encode(ids, on_progress)

        encoders = SimpleNamespace(
            tokenizer=Tokenizer(),
            text=SimpleNamespace(encode=counting),
            text_space=space,
            expect_prompts=lambda new: None,
        )
        return LabelEncoder(encoders, cache, lambda *counts: progress.append(counts), **more)  # type: ignore[arg-type]


encoded: list[str] = []
progress: list[tuple[int, int]] = []


def mean(*texts: str) -> np.ndarray:
    rows = encode([tuple(map(ord, text)) for text in texts], None).mean(axis=0)
    return rows / np.linalg.norm(rows)


def test_a_feature_is_the_mean_of_the_prompts() -> None:
    one, two = Encoder(FeatureCache.disabled()).features([("a", "b"), ("c",)])
    np.testing.assert_allclose(one.features, mean("a", "b"), atol=1e-6)
    np.testing.assert_allclose(two.features, mean("c"), atol=1e-6)


def test_only_what_is_not_remembered_is_encoded() -> None:
    first = Encoder(open_cache()).features([("a", "b"), ("c",)])
    assert encoded == ["a", "b", "c"]
    again = Encoder(open_cache()).features([("c",), ("d",), ("a", "b")])
    assert encoded == ["d"]
    assert (again[0].features == first[1].features).all() and (again[2].features == first[0].features).all()
    Encoder(open_cache()).features([("a",), ("b", "c")])
    assert encoded == ["a", "b", "c"], "other prompts make another label"


def test_another_space_has_no_features() -> None:
    Encoder(open_cache()).features([("a",)])
    Encoder(open_cache(), FeatureSpace("text", "checkpoint", "other tokenizer", "cpu float32")).features([("a",)])
    assert encoded == ["a"]


def test_a_label_that_is_there_twice_is_encoded_once() -> None:
    features = Encoder(FeatureCache.disabled()).features([("a",), ("a",)])
    assert encoded == ["a"] and (features[0].features == features[1].features).all()


def test_shares_change_nothing_but_memory() -> None:
    labels = [tuple(f"{i}{j}" for j in range(3)) for i in range(10)]
    whole = Encoder(FeatureCache.disabled()).features(labels)
    parts = Encoder(FeatureCache.disabled(), prompts_at_once=7).features(labels)
    assert all((a.features == b.features).all() for a, b in zip(whole, parts, strict=True))
    assert progress == [(6, 30), (12, 30), (18, 30), (24, 30), (30, 30)]


@pytest.mark.parametrize("cache", [FeatureCache.disabled, open_cache])
def test_labels_of_equal_tokens_are_refused_by_name_before_anything_is_encoded(cache) -> None:
    labels = [("cat",), ("dog", "pup"), ("PUP", "Dog")]
    with pytest.raises(LabelSetError, match=r"'hound'.*'Hound'"):
        Encoder(cache()).features(labels, ["cat", "hound", "Hound"])
    assert encoded == []
    Encoder(cache()).features(labels)  # texts may be alike


def test_labels_of_equal_tokens_are_refused_also_when_both_are_remembered() -> None:
    Encoder(open_cache()).features([("cat",)], ["cat"])
    Encoder(open_cache()).features([("CAT",)], ["CAT"])
    with pytest.raises(LabelSetError, match=r"'cat'.*'CAT'"):
        Encoder(open_cache()).features([("cat",), ("dog",), ("CAT",)], ["cat", "dog", "CAT"])


def test_labels_that_share_some_prompts_are_no_mistake() -> None:
    dog, puppy = Encoder(FeatureCache.disabled()).features([("dog", "puppy"), ("puppy",)], ["dog", "puppy"])
    assert not np.array_equal(dog.features, puppy.features)


def test_which_prompt_was_cut_is_remembered() -> None:
    labels = [("short", "much too long"), ("fits",)]
    for _ in range(2):
        one, two = Encoder(open_cache()).features(labels)
        assert (one.cut, two.cut) == (1, None)


def test_cuts_are_reported_once() -> None:
    feature = LabelFeature(np.zeros(1, np.float32), b"", 0)
    fits = LabelFeature(np.zeros(1, np.float32), b"", None)
    with pytest.warns(ClipWarning) as caught:
        warn_cut(["a", "b", "c"], [fits, feature, feature], 77)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("b ") and "1" in message and "77" in message
    warn_cut(["a"], [fits], 77)


def test_prompts_are_named_by_label_and_template() -> None:
    label = Label("dog", prompts=("dog", "puppy"))
    assert name_prompt(label, "the puppy.", ("a {}.", "the {}.")) == "label 'dog' in template 'the {}.'"
    assert name_prompt(label, "dog", ("{}",)) == "label 'dog'"
