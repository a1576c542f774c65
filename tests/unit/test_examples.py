"""Labels with examples, from Python and in files: what they do to answers, and what cannot be an example."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli.answers.classify import ClassifyOptions
from clipcli.answers.tag import TagOptions
from clipcli.api.evaluation.calibrate import calibrate
from clipcli.api.evaluation.evaluate import Exam
from clipcli.api.evaluation.truth import read_truth
from clipcli.api.examples import learn, read_examples
from clipcli.api.model import Model
from clipcli.errors import ClipWarning, LabelSetError, UsageError
from clipcli.labels.calibration import Calibration
from clipcli.labels.expand import question_digest
from clipcli.labels.join import join
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.library import find_label_set
from clipcli.labels.teaching import Teaching
from clipcli.labels.write import to_yaml
from tests.helpers.scenes import scene

TINTS = {"grade A": (255, 60, 60), "grade B": (60, 60, 255), "grade C": (60, 220, 60)}
SHOTS, NEW = range(4), range(10, 14)

pytestmark = pytest.mark.filterwarnings("ignore:the demo model has never seen")


def tinted(label: str, number: int) -> Image.Image:
    """A scene in the colors of its label; no two are alike."""
    seed = number + 100 * list(TINTS).index(label)
    return Image.blend(scene(seed, (96, 96)), Image.new("RGB", (96, 96), TINTS[label]), 0.6)


def save(folder: Path, labels: list[str], numbers: range) -> Path:
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            tinted(label, number).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def model() -> Model:
    return clipcli.load("demo")


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four examples of each grade; more images lie in `new`."""
    folder = tmp_path_factory.mktemp("graded")
    save(folder / "examples", list(TINTS), SHOTS)
    save(folder / "new", list(TINTS), NEW)
    return folder


@pytest.fixture
def examples(graded: Path, tmp_path: Path) -> Path:
    """A copy of the examples that a test may spoil."""
    return Path(shutil.copytree(graded / "examples", tmp_path / "examples"))


def read(folder: Path, text: str) -> LabelSet:
    (folder / "set.yaml").write_text(text, encoding="utf-8")
    return find_label_set(str(folder / "set.yaml"))


def new_images(graded: Path) -> tuple[list[str], list[str]]:
    """Images that are no examples, and their labels."""
    paths = sorted((graded / "new").rglob("*.png"))
    return [str(path) for path in paths], [path.parent.name for path in paths]


def by_label(graded: Path) -> dict[str, list[Path]]:
    return {label: [graded / "examples" / label] for label in TINTS}


def test_examples_from_python(model: Model, graded: Path) -> None:
    images, right = new_images(graded)
    named = [result.label for result in model.classify(images, list(TINTS))]
    taught = [result.label for result in model.classify(images, list(TINTS), examples=by_label(graded))]
    assert sum(map(str.__eq__, taught, right)) >= 10 > sum(map(str.__eq__, named, right))


def test_without_labels_examples_name_them(model: Model, graded: Path) -> None:
    (result,) = model.classify(new_images(graded)[0][:1], examples=by_label(graded))
    assert {prediction.label for prediction in result.predictions} == set(TINTS)


def test_globs_files_and_folders_are_the_same_examples(model: Model, graded: Path) -> None:
    folder = graded / "examples"
    forms: list[Callable[[str], list[str | Path]]] = [
        lambda label: [folder / label],
        lambda label: [str(folder / label / "*.png")],
        lambda label: [folder / label / f"{number}.png" for number in SHOTS],
    ]
    answers = [
        model.classify(new_images(graded)[0], list(TINTS), examples={label: form(label) for label in TINTS})
        for form in forms
    ]
    assert answers[0] == answers[1] == answers[2]


def test_a_single_path_is_not_taken_letter_by_letter(model: Model, graded: Path) -> None:
    with pytest.raises(UsageError, match="list"):
        model.classify(new_images(graded)[0], examples={label: str(graded / "examples" / label) for label in TINTS})


def test_images_in_memory_are_no_examples(model: Model) -> None:
    with pytest.raises(TypeError, match="paths"):
        model.teach(examples={"cat": [scene(1)], "dog": [scene(2)]})  # type: ignore[list-item]


def test_features_of_examples_are_cached(graded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path))
    clipcli.load("demo").teach(examples=by_label(graded))
    again = clipcli.load("demo")
    again.teach(examples=by_label(graded))
    assert not any(name.endswith("_image") for name in vars(again.encoders))


