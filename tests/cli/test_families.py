"""Families other than CLIP through the command line, and checkpoints of theirs that cannot be run."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from clipcli.cli.app import app
from tests.helpers.checkpoints import WRITERS


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image in the current folder, by a Chinese name."""
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").resize((60, 40)).convert("RGB").save("图.jpg")
    return "图.jpg"


def classify(image: str, labels: str, model: Path) -> Result:
    return CliRunner().invoke(app, ["classify", image, "--labels", labels, "--model", str(model)])


def changed(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "checkpoint")


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("family", ["chinese_clip", "altclip"])
def test_chinese_labels(family: str, image: str, request: pytest.FixtureRequest) -> None:
    result = classify(image, "猫,狗", request.getfixturevalue(f"{family}_checkpoint"))
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    row = json.loads(result.stdout)
    assert row["path"] == "图.jpg"
    assert "猫" in result.stdout, "written as it is, not escaped"
    assert sorted(prediction["label"] for prediction in row["predictions"]) == ["狗", "猫"]
    assert sum(prediction["score"] for prediction in row["predictions"]) == pytest.approx(1)


def test_altclip_takes_labels_of_both_languages(image: str, altclip_checkpoint: Path) -> None:
    result = classify(image, "一只猫,a dog", altclip_checkpoint)
    assert (result.exit_code, result.stderr) == (0, "")
    assert {prediction["label"] for prediction in json.loads(result.stdout)["predictions"]} == {"一只猫", "a dog"}


def test_labels_that_the_model_cannot_read(image: str, clip_checkpoint: Path, chinese_clip_checkpoint: Path) -> None:
    result = classify(image, "猫,狗", clip_checkpoint)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "ok"
    assert all(part in result.stderr for part in ("'猫'", "1 more: Chinese"))
    assert "chinese-b16" in result.stderr
    result = classify(image, "cat,dog", chinese_clip_checkpoint)
    assert "English" in result.stderr and "vit-b32" in result.stderr


def test_a_label_longer_than_the_context_is_named(image: str, chinese_clip_checkpoint: Path) -> None:
    result = classify(image, f"{'猫' * 200},狗", chinese_clip_checkpoint)
    assert result.exit_code == 0
    assert result.stderr.count("warning") == 1
    assert "猫猫猫" in result.stderr and "52 tokens" in result.stderr


def test_tokenizer_files_missing(image: str, chinese_clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(chinese_clip_checkpoint, tmp_path)
    (folder / "vocab.txt").unlink()
    result = classify(image, "猫,狗", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "tokenizer.json" in result.stderr and "vocab.txt" in result.stderr


@pytest.mark.parametrize("family", list(WRITERS))
def test_vocabulary_of_another_size(family: str, image: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = changed(request.getfixturevalue(f"{family}_checkpoint"), tmp_path)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_config(folder, text_config={**text, "vocab_size": 77})
    result = classify(image, "猫,狗", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"{text['vocab_size']} tokens" in result.stderr and "77 rows" in result.stderr


def test_duplicate_in_vocab_txt(image: str, chinese_clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(chinese_clip_checkpoint, tmp_path)
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    tokens[40] = tokens[30]
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    result = classify(image, "猫,狗", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert all(part in result.stderr for part in ("31", "41"))


def test_rn50(image: str, chinese_clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(chinese_clip_checkpoint, tmp_path)
    edit_config(folder, vision_config={"layers": [3, 4, 6, 3], "width": 64, "image_size": 224})
    result = classify(image, "猫,狗", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "ResNet" in result.stderr and "RN50" in result.stderr


def test_weights_of_another_family(image: str, clip_checkpoint: Path, altclip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(altclip_checkpoint, tmp_path)
    shutil.copy(clip_checkpoint / "model.safetensors", folder)
    result = classify(image, "cat,dog", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert all(part in result.stderr for part in ("model.safetensors", "config.json"))


NEWER = ("metaclip_2", "siglip", "siglip2", "siglip2_naflex")


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def without(folder: Path, name: str) -> None:
    tensors = tensors_of(folder)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def with_values(folder: Path, name: str, value: float) -> None:
    tensors = tensors_of(folder)
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def unknown_activation(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_config(folder, text_config={**text, "hidden_act": "mish2"})


def other_image_size(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    edges = {"height": 48, "width": 48}
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": edges, "crop_size": edges, "patch_size": 12}))


def no_tokenizer(folder: Path) -> None:
    for path in (*folder.glob("tokenizer*"), *folder.glob("*.model")):
        path.unlink()


def cut_tokenizer(folder: Path) -> None:
    for path in (*folder.glob("tokenizer.json"), *folder.glob("*.model")):
        path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("family", NEWER)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "model.safetensors"),
        (lambda folder: without(folder, "vision_model.post_layernorm.bias"), "post_layernorm.bias"),
        (lambda folder: without(folder, "logit_scale"), "logit_scale"),
        (lambda folder: with_values(folder, "logit_scale", 200.0), "200.0"),
        (lambda folder: with_values(folder, "vision_model.post_layernorm.bias", float("nan")), "numbers"),
        (unknown_activation, "hidden_act"),
        (other_image_size, "belongs"),
        (no_tokenizer, "tokenizer.json"),
        (cut_tokenizer, "checkpoint"),
    ],
)
def test_a_damaged_checkpoint(
    family: str,
    damage: Callable[[Path], None],
    words: str,
    image: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder = changed(request.getfixturevalue(f"{family}_checkpoint"), tmp_path)
    damage(folder)
    result = classify(image, "cat,dog", folder)
    assert (result.exit_code, result.stdout) == (4, ""), result.stderr
    assert words in result.stderr and str(folder) in result.stderr


@pytest.mark.parametrize("name", ["logit_bias", "vision_model.head.probe", "text_model.head.bias"])
def test_a_siglip_without_one_of_its_own_parts(name: str, image: str, siglip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(siglip_checkpoint, tmp_path)
    without(folder, name)
    result = classify(image, "cat,dog", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert name in result.stderr


def test_a_siglip_whose_towers_do_not_meet(image: str, siglip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(siglip_checkpoint, tmp_path)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    edit_config(folder, text_config={**text, "projection_size": 24})
    result = classify(image, "cat,dog", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert all(part in result.stderr for part in ("32", "tower's 24"))


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_scores_each_label_by_itself(family: str, image: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{family}_checkpoint")
    arguments = ["classify", image, "--labels", "cat,dog", "--model", str(folder), "--json"]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert document["run"]["scoring"] == "sigmoid"
    assert document["run"]["templates"] == ["this is a photo of {}"]
    for prediction in document["results"][0]["predictions"]:
        assert prediction["score"] == pytest.approx(1 / (1 + math.exp(-prediction["logit"])), rel=1e-4)
        assert prediction["logit"] == pytest.approx(prediction["cosine"] * math.exp(2.5) - 6.25, abs=1e-4)
    softmax = json.loads(CliRunner().invoke(app, [*arguments, "--scoring", "softmax"]).stdout)
    assert sum(prediction["score"] for prediction in softmax["results"][0]["predictions"]) == pytest.approx(1)


def test_a_classification_head_of_another_family_is_named(image: str, siglip_checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(siglip_checkpoint, tmp_path)
    edit_config(folder, architectures=["SiglipForImageClassification"])
    result = classify(image, "cat,dog", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "classification" in result.stderr
