"""The keys that evaluation and better prompts need: concept, descriptors, id, calibration."""

from pathlib import Path

import pytest

from clipcli.errors import LabelSetError
from clipcli.labels.calibration import Calibration
from clipcli.labels.expand import expand, question_digest
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.library import find_label_set
from clipcli.labels.prompts_json import read_prompts_json
from clipcli.labels.templates import templates_of
from clipcli.labels.write import to_yaml

CALIBRATION = "{model: abc, model_name: tiny, images: 20, question: q"


def read(tmp_path: Path, text: str) -> LabelSet:
    path = tmp_path / "set.yaml"
    path.write_text(text, encoding="utf-8")
    return find_label_set(str(path))


def prompts(label_set: LabelSet) -> list[tuple[str, ...]]:
    return expand(label_set, templates_of(label_set)).by_label


def test_a_concept_makes_the_template(tmp_path: Path) -> None:
    assert prompts(read(tmp_path, "concept: pet\nlabels: [cat]")) == [("a photo of a pet: a cat.",)]
    assert prompts(read(tmp_path, "concept: animal\nlabels: [cat]")) == [("a photo of an animal: a cat.",)]
    assert prompts(read(tmp_path, "concept: 宠物\nlabels: [猫]")) == [("一张宠物的照片：猫。",)]


def test_templates_say_where_the_concept_goes(tmp_path: Path) -> None:
    found = read(tmp_path, 'concept: pet\ntemplates: ["{concept} {}", "a {}"]\nlabels: [cat]')
    assert prompts(found) == [("pet cat", "a cat")]
    assert templates_of(found, ["my {concept}, a {}"]) == ("my pet, a {}",)
    assert templates_of(found, ["my {}"]) == ("my {}",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('concept: pet\ntemplates: ["a {}."]\nlabels: [cat]', "'pet'"),
        ('templates: ["a {concept} {}."]\nlabels: [cat]', "{concept}"),
        ("concept: mnyama\nlanguage: sw\nlabels: [paka]", "language"),
        ("concept: ''\nlabels: [cat]", "concept"),
    ],
)
def test_a_concept_that_nothing_uses_or_that_is_missing(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(LabelSetError, match="concept") as caught:
        templates_of(read(tmp_path, text))
    assert named in str(caught.value)


def test_a_template_for_a_concept_that_the_set_has_not() -> None:
    with pytest.raises(LabelSetError, match=r"\{concept\}"):
        templates_of(LabelSet("x", (Label("a"),)), ["a {concept}: {}"])


def test_descriptors_become_sentences(tmp_path: Path) -> None:
    text = 'templates: ["a {}."]\nlabels: [{name: cat, prompts: [cat, kitten], descriptors: [%s]}]'
    found = read(tmp_path, text % "whiskers, is small, a round face, used as a pet")
    assert prompts(found) == [
        (
            "a cat.",
            "a kitten.",
            "a cat, which has whiskers.",
            "a cat, which is small.",
            "a cat, which has a round face.",
            "a cat, which is used as a pet.",
        )
    ]
    assert prompts(read(tmp_path, "labels: [{name: 猫, descriptors: [尖耳朵]}]"))[0][4] == "一张猫，尖耳朵的照片。"


def test_a_repeated_descriptor(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match=r"set.yaml:1.*'x'"):
        read(tmp_path, "labels: [{name: a, descriptors: [x, x]}]")


def test_two_labels_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match=r"set.yaml:3.*'b'.*'a'"):
        read(tmp_path, "labels:\n- {name: a, id: n1}\n- {name: b, id: n1}")
    with pytest.raises(LabelSetError, match="id"):
        LabelSet("x", (Label("a", id="n1"), Label("b", id="n1")))


def test_everything_survives_being_written(tmp_path: Path) -> None:
    calibration = Calibration("0" * 32, "tiny", 60, "1e5", 1.25, {50: 0.5, 95: 0.987654}, 0.21)
    labels = (Label("a", id="n01", descriptors=("is round", "ears")), Label("b"))
    original = LabelSet("set", labels, ("a {concept}: {}",), concept="thing", calibration=calibration)
    assert read(tmp_path, to_yaml(original)) == original


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        (", temperature: 0}", "temperature"),
        (", temperature: warm}", "temperature"),
        (", none_below: 2}", "none_below"),
        (", quantiles: {'95': 1.5}}", "95"),
        (", quantiles: {'100': 0.5}}", "100"),
        (", heat: 1}", "heat"),
    ],
)
def test_a_calibration_that_nothing_has_written(tmp_path: Path, rest: str, named: str) -> None:
    with pytest.raises(LabelSetError, match=r"set.yaml:1") as caught:
        read(tmp_path, f"calibration: {CALIBRATION}{rest}\nlabels: [a, b]")
    assert named in str(caught.value)


def test_a_calibration_without_its_model(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match="model"):
        read(tmp_path, "calibration: {images: 20}\nlabels: [a, b]")


def test_a_calibration_is_refused_for_another_model() -> None:
    calibration = Calibration("abc", "tiny", 20, "q")
    assert calibration.for_model("abc", "tiny", "pets") is calibration
    with pytest.raises(LabelSetError, match="tiny"):
        calibration.for_model("def", "large", "pets")


def test_a_question_is_its_labels_and_prompts() -> None:
    one, other = LabelSet("x", (Label("a"), Label("b"))), LabelSet("y", (Label("a"), Label("b")))
    assert question_digest(one, ["{}"]) == question_digest(other, ["{}"])
    assert question_digest(one, ["{}"]) != question_digest(one, ["a {}"])
    assert question_digest(one, ["{}"]) != question_digest(LabelSet("x", (Label("b"), Label("a"))), ["{}"])


# Import


def imported(tmp_path: Path, text: str | bytes, *, descriptors: bool = False) -> tuple[LabelSet, int]:
    path = tmp_path / "prompts.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_prompts_json(str(path), "mine", descriptors=descriptors)


def test_sentences_are_prompts_as_they_stand(tmp_path: Path) -> None:
    found, repeated = imported(tmp_path, '\ufeff{"cat": ["A cat.", "A  cat.", "Purrs\\n."], "dog": {"a": ["A dog."]}}')
    assert repeated == 1
    assert prompts(found) == [("A cat.", "Purrs ."), ("A dog.",)]
    assert read(tmp_path, to_yaml(found)).labels == found.labels


def test_descriptors_go_into_templates(tmp_path: Path) -> None:
    found, _ = imported(tmp_path, '{"cat": ["whiskers"], "dog": ["a tail"]}', descriptors=True)
    assert prompts(found)[0] == ("a photo of a cat.", "a photo of a cat, which has whiskers.")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"cat": []}', '{"cat": "x"}', '{"cat": [1]}', "{}", b"\xff", '{"": ["x"]}', "[" * 100_000]
)
def test_files_that_hold_no_prompts(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(LabelSetError):
        imported(tmp_path, text)