def test_scores_and_thresholds_keep_their_meaning(model: Model, graded: Path) -> None:
    images, right = new_images(graded)
    named = model.classify(images, list(TINTS), options=ClassifyOptions(scoring="cosine"))
    taught = model.classify(images, list(TINTS), options=ClassifyOptions(scoring="cosine"), examples=by_label(graded))
    for one, other in zip(named, taught, strict=True):
        means = [np.mean([prediction.cosine for prediction in result.predictions]) for result in (one, other)]
        assert means[0] == pytest.approx(means[1], abs=1e-5)
    scores = []
    for examples in (None, by_label(graded)):
        tags = model.tag(images, list(TINTS), options=TagOptions(threshold=0), examples=examples)
        given = [{tag.label: tag.score for tag in image.tags} for image in tags]
        scores.append(np.mean([image[label] for image, label in zip(given, right, strict=True)]))
    assert scores[1] > 2 * scores[0]


def test_none_of_these_goes_with_examples(model: Model, graded: Path) -> None:
    (result, *_) = model.classify(
        new_images(graded)[0], list(TINTS), examples=by_label(graded), none_of_these="a violin"
    )
    assert result.label == "grade A"
    assert "a violin" in {prediction.label for prediction in result.predictions}


def test_other_labels_keep_their_text(model: Model, graded: Path) -> None:
    images = new_images(graded)[0]
    options = ClassifyOptions(top=10)
    plain = model.classify(images, [*TINTS, "cat"], options=options)
    taught = model.classify(images, [*TINTS, "cat"], options=options, examples=by_label(graded))
    for one, other in zip(plain, taught, strict=True):
        cosines = [{p.label: p.cosine for p in result.predictions}["cat"] for result in (one, other)]
        assert cosines[0] == cosines[1]


def test_leave_one_out_by_label(model: Model, examples: Path) -> None:
    (examples / "grade C" / "1.png").unlink()
    shutil.copy(examples / "grade B" / "0.png", examples / "grade B" / "again.png")
    for number in (2, 3):
        (examples / "grade C" / f"{number}.png").unlink()
    lesson = model.teach(read_examples(str(examples), None))
    found = {outcome.label: outcome for outcome in lesson.outcomes}
    assert [(outcome.examples, outcome.used) for outcome in found.values()] == [(4, 4), (5, 4), (1, 1)]
    assert found["grade C"].before is found["grade C"].after is None
    assert lesson.judged == 8
    assert lesson.after is not None and lesson.after.low < lesson.after.value == np.mean(
        [found[label].after for label in ("grade A", "grade B")]
    )
    assert [(Path(copy).name, Path(first).name) for copy, first in lesson.copies] == [("again.png", "0.png")]


def test_with_one_example_each_nothing_is_judged(model: Model, graded: Path) -> None:
    lesson = model.teach(examples={label: [graded / "examples" / label / "0.png"] for label in TINTS})
    assert (lesson.judged, lesson.before, lesson.after) == (0, None, None)


def test_examples_of_a_file_count_from_its_folder(model: Model, examples: Path) -> None:
    found = read(
        examples.parent,
        "labels:\n- {name: A, examples: [examples/grade A/*.png]}\n"
        "- {name: B, prompts: [], examples: examples/grade B}",
    )
    lesson = learn(model, found)
    assert [len(files) for files in lesson.files] == [4, 4]
    assert lesson.before is None
    assert [outcome.before is None for outcome in lesson.outcomes] == [False, True]


def test_a_folder_named_with_the_signs_of_a_glob(model: Model, graded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(graded / "examples", tmp_path / "lenses [2020]"))
    found = read(folder, "labels:\n- {name: A, examples: [grade A/*.png]}\n- {name: B, examples: [grade B/?.png]}")
    assert [len(files) for files in learn(model, found).files] == [4, 4]
    again = tmp_path / "lenses [2020]" / "again.yaml"
    again.write_text(to_yaml(found, folder), encoding="utf-8")
    assert "examples:\n  - grade A/*.png" in again.read_text(encoding="utf-8")
    assert find_label_set(str(again)).labels == found.labels


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    label_set = LabelSet(
        "mine",
        (
            Label("cat", examples=(str(tmp_path / "cat.png"), "/elsewhere/*.png")),
            Label("B", examples=(str(tmp_path / "b"),), wordless=True),
        ),
        teaching=Teaching("digest", "demo"),
    )
    text = to_yaml(label_set, tmp_path)
    assert "- cat.png\n  - /elsewhere/*.png" in text
    assert read(tmp_path, text) == label_set
    assert read(tmp_path, to_yaml(label_set)) == label_set


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ("[{name: x, prompts: []}]", 1),
        ("[{name: x, examples: []}]", 1),
        ("\n- {name: x, prompts: [], descriptors: [red], examples: [a.png]}", 2),
        ("\n- {name: x, examples: [a.png, a.png]}", 2),
        ("\n- {name: x, examples: [7]}", 2),
    ],
)
def test_wrong_examples_are_named_with_their_line(labels: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match=rf"set\.yaml:{line}:"):
        read(tmp_path, f"labels: {labels}")


