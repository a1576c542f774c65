import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli import demo
from clipcli.answers.classify import ClassifyOptions
from clipcli.errors import ClipWarning, DamagedModelError
from clipcli.labels.label_set import Label, LabelSet

NAMES = [path.stem for path in demo.samples()]


@pytest.fixture(scope="module")
def model() -> clipcli.Model:
    return clipcli.load("demo")


def best(model: clipcli.Model, paths: list[Path], labels: list[str], **options: object) -> list[str | None]:
    return [row.label for row in model.classify(paths, labels, **options)]  # type: ignore[arg-type]


def test_samples_come_in_every_size_and_format() -> None:
    assert len(NAMES) == 12
    opened = [Image.open(path) for path in demo.samples()]
    assert {image.format for image in opened} == {"PNG", "JPEG", "WEBP"}
    assert min(image.width for image in opened) == 128 and max(image.width for image in opened) == 1024
    assert sum(path.stat().st_size for path in demo.samples()) < 300_000
    assert "CC-BY 4.0" in (demo.samples()[0].parent / "LICENSE").read_text("utf-8")


def test_the_model_is_small() -> None:
    sizes = [(demo.folder() / name).stat().st_size for name in (*demo.FILES, "tokenizer_config.json", "MODEL_CARD.md")]
    assert sum(sizes) <= 6_000_000


def test_every_sample_gets_its_name(model: clipcli.Model) -> None:
    assert best(model, demo.samples(), NAMES) == NAMES


def test_scores_add_up_and_stay_honest(model: clipcli.Model) -> None:
    for row in model.classify(demo.samples(), NAMES, options=ClassifyOptions(top=len(NAMES))):
        scores = [prediction.score for prediction in row.predictions]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_bare_labels_and_other_templates_work_too(model: clipcli.Model) -> None:
    for templates in (["{}"], ["an icon of a {}."], ["{}", "a drawing of the {}."]):
        right = np.array(best(model, demo.samples(), NAMES, templates=templates)) == NAMES
        assert right.sum() >= 11, templates


def test_each_name_finds_its_image_first(model: clipcli.Model) -> None:
    cosines = model.encode_images(demo.samples()) @ model.encode_texts(NAMES).T
    assert (cosines.argmax(axis=0) == np.arange(len(NAMES))).sum() >= 11


def test_another_wording_means_the_same_thing(model: clipcli.Model) -> None:
    others = {"apple": "red apple", "bicycle": "bike", "car": "automobile", "airplane": "plane"}
    paths = [path for path in demo.samples() if path.stem in others]
    assert best(model, paths, list(others.values())) == [others[path.stem] for path in paths]


def test_none_of_these_wins_on_empty_images_and_where_no_label_fits(model: clipcli.Model, tmp_path: Path) -> None:
    empty = []
    for colour in ("white", "black", "skyblue", "tan"):
        empty.append(tmp_path / f"{colour}.png")
        Image.new("RGB", (200, 150), colour).save(empty[-1])
    for row in model.classify(empty, NAMES, none_of_these=True):
        assert row.label is None
        assert all(prediction.score < 0.5 for prediction in row.predictions if prediction.label in NAMES)
    shown = [path for path in demo.samples() if path.stem in ("guitar", "house", "umbrella")]
    assert best(model, shown, ["cat", "pizza", "rose"], none_of_these=True) == [None] * 3
    assert best(model, shown, NAMES, none_of_these=True) == [path.stem for path in shown]


def test_several_wordings_make_one_label(model: clipcli.Model) -> None:
    labels = LabelSet(
        "pets", (Label("pet", ("cat", "dog")), Label("food", ("pizza", "apple")), Label("vehicle", ("car",)))
    )
    kinds = {"cat": "pet", "dog": "pet", "pizza": "food", "apple": "food", "car": "vehicle"}
    paths = [path for path in demo.samples() if path.stem in kinds]
    assert [row.label for row in model.classify(paths, labels)] == [kinds[path.stem] for path in paths]


def test_words_never_seen_are_named() -> None:
    labels = ["sousaphone", "cat", "a Photo of the cats", "Sousaphone player"]
    assert demo.unknown_words(labels) == ["sousaphone", "player"]
    assert demo.unknown_words(["wolves", "T-REX", "jack-o-lantern", "7 !"]) == ["wolves"]
    assert demo.unknown_words(["cherries", "boxes", "猫"]) == ["猫"]


def test_a_label_of_unseen_words_is_pointed_out(model: clipcli.Model) -> None:
    with pytest.warns(ClipWarning, match="'sousaphone'"):
        model.encode_labels(LabelSet("brass", (Label("trumpet"), Label("sousaphone"))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode_labels(LabelSet("brass", (Label("trumpet"), Label("saxophone"))))


def test_held_out_concepts_are_unknown_words() -> None:
    assert demo.unknown_words(["mosque", "parachute", "stethoscope"]) == ["mosque", "parachute", "stethoscope"]


def test_an_installation_without_the_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(demo.FILES) - {"model.safetensors"}:
        shutil.copy(demo.folder() / name, tmp_path)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(DamagedModelError, match=r"model\.safetensors$"):
        demo.folder()


def test_the_config_is_clips_own() -> None:
    config = json.loads((demo.folder() / "config.json").read_text("utf-8"))
    assert config["model_type"] == "clip" and config["architectures"] == ["CLIPModel"]
    assert config["vision_config"]["hidden_act"] == config["text_config"]["hidden_act"] == "quick_gelu"
