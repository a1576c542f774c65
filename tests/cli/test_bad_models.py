"""Checkpoints that are missing, damaged or of a kind we do not run, and devices that are not there: status 4 or 1."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Clip


@pytest.fixture
def checkpoint(clip_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(clip_checkpoint, tmp_path / "checkpoint"))


def edit_config(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "config.json") -> None:
    path = folder / name
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def without_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path, {"format": "pt"})


def wrong_shape(folder: Path) -> None:
    edit_config(folder, lambda config: config["vision_config"].update(intermediate_size=48))


def truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def huge_header(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.write((10 * 10**9).to_bytes(8, "little"))


def dangling_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/gone")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def without_tokenizer(folder: Path) -> None:
    for path in (*folder.glob("vocab*"), *folder.glob("merges*"), *folder.glob("tokenizer*")):
        path.unlink()


def unknown_family(folder: Path) -> None:
    edit_config(folder, lambda config: config.update(model_type="flava"))


def unknown_activation(folder: Path) -> None:
    edit_config(folder, lambda config: config["text_config"].update(hidden_act="mish2"))


def not_a_number(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["visual_projection.weight"][:] = float("nan")
    save_file(tensors, path, {"format": "pt"})


def endless_scale(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), "logit_scale": torch.tensor(200.0)}, path, {"format": "pt"})


def images_of_another_size(folder: Path) -> None:
    edges = {"height": 48, "width": 48}
    edit_config(folder, lambda config: config.update(crop_size=edges), "preprocessor_config.json")


DAMAGES = [
    (without_config, "has no usable config.json"),
    (config_is_no_json, "has no usable config.json"),
    (without_tensor, "visual_projection.weight is missing"),
    (wrong_shape, "vision_model.encoder.layers.0.mlp.fc1.bias has shape [64], config.json means [48]"),
    (truncated_weights, "model.safetensors cannot be read"),
    (huge_header, "model.safetensors cannot be read"),
    (dangling_weights, "has no usable model.safetensors"),
    (without_weights, "has no usable model.safetensors"),
    (without_preprocessing, "has no usable preprocessor_config.json"),
    (without_tokenizer, "has no usable tokenizer.json"),
    (unknown_family, "model_type 'flava' is not a family that this program runs"),
    (unknown_activation, "text_config.hidden_act is 'mish2', which this program does not know"),
    (not_a_number, "gives features that are not numbers"),
    (endless_scale, "model.safetensors: logit_scale is 200.0"),
    (
        images_of_another_size,
        "preprocessor_config.json makes images of 48 x 48 pixels, but vision_config.image_size",
    ),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_checkpoint(
    damage: Callable[[Path], None], words: str, checkpoint: Path, clip: Clip, images: Path
) -> None:
    damage(checkpoint)
    for command in (["classify", "-l", "cat,dog"], ["score", "--text", "a cat"]):
        for format in ("jsonl", "json"):
            outcome = clip(*command, images, "-m", checkpoint, "-f", format)
            assert (outcome.status, outcome.stdout) == (4, "")
            error, hint = outcome.stderr.splitlines()
            assert error.startswith("clip: error: ")
            assert words in error
            assert str(checkpoint) in error
            assert hint.startswith("  hint: ")


def test_features_that_are_no_numbers_in_half_precision_may_be_numbers_in_full(
    checkpoint: Path, clip: Clip, images: Path
) -> None:
    not_a_number(checkpoint)
    verify = f"`clip models verify {checkpoint}` tells whether its files are whole"
    command = ["classify", images, "-l", "cat,dog", "-m", checkpoint, "--device", "cpu", "--dtype"]
    assert clip(*command, "float32").stderr.endswith(f"\n  hint: {verify}\n")
    assert clip(*command, "bfloat16").stderr.endswith(f"  hint: use --dtype float32; if that does not help, {verify}\n")


def test_a_folder_that_is_not_there(clip: Clip, images: Path, tmp_path: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-m", tmp_path / "nowhere")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "nowhere" in outcome.stderr
    assert "hint:" in outcome.stderr


def test_a_model_that_is_not_here_without_the_network(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-m", "vit-l14", "--offline")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "openai/clip-vit-large-patch14" in outcome.stderr
    assert "pull" in outcome.stderr


def test_a_device_that_is_not_there(clip: Clip, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = clip("classify", images, "-l", "cat,dog", "--device", "cuda:7")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("clip: error: --device cuda:7: this machine has no such device\n  hint: it has: ")
    assert outcome.stderr.endswith("cpu\n")


def test_a_file_whose_header_claims_10_gigabytes(clip: Clip, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((10 * 10**9).to_bytes(8, "little") + b'{"a": 1}')
    outcome = clip("classify", images, "-l", "cat,dog", "-m", path)
    assert (outcome.status, outcome.stdout) == (4, "")
    assert str(path) in outcome.stderr


def test_a_zip_with_a_path_that_climbs_out(clip: Clip, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "inside" / "model.pt"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("../outside", b"x")
    outcome = clip("classify", images, "-l", "cat,dog", "-m", path)
    assert (outcome.status, outcome.stdout) == (4, "")
    assert all(part in outcome.stderr for part in (str(path), "'../outside'"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["inside"]


def test_a_misspelled_model_names_its_neighbours(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-m", "chinese-b61")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "chinese-b61" in outcome.stderr and "chinese-b16" in outcome.stderr


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory, clip_checkpoint: Path) -> Path:
    """The tiny CLIP as checkpoints of one tower each, and with a classification head."""
    from transformers import (
        CLIPConfig,
        CLIPForImageClassification,
        CLIPTextModelWithProjection,
        CLIPVisionModelWithProjection,
    )

    folder = tmp_path_factory.mktemp("towers")
    config = CLIPConfig.from_pretrained(clip_checkpoint, id2label={0: "cat", 1: "dog", 2: "bird"})
    models = {
        "vision": CLIPVisionModelWithProjection.from_pretrained(clip_checkpoint),
        "text": CLIPTextModelWithProjection.from_pretrained(clip_checkpoint),
        "head": CLIPForImageClassification(config),
    }
    for name, model in models.items():
        shutil.copytree(clip_checkpoint, folder / name)
        model.save_pretrained(folder / name)
    return folder


def test_a_checkpoint_of_one_tower(towers: Path, clip: Clip, images: Path) -> None:
    for command in (["classify", "-l", "cat,dog"], ["score", "--text", "a cat"]):
        outcome = clip(*command, images, "-m", towers / "vision")
        assert (outcome.status, outcome.stdout) == (4, "")
        error, hint = outcome.stderr.splitlines()
        assert error.startswith(f"clip: error: {towers / 'vision'} ") and "text" in error
        assert hint.startswith("  hint: ")
        outcome = clip(*command, images, "-m", towers / "text")
        assert (outcome.status, outcome.stdout) == (4, "")
        assert str(towers / "text") in outcome.stderr


def test_a_classification_head_brings_its_own_labels(towers: Path, clip: Clip, images: Path) -> None:
    from PIL import Image
    from transformers import CLIPForImageClassification, CLIPImageProcessor

    outcome = clip("classify", images / "a.png", "-m", towers / "head", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    document = json.loads(outcome.stdout)
    assert document["run"]["labels"] == ["cat", "dog", "bird"]
    assert document["run"]["label_set"] is None
    assert document["run"]["templates"] is None
    (row,) = document["results"]
    assert [prediction["cosine"] for prediction in row["predictions"]] == [None] * 3
    reference = CLIPForImageClassification.from_pretrained(towers / "head").eval()
    pixels = CLIPImageProcessor.from_pretrained(towers / "head")(Image.open(images / "a.png"), return_tensors="pt")
    with torch.no_grad():
        expected = reference(**pixels).logits[0]
    logits = {prediction["label"]: prediction["logit"] for prediction in row["predictions"]}
    assert [logits[name] for name in ("cat", "dog", "bird")] == pytest.approx(expected.tolist(), abs=1e-5)
    assert row["score"] == pytest.approx(expected.softmax(-1).max().item(), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-l", "cat,dog"], "3 classes"),
        (["--none-of-these"], "--none-of-these"),
        (["--depth", "1"], "--depth"),
        (["--no-template"], "change"),
        (["--scoring", "cosine"], "--scoring"),
    ],
)
def test_a_classification_head_takes_no_other_labels(
    arguments: list[str], words: str, towers: Path, clip: Clip, images: Path
) -> None:
    outcome = clip("classify", images, "-m", towers / "head", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert words in outcome.stderr


def test_a_classification_head_cannot_score_texts(towers: Path, clip: Clip, images: Path) -> None:
    outcome = clip("score", images, "-m", towers / "head", "--text", "a cat")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "tower" in outcome.stderr