def test_one_example_of_two_labels_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match=r"a\.png"):
        read(tmp_path, "labels: [{name: x, examples: [a.png]}, {name: y, examples: [a.png]}]")


def test_the_record_of_teaching_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match="model_name"):
        read(tmp_path, "labels: [cat]\ntaught: {model: x}")


def test_folders_are_matched_in_any_spelling(graded: Path, tmp_path: Path) -> None:
    for folder, label in (("Grade-a", "grade A"), ("grade_b", "grade B")):
        shutil.copytree(graded / "examples" / label, tmp_path / folder)
    found = read_examples(str(tmp_path), LabelSet("grades", (Label("grade A"), Label("grade B"), Label("cat"))))
    assert [len(label.examples) for label in found.labels] == [4, 4, 0]


def test_a_folder_that_is_not_a_label_becomes_one_with_a_warning(examples: Path) -> None:
    (examples / "grade C").rename(examples / "none")
    with pytest.warns(ClipWarning, match="'none'"):
        found = read_examples(str(examples), LabelSet("grades", (Label("grade A"), Label("grade B"))))
    assert found.names == ("grade A", "grade B", "none")
    assert [label.wordless for label in found.labels] == [False, False, True]


def test_a_calibration_without_the_examples_is_left_out(examples: Path) -> None:
    labels = tuple(Label(name, threshold=0.3) for name in TINTS)
    with pytest.warns(ClipWarning, match="calibrat"):
        found = read_examples(str(examples), LabelSet("x", labels, calibration=Calibration("m", "demo", 9, "q")))
    assert found.calibration is None
    assert {label.threshold for label in found.labels} == {None}


def test_what_examples_show_is_part_of_the_question(model: Model, examples: Path) -> None:
    label_set = read_examples(str(examples), None)
    shown = learn(model, label_set).shown
    moved = examples.rename(examples.with_name("moved"))
    (moved / "grade A" / "0.png").rename(moved / "grade A" / "renamed.png")
    label_set = read_examples(str(moved), None)
    assert learn(model, label_set).shown == learn(clipcli.load("demo", cache=False), label_set).shown == shown
    tinted("grade A", 50).save(moved / "grade A" / "1.png")
    changed = learn(model, label_set).shown
    (moved / "grade A" / "1.png").rename(moved / "grade B" / "4.png")
    elsewhere = learn(model, read_examples(str(moved), None)).shown
    digests = [question_digest(label_set, ("{}",), each) for each in (None, shown, changed, elsewhere)]
    assert len(set(digests)) == 4


def test_a_calibration_ends_when_an_example_is_changed(model: Model, examples: Path, graded: Path) -> None:
    images, _ = new_images(graded)
    label_set = read_examples(str(examples), None)
    truth = read_truth(str(graded / "new"), label_set)
    fitted = calibrate(Exam.take(model, truth.paths), truth).label_set
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.tag(images[:1], fitted)
    shutil.copy(graded / "new" / "grade A" / "13.png", examples / "grade A" / "0.png")
    with pytest.warns(ClipWarning, match="examples"):
        model.tag(images[:1], fitted)


