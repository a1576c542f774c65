"""Chinese-CLIP and AltCLIP through the command line, and checkpoints of theirs that cannot be run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from clipcli.cli.app import app


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
    assert "'猫' and 1 more: Chinese" in result.stderr
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


@pytest.mark.parametrize("family", ["clip", "chinese_clip", "altclip"])
def test_vocabulary_of_another_size(family: str, image: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    checkpoints = {name: request.getfixturevalue(f"{name}_checkpoint") for name in ("clip", "chinese_clip", "altclip")}
    folder = changed(checkpoints[family], tmp_path)
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
    assert "twice, on lines 31 and 41" in result.stderr


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
    assert "model.safetensors does not fit its config.json" in result.stderr
