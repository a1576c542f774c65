"""From labelled images to figures, from Python: evaluation, comparison, calibration, and what a calibration does."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli.answers.classify import ClassifyOptions, LabelClassifier, Learned
from clipcli.answers.evaluate import evaluate
from clipcli.answers.grouping import grouped_order
from clipcli.api.evaluation.calibrate import calibrate
from clipcli.api.evaluation.evaluate import Exam, compare, evaluate_captions
from clipcli.api.evaluation.truth import read_truth
from clipcli.api.judges import tagger
from clipcli.cli.output.shapes import CLASSIFIED
from clipcli.errors import ClipError, LabelSetError, UsageError
from clipcli.labels.join import join
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.truth import Captioned
from clipcli.scoring import Logits

LABELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for i, label in enumerate((*LABELS, "none")):
        (folder / label).mkdir()
        for k in range(10):
            pixels = rng.integers(0, 150, (24, 24, 3))
            if label in LABELS:
                pixels[..., i] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{k}.png")
    return folder


@pytest.fixture
def model(clip_checkpoint: Path) -> clipcli.Model:
    return clipcli.load(clip_checkpoint, cache=False)


def test_a_folder(model: clipcli.Model, labelled: Path) -> None:
    result = model.evaluate(labelled)
    figures = result.figures
    assert figures.labels == ("blue", "green", "red") and figures.images == 30
    assert figures.none is not None and figures.none.images == 10
    assert figures.accuracy.value == np.mean(figures.judged.right)
    assert figures.accuracy.low < figures.accuracy.value < figures.accuracy.high or figures.accuracy.value in (0, 1)
    answers = model.classify(result.labelled_paths, figures.labels)
    assert [answer.label for answer in answers] == [figures.labels[i] for i in figures.judged.predicted]
    assert [answer.score for answer in answers] == pytest.approx(figures.judged.confidence.tolist(), rel=1e-5)


def test_a_mapping_and_label_names(model: clipcli.Model, labelled: Path) -> None:
    images = {str(labelled / "red" / "0.png"): "red", str(labelled / "blue" / "0.png"): ["blue", "green"]}
    result = model.evaluate(images, list(LABELS))
    assert result.figures.images == 2 and result.truth.is_multi_label
    assert result.figures.log_loss is None and result.figures.mean_average_precision is not None
    with pytest.raises(UsageError, match="pink"):
        model.evaluate({str(labelled / "red" / "0.png"): "pink"}, list(LABELS))


def test_one_label_and_no_image(model: clipcli.Model, labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label"):
        model.evaluate({str(labelled / "red" / "0.png"): "red"})
    with pytest.raises(ClipError, match="2 images"):
        model.evaluate({str(tmp_path / "a.png"): "red", str(tmp_path / "b.png"): "blue"})


def test_blocks_change_nothing() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2500, 7)).astype(np.float32)
    truth = [(int(i),) for i in rng.integers(0, 7, 2500)]
    whole = evaluate("abcdefg", lambda rows: logits[rows], truth, resamples=50)
    assert whole.accuracy.value == np.mean(logits.argmax(axis=1) == np.array(truth)[:, 0])
    assert whole.judged.best[:, 0].tolist() == logits.argmax(axis=1).tolist()
    assert sum(times for *_, times in whole.confusions) == int((~whole.judged.right).sum())
    assert whole.support.sum() == 2500


def test_no_share_has_an_interval_beyond_one() -> None:
    truth = np.repeat([0, 1], 10)
    logits = np.eye(2, dtype=np.float32)[truth]
    logits[[0, 10, 11]] = logits[[0, 10, 11], ::-1]
    found = evaluate("ab", lambda rows: logits[rows], [(int(i),) for i in truth])
    assert found.mean_per_class.high <= 1
    assert found.macro_f1.value < found.macro_f1.high <= 1


def test_a_comparison_on_the_same_images(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    exam = Exam.take(model, truth.paths)
    first, second = exam.evaluate(truth, resamples=20), exam.evaluate(truth, ["the {} house"], resamples=20)
    found = compare(first, second)
    assert found.images == 30
    assert found.difference.value == pytest.approx(second.figures.accuracy.value - first.figures.accuracy.value)
    assert compare(first, first).test.p == 1


def test_captions(model: clipcli.Model, labelled: Path) -> None:
    captioned = [Captioned(str(labelled / label / "0.png"), (f"a {label} thing", "a thing")) for label in LABELS]
    result = evaluate_captions(model, [*captioned, Captioned("nowhere.png", ("x",))])
    assert (result.images, result.captions, len(result.failures)) == (3, 4, 1)
    assert result.image_to_text.queries == 3 and result.text_to_image.queries == 4
    assert result.text_to_image.hit_at[5] == 1


# Calibration


def test_everything_is_learned_and_used(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    learned = calibrate(Exam.take(model, truth.paths), truth)
    calibration = learned.label_set.calibration
    assert calibration is not None and calibration.model == model.encoders.digest and calibration.images == 40
    assert learned.none is not None and calibration.none_below == learned.none.below
    assert learned.sets is not None and 0 <= learned.sets.coverage.value <= 1
    assert max(calibration.quantiles) >= 95
    if learned.temperature is not None:
        assert model.evaluate(truth, learned.label_set).temperature == calibration.temperature
    red = [str(path) for path in sorted((labelled / "red").iterdir())]
    sets = model.classify(red, learned.label_set, options=ClassifyOptions(coverage=0.95))
    quantile = calibration.quantiles[95]
    for result in sets:
        for prediction in result.predictions:
            assert prediction.score is not None and prediction.score >= 1 - quantile - 1e-6


def test_one_label_that_every_image_has_teaches_nothing(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled), LabelSet("one", (Label("red"),)), ignore_unknown=True)
    exam = Exam.take(model, truth.paths)
    assert calibrate(exam, truth).none is not None  # the folder none shows what it is not
    with pytest.raises(UsageError, match="'red'"):
        calibrate(exam, truth.only([i for i, found in enumerate(truth.labels) if found]))


def test_thresholds_say_when_prompts_are_not_those_that_they_were_fitted_to(
    model: clipcli.Model, labelled: Path
) -> None:
    truth = read_truth(str(labelled))
    learned = calibrate(Exam.take(model, truth.paths), truth)
    with warnings.catch_warnings(action="error", category=clipcli.errors.ClipWarning):
        tagger(model, learned.label_set)
    with pytest.warns(clipcli.errors.ClipWarning, match="thresholds"):
        tagger(model, learned.label_set, templates=["something {}"])


def test_what_was_calibrated_for_one_set_is_not_used_for_several(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    learned = calibrate(Exam.take(model, truth.paths), truth).label_set
    assert any(label.threshold is not None for label in learned.labels)
    other = LabelSet("other", (Label("sky", threshold=0.25),))
    with pytest.warns(clipcli.errors.ClipWarning, match="calibrated"):
        both = join([learned, other])
    assert both.calibration is None
    assert [label.name for label in both.labels if label.threshold is not None] == ["sky"]


def test_coverage_holds_on_the_images_that_it_was_fitted_to(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    learned = calibrate(Exam.take(model, truth.paths), truth)
    held = 0
    for label in LABELS:
        paths = [str(path) for path in sorted((labelled / label).iterdir())]
        results = model.classify(paths, learned.label_set, options=ClassifyOptions(coverage=0.9))
        held += sum(label in [prediction.label for prediction in result.predictions] for result in results)
    assert held >= 0.9 * 30


def test_another_model_refuses_it(model: clipcli.Model, labelled: Path, chinese_clip_checkpoint: Path) -> None:
    truth = read_truth(str(labelled))
    label_set = calibrate(Exam.take(model, truth.paths), truth).label_set
    other = clipcli.load(chinese_clip_checkpoint, cache=False)
    for ask in (other.classify, other.tag):
        with pytest.raises(LabelSetError, match="calibrated"):
            ask([truth.paths[0]], label_set)
    with pytest.raises(LabelSetError, match="calibrated"):
        other.evaluate(labelled, label_set)


def test_a_coverage_needs_what_was_calibrated(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    label_set = calibrate(Exam.take(model, truth.paths), truth).label_set
    image, options = [truth.paths[0]], ClassifyOptions(coverage=0.9)
    with pytest.raises(UsageError, match="calibrated"):
        model.classify(image, list(LABELS), options=options)
    changed = replace(label_set, labels=(*label_set.labels, Label("white")))
    with pytest.raises(LabelSetError, match="changed"):
        model.classify(image, changed, options=options)
    with pytest.raises(LabelSetError, match="changed"):
        model.classify(image, label_set, options=options, templates=["the {}"])
    with pytest.raises(UsageError, match="coverage"):
        model.classify(image, label_set, options=options, none_of_these=True)
    few = replace(label_set, calibration=replace(label_set.calibration, quantiles={50: 0.5}))  # type: ignore[type-var]
    with pytest.raises(LabelSetError, match="few"):
        model.classify(image, few, options=options)


@pytest.mark.parametrize("options", [{"threshold": 0.5}, {"temperature": 2.0}, {"scoring": "cosine"}])
def test_what_does_not_go_with_a_coverage(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="coverage"):
        ClassifyOptions(coverage=0.9, **options)  # type: ignore[arg-type]
    for coverage in (0.2, 1.0, float("nan")):
        with pytest.raises(UsageError, match="coverage"):
            ClassifyOptions(coverage=coverage)


def test_several_labels_leave_no_temperature(model: clipcli.Model, labelled: Path) -> None:
    label_set = LabelSet("x", tuple(Label(name) for name in LABELS))
    truth = read_truth(str(labelled), label_set)
    truth = replace(truth, labels=((0, 1), *truth.labels[1:]))
    learned = calibrate(Exam.take(model, truth.paths), truth)
    assert (learned.temperature, learned.sets, learned.quality) == (None, None, None)
    assert learned.label_set.calibration is not None and not learned.label_set.calibration.quantiles
    assert any(fit.threshold is not None for fit in learned.thresholds)


def test_templates_that_were_calibrated_are_those_of_the_set(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    learned = calibrate(Exam.take(model, truth.paths), truth, ["the {} small cat"])
    assert learned.label_set.templates == ("the {} small cat",)
    model.classify([truth.paths[0]], learned.label_set, options=ClassifyOptions(coverage=0.9))


def test_a_learned_temperature_belongs_to_the_softmax() -> None:
    features = np.eye(2, dtype=np.float32)
    learned = Learned(temperature=2.0, none_below=0.5)

    def classifier(**options: object) -> LabelClassifier:
        return LabelClassifier(("a", "b"), features, Logits(10.0), ClassifyOptions(**options), learned=learned)  # type: ignore[arg-type]

    assert classifier().temperature == 2 and classifier(temperature=1.0).temperature == 1
    assert classifier(scoring="sigmoid").temperature == 1
    trained_with_sigmoid = LabelClassifier(("a", "b"), features, Logits(10.0, -5.0), ClassifyOptions(), learned=learned)
    assert (trained_with_sigmoid.scoring, trained_with_sigmoid.temperature) == ("softmax", 2)
    near, far = np.float32([0.6, 0.8]), np.float32([0.3, 0.2])
    assert classifier().answer("x", near).label == "b"
    answer = classifier().answer("x", far)
    assert answer.label is None and len(answer.predictions) == 2


def test_an_image_below_the_limit_for_none_has_no_line_that_looks_like_a_label() -> None:
    features, options = np.eye(2, dtype=np.float32), ClassifyOptions()

    def lines(learned: Learned) -> list[object]:
        classifier = LabelClassifier(("a", "b"), features, Logits(10.0), options, learned=learned)
        return [line[2] for line in CLASSIFIED.lines(classifier.answer("x", np.float32([0.3, 0.2])))]

    assert lines(Learned(none_below=0.5)) == [None]
    assert lines(Learned(none_below=0.1)) == ["a", "b"]
    assert lines(Learned(none_below=0.5, quantile=0.5)) == ["a"]  # the set is promised whatever the cosine


# The order of the report's matrix


def test_labels_that_are_confused_stand_together() -> None:
    support = np.full(6, 10)
    order = grouped_order([(0, 3, 5), (3, 0, 4), (1, 5, 3), (5, 1, 3)], support)
    assert sorted(order) == list(range(6))
    assert abs(order.index(0) - order.index(3)) == 1 and abs(order.index(1) - order.index(5)) == 1


def test_without_confusions_labels_keep_their_order() -> None:
    assert grouped_order([], np.zeros(4, dtype=np.int64)) == [0, 1, 2, 3]


def test_a_truth_takes_other_prompts_but_no_other_labels(model: clipcli.Model, labelled: Path) -> None:
    truth = read_truth(str(labelled))
    other = LabelSet("x", tuple(Label(name, (f"{name} thing",)) for name in truth.label_set.names))
    assert model.evaluate(truth, other).truth.label_set is other
    with pytest.raises(UsageError, match="labels"):
        model.evaluate(truth, ["red", "blue"])