def test_a_taught_set_whose_examples_have_changed(model: Model, examples: Path, graded: Path) -> None:
    images, _ = new_images(graded)
    label_set = read_examples(str(examples), None)
    record = Teaching(model.encoders.digest, "demo", learn(model, label_set).shown)
    taught = replace(label_set, name="grades", teaching=record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.classify(images[:1], taught)
        model.classify(images[:1], replace(taught, teaching=Teaching(record.model, "demo")))
    shutil.copy(graded / "new" / "grade A" / "13.png", examples / "grade A" / "0.png")
    with pytest.warns(ClipWarning, match="'grades' have changed"):
        model.classify(images[:1], taught)


def test_sets_taught_with_different_models_do_not_join() -> None:
    sets = [LabelSet(name, (Label(name),), teaching=Teaching(name, name)) for name in ("a", "b")]
    with pytest.raises(LabelSetError, match="different"):
        join(sets)
    assert join([sets[0], replace(sets[1], teaching=None)]).teaching == sets[0].teaching


def test_another_model_is_refused(model: Model, examples: Path) -> None:
    label_set = replace(read_examples(str(examples), None), teaching=Teaching("other", "vit-b32"))
    with pytest.raises(LabelSetError, match="vit-b32") as caught:
        model.classify([examples / "grade A" / "0.png"], label_set)
    assert caught.value.hint is not None and "teach" in caught.value.hint
    assert learn(model, label_set, again=True).judged == 12


def test_an_example_that_cannot_be_read_is_left_out(model: Model, examples: Path, graded: Path) -> None:
    (examples / "grade A" / "0.png").write_text("no image")
    label_set = read_examples(str(examples), None)
    with pytest.warns(ClipWarning, match=r"0\.png"):
        assert all(result.error is None for result in model.classify(new_images(graded)[0], label_set))
    for number in SHOTS:
        (examples / "grade A" / f"{number}.png").write_text("no image")
    with pytest.raises(LabelSetError, match="'grade A'"):
        learn(model, label_set)


def test_an_example_that_has_gone(model: Model, examples: Path) -> None:
    label_set = read_examples(str(examples), None)
    shutil.rmtree(examples / "grade B")
    with pytest.raises(LabelSetError, match="'grade B'"):
        learn(model, label_set)


def test_a_folder_of_examples_that_is_empty(examples: Path) -> None:
    (examples / "grade D").mkdir()
    with pytest.raises(UsageError, match="grade D"):
        read_examples(str(examples), None)


def test_one_label_alone_cannot_be_taught(model: Model, graded: Path) -> None:
    one = {"grade A": [graded / "examples" / "grade A"]}
    for labels in (None, ["grade A", "cat"]):
        with pytest.raises(UsageError, match="'grade A'"):
            model.teach(labels, one)
    with pytest.raises(UsageError, match="examples"):
        model.teach(["cat", "dog"])


@pytest.mark.parametrize("linked", [True, False], ids=["the same file", "the same pixels"])
def test_one_image_of_two_labels(linked: bool, model: Model, examples: Path) -> None:
    twin = examples / "grade B" / "twin.bmp"
    if linked:
        twin.symlink_to(examples / "grade A" / "0.png")
    else:
        Image.open(examples / "grade A" / "0.png").save(twin)
    with pytest.raises(LabelSetError, match=r"'grade A'.*'grade B'"):
        learn(model, read_examples(str(examples), None))


def test_an_example_among_the_images_is_pointed_out(model: Model, graded: Path) -> None:
    images = [graded / "examples" / "grade B" / f"{number}.png" for number in SHOTS]
    with pytest.warns(ClipWarning, match=r"0\.png") as caught:
        model.classify(images, examples=by_label(graded))
    assert len(caught) == 1


def test_evaluation_leaves_examples_out(model: Model, graded: Path, examples: Path) -> None:
    both = save(save(examples, list(TINTS), SHOTS), list(TINTS), NEW)
    with pytest.warns(ClipWarning, match="examples"):
        found = model.evaluate(both, list(TINTS), examples=by_label(graded))
    assert found.figures.images == 12
    assert found.figures.accuracy.value > 0.8
    with pytest.raises(UsageError, match="examples"):
        model.evaluate(graded / "examples", list(TINTS), examples=by_label(graded))


def test_a_taught_set_is_calibrated_with_its_examples(model: Model, graded: Path) -> None:
    label_set = read_examples(str(graded / "examples"), None)
    truth = read_truth(str(graded / "new"), label_set)
    learned = calibrate(Exam.take(model, truth.paths), truth).label_set
    assert [label.examples for label in learned.labels] == [label.examples for label in label_set.labels]
    threshold = learned.labels[0].threshold
    assert threshold is not None
    tags = model.tag(new_images(graded)[0], learned)
    assert tags[0].tags[0].label == "grade A"


def test_a_classification_head_takes_no_examples(clip_checkpoint: Path, graded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "head"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["CLIPForImageClassification"], "id2label": {"0": "cat", "1": "dog"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="classes"):
        clipcli.load(folder).classify(new_images(graded)[0], examples=by_label(graded))
    with pytest.raises(UsageError, match="classes"):
        learn(clipcli.load(folder), read_examples(str(graded / "examples"), None))
