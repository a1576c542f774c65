"""`clipcli.load` and `Model`: what Python users call and every command runs on."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli.answers.classify import ClassifyOptions
from clipcli.api.judges import classifier
from clipcli.api.model import Model
from clipcli.api.questions import NONE_OF_THESE, answer, none_label
from clipcli.compute import devices
from clipcli.compute.devices import Placement
from clipcli.errors import ClipWarning, DeviceError, LabelSetError, MissingFile, UsageError
from clipcli.images.find import ImageSource
from clipcli.labels.background import background_of
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.templates import default_templates

COLOURS = ["red", "green", "blue", "white", "black", "yellow", "purple"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (40 + 7 * i, 50), colour).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(len(COLOURS))]


@pytest.fixture(scope="module")
def model(clip_checkpoint: Path) -> Model:
    return clipcli.load(str(clip_checkpoint))


def test_features_are_float32_and_of_unit_length(model: Model, images: list[str]) -> None:
    for features in (model.encode_images(images), model.encode_texts(["cat", "two dogs", ""])):
        assert features.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(model: Model) -> None:
    assert model.encode_images([]).shape == (0, 16)
    assert model.classify([], ["cat", "dog"]) == []


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_changes_nothing(
    batch_size: int, model: Model, images: list[str], clip_checkpoint: Path
) -> None:
    other = clipcli.load(str(clip_checkpoint), batch_size=batch_size, workers=3)
    np.testing.assert_allclose(other.encode_images(images), model.encode_images(images), atol=1e-6)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_large_images_are_read_the_fast_way_by_default(format: str, clip_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / f"large.{format}"
    Image.effect_noise((801, 733), 80).resize((1801, 1333)).convert("RGB").save(path, quality=95)
    fast = clipcli.load(str(clip_checkpoint))
    exact = clipcli.load(str(clip_checkpoint), exact_decode=True)
    with Image.open(path) as image:
        expected = exact.encoders.image.encode(exact.checkpoint.preprocessing.pixels(image)[None])
    np.testing.assert_allclose(exact.encode_images([path]), expected, atol=1e-6)
    difference = np.abs(fast.encode_images([path]) - expected).max()
    assert 1e-6 < difference < 0.02


def test_results_come_in_input_order_with_failures_in_place(model: Model, images: list[str]) -> None:
    paths = [images[0], "missing.png", images[1]]
    found = model.classify(paths, ["cat", "dog"])
    assert [result.path for result in found] == paths
    assert [result.error is None for result in found] == [True, False, True]
    assert found[1].error is not None
    assert found[1].error.type == "MissingFile"


def test_encode_images_raises_for_a_bad_image(model: Model, images: list[str]) -> None:
    with pytest.raises(MissingFile, match=r"missing\.png"):
        model.encode_images([images[0], "missing.png"])


def test_sources_are_read_only_as_far_ahead_as_a_few_batches(images: list[str], clip_checkpoint: Path) -> None:
    taken = 0

    def endless() -> "list[ImageSource]":
        nonlocal taken
        while True:
            taken += 1
            yield ImageSource(images[0])  # type: ignore[misc]

    stream = clipcli.load(str(clip_checkpoint), batch_size=2, workers=2).image_features(endless())
    for _ in range(3):
        assert len(next(stream)) == 2
    assert taken <= 40


def test_label_order_only_permutes(model: Model, images: list[str]) -> None:
    labels = ["cat", "dog", "a red car"]
    options = ClassifyOptions(top=3)
    forward = model.classify(images, labels, options=options)
    backward = model.classify(images, labels[::-1], options=options)
    for one, other in zip(forward, backward, strict=True):
        for p, q in zip(one.predictions, other.predictions, strict=True):
            assert (p.label, p.score) == (q.label, pytest.approx(q.score, abs=1e-6))


def test_several_wordings_and_templates_are_one_mean(model: Model) -> None:
    label_set = LabelSet("set", (Label("dog", prompts=("dog", "two dogs")), Label("cat")))
    found = model.encode_labels(label_set, ["a {}.", "{}"])
    parts = model.encode_texts(["a dog.", "dog", "a two dogs.", "two dogs"])
    mean = parts.mean(axis=0)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_one_label_gets_no_score(model: Model, images: list[str]) -> None:
    (result,) = model.classify(images[:1], ["cat"])
    assert result.label == "cat"
    assert result.score is None
    assert result.predictions[0].score is None
    assert result.predictions[0].cosine is not None


def test_none_of_these_is_one_more_label_and_no_answer_when_it_wins(model: Model, images: list[str]) -> None:
    options = ClassifyOptions(top=3)
    found = model.classify(images, ["cat", "dog"], none_of_these="a tree", options=options)
    plain = model.classify(images, ["cat", "dog", "a tree"], options=options)
    for one, other in zip(found, plain, strict=True):
        assert one.predictions == other.predictions
        assert one.label == (None if other.label == "a tree" else other.label)


@pytest.mark.parametrize(("labels", "expected"), [(("cat", "dog"), "none of these"), (("猫", "狗"), "以上都不是")])
def test_none_of_these_speaks_the_language_of_the_labels(labels: tuple[str, ...], expected: str, model: Model) -> None:
    label_set = LabelSet("set", tuple(Label(name) for name in labels))
    assert classifier(model, label_set, ClassifyOptions(), none_of_these=True).names == (*labels, expected)


@pytest.mark.parametrize("language", ["zh-CN", "zh-Hans", "ZH", "zh"])
def test_none_of_these_speaks_the_language_that_is_stated_whatever_its_region(language: str) -> None:
    label_set = LabelSet("set", (Label("IKEA"),), language=language)
    chinese = none_label(LabelSet("set", (Label("猫"),)), none_of_these=True)
    assert none_label(label_set, none_of_these=True) == chinese != NONE_OF_THESE
    # As do the templates and the background of such a set.
    assert default_templates(label_set) == default_templates(LabelSet("set", (Label("猫"),)))
    assert background_of(label_set) == background_of(LabelSet("set", (Label("猫"),)))


def test_threshold_leaves_labels_out(model: Model, images: list[str]) -> None:
    (result,) = model.classify(images[:1], ["cat", "dog"], options=ClassifyOptions(threshold=0.999))
    assert (result.label, result.score, result.predictions) == (None, None, ())


def test_scores_of_children_are_summed_at_a_depth(model: Model, images: list[str]) -> None:
    labels = (
        Label("animal/cat", path=("animal", "cat")),
        Label("animal/dog", path=("animal", "dog")),
        Label("tree"),
    )
    label_set = LabelSet("set", labels)
    sources = [ImageSource(images[0])]
    options = ClassifyOptions()
    (fine,) = next(answer(model.image_features(sources), classifier(model, label_set, options)))
    (coarse,) = next(answer(model.image_features(sources), classifier(model, label_set, options, depth=1)))
    scores = {p.label: p.score or 0 for p in fine.predictions}
    summed = {p.label: p for p in coarse.predictions}
    assert summed["animal"].score == pytest.approx(scores["animal/cat"] + scores["animal/dog"], abs=1e-6)
    assert summed["tree"].score == pytest.approx(scores["tree"], abs=1e-6)
    best = max((p for p in fine.predictions if p.label != "tree"), key=lambda p: p.score or 0)
    assert summed["animal"].cosine == best.cosine


def test_score_keeps_the_order_of_the_texts(model: Model, images: list[str]) -> None:
    texts = ["a photo of a cat", "a dog", "two birds"]
    (result,) = model.score(images[:1], texts)
    assert [entry.text for entry in result.scores] == texts
    assert sum(entry.score or 0 for entry in result.scores) == pytest.approx(1, abs=1e-6)
    (alone,) = model.score(images[:1], texts[:1])
    assert alone.scores[0].score is None
    assert alone.scores[0].cosine == pytest.approx(result.scores[0].cosine, abs=1e-6)


def test_a_text_that_is_cut_is_named_once(model: Model) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClipWarning)
        model.classify([], ["cat", "dog " * 200], templates=["a {}.", "the {}."])
    messages = [str(w.message) for w in caught if w.category is ClipWarning]
    assert len(messages) == 1
    assert "dog dog" in messages[0]


def test_no_labels(model: Model) -> None:
    with pytest.raises(LabelSetError, match="labels"):
        model.classify([])


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda model: model.classify(["a.png"], "cat"), "'cat'"),
        (lambda model: model.classify("a.png", ["cat", "dog"]), r"'a.png'"),
        (lambda model: model.classify(Path("a.png"), ["cat", "dog"]), "list"),
        (lambda model: model.classify(["a.png"], ["cat", "dog"], templates="a {}"), "templates"),
        (lambda model: model.score("a.png", ["a cat"]), "list"),
        (lambda model: model.score(["a.png"], "a cat"), "'a cat'"),
        (lambda model: model.encode_images("a.png"), "list"),
        (lambda model: model.encode_texts("a cat"), "texts"),
    ],
)
def test_a_single_text_or_path_is_not_a_list(ask: Callable[[Model], object], what: str, model: Model) -> None:
    with pytest.raises(UsageError, match=what) as error:
        ask(model)
    assert error.value.hint is not None and "list" in error.value.hint


def test_no_texts(model: Model, images: list[str]) -> None:
    with pytest.raises(UsageError, match="text"):
        model.score(images, [])


def test_depth_goes_with_softmax_only(model: Model) -> None:
    with pytest.raises(UsageError, match="depth"):
        classifier(model, LabelSet("set", (Label("cat"),)), ClassifyOptions(scoring="cosine"), depth=1)


def test_a_device_that_is_not_there_names_those_that_are(clip_checkpoint: Path) -> None:
    with pytest.raises(DeviceError) as error:
        clipcli.load(str(clip_checkpoint), device="cuda:97").encode_texts(["cat"])
    assert "cpu" in (error.value.hint or "")


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x"])
def test_a_name_that_is_not_a_device(device: str, clip_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="device"):
        clipcli.load(str(clip_checkpoint), device=device).encode_texts(["cat"])


def test_bfloat16_stays_close(model: Model, images: list[str], clip_checkpoint: Path) -> None:
    half = clipcli.load(str(clip_checkpoint), dtype="bfloat16")
    cosines = (half.encode_images(images) * model.encode_images(images)).sum(axis=1)
    assert cosines.min() > 0.999
    assert half.encode_texts(["cat"]).dtype == np.float32


def test_a_checkpoint_is_read_only_when_it_is_needed(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_checkpoint, tmp_path / "checkpoint")
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert clipcli.load(str(folder)).templates_for(LabelSet("set", (Label("cat"),))) == ("a photo of a {}.",)


@pytest.mark.parametrize("known", ["labels", "image"])
def test_no_answer_is_made_of_what_two_devices_computed(
    known: str, clip_checkpoint: Path, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(devices, "DRIVERS", (__file__,))  # else it is sure that this is the CPU
    first, second = images[:2]
    # As if another machine that shares the cache had chosen so, and had seen one of the two already.
    elsewhere = clipcli.load(str(clip_checkpoint), dtype="bfloat16")
    elsewhere.classify([first], ["cat", "dog"])
    Placement("cpu", "bfloat16").remember("auto", "auto", elsewhere.cache)
    question = ([second], ["cat", "dog"]) if known == "labels" else ([first], ["bird", "cow"])
    model = clipcli.load(str(clip_checkpoint))
    with pytest.raises(DeviceError, match=r"bfloat16.*float32"):
        model.classify(*question)
    expected = clipcli.load(str(clip_checkpoint), cache=False).classify(*question)
    assert model.classify(*question) == expected
    assert clipcli.load(str(clip_checkpoint)).classify(*question) == expected
    halved = clipcli.load(str(clip_checkpoint), dtype="bfloat16")
    uncached = clipcli.load(str(clip_checkpoint), dtype="bfloat16", cache=False)
    assert halved.classify(*question) == uncached.classify(*question)
