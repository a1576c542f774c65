"""Checkpoints of one tower, and those with a classification head, against `transformers`."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import clipcli
from clipcli.checkpoints.config import read_config
from clipcli.errors import UnsupportedModelError
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from tests.helpers.checkpoints import WRITERS


def load(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


@torch.inference_mode()
def test_image_tower_alone(clip_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    reference = CLIPVisionModelWithProjection.from_pretrained(clip_checkpoint).eval()
    reference.save_pretrained(tmp_path)
    network = load(tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network.get_image_features(pixels), reference(pixels).image_embeds)
    with pytest.raises(UnsupportedModelError, match="tower"):
        network.get_text_features(torch.zeros(1, 3, dtype=torch.int64))


@torch.inference_mode()
def test_text_tower_alone(clip_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPTextModelWithProjection

    reference = CLIPTextModelWithProjection.from_pretrained(clip_checkpoint).eval()
    reference.save_pretrained(tmp_path)
    network = load(tmp_path)
    end = reference.config.eos_token_id
    ids = torch.tensor([[3, 5, 7, end], [4, 6, end, end]])
    torch.testing.assert_close(network.get_text_features(ids), reference(ids).text_embeds)
    with pytest.raises(UnsupportedModelError, match="tower"):
        network.get_image_features(torch.zeros(1, 3, 32, 32))


@torch.inference_mode()
def test_classification_head(clip_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPForImageClassification

    config = CLIPConfig.from_pretrained(clip_checkpoint)
    config.id2label = {0: "cat", 1: "dog", 2: "bird"}
    torch.manual_seed(0)
    reference = CLIPForImageClassification(config).eval()
    reference.save_pretrained(tmp_path)
    network = load(tmp_path)
    assert network.config.id2label == ("cat", "dog", "bird")
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network.classify_pixels(pixels), reference(pixels).logits, rtol=1e-5, atol=1e-6)


# A checkpoint's writer, and the classes of its towers alone.
TOWERS = [
    ("clip", "CLIPVisionModel", "CLIPTextModel"),
    ("chinese_clip", "ChineseCLIPVisionModel", "ChineseCLIPTextModel"),
    ("altclip", "AltCLIPVisionModel", "AltCLIPTextModel"),
    ("metaclip_2", "MetaClip2VisionModel", "MetaClip2TextModel"),
    ("metaclip_2", "MetaClip2VisionModelWithProjection", "MetaClip2TextModelWithProjection"),
    ("siglip", "SiglipVisionModel", "SiglipTextModel"),
]


def plain(folder: Path, name: str, target: Path, *, prefixed: bool) -> torch.nn.Module:
    """Save one tower by its class of `transformers`, the tensors' names with or without the tower's."""
    import transformers

    model: torch.nn.Module = getattr(transformers, name).from_pretrained(folder).eval()
    model.save_pretrained(target)
    tower = "vision_model." if "Vision" in name else "text_model."
    tensors = {
        key if key.endswith("_projection.weight") else (tower if prefixed else "") + key.removeprefix(tower): tensor
        for key, tensor in load_file(target / "model.safetensors").items()
    }
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return model


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize(("family", "vision", "text"), TOWERS, ids=[row[1] for row in TOWERS])
@torch.inference_mode()
def test_towers_saved_by_their_own_classes(family: str, vision: str, text: str, prefixed: bool, tmp_path: Path) -> None:
    folder = WRITERS[family](tmp_path / "both")
    reference = plain(folder, vision, tmp_path / "vision", prefixed=prefixed)
    network = load(tmp_path / "vision")
    pixels = torch.randn(2, 3, 32, 32)
    output = reference(pixels)
    expected = output.image_embeds if "Projection" in vision else output.pooler_output
    torch.testing.assert_close(network.get_image_features(pixels), expected)
    assert network.config.projection_dim == expected.shape[1]

    reference = plain(folder, text, tmp_path / "text", prefixed=prefixed)
    network = load(tmp_path / "text")
    ids = torch.tensor([[3, 5, 7, 2, 2], [4, 6, 8, 9, 2]])
    end = getattr(network.config.text, "end_token_id", None)
    if end is not None:
        ids = ids.masked_fill(ids == 2, end)
    if family == "siglip":
        ids = torch.nn.functional.pad(ids, (0, 15), value=1)
    output = reference(ids)
    if "Projection" in text:
        expected = output.text_embeds
    elif family == "chinese_clip":  # whose pooler its own model does not run
        expected = output.last_hidden_state[:, 0]
    else:
        expected = output.pooler_output
    torch.testing.assert_close(network.get_text_features(ids), expected)
    assert network.config.projection_dim == expected.shape[1]


def test_a_plain_tower_is_run_and_says_what_it_lacks(clip_checkpoint: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("CLIPVisionModel", "CLIPTextModel"):
        shutil.copytree(clip_checkpoint, tmp_path / name)
        plain(clip_checkpoint, name, tmp_path / name, prefixed=True)
    image = Image.new("RGB", (40, 30), "red")
    vision, text = (clipcli.load(str(tmp_path / name)) for name in ("CLIPVisionModel", "CLIPTextModel"))
    assert vision.encode_images([image]).shape == (1, 32)
    assert text.encode_texts(["a cat", "a dog"]).shape == (2, 32)
    with pytest.raises(UnsupportedModelError, match="texts"):
        vision.encode_texts(["a cat"])
    with pytest.raises(UnsupportedModelError, match="tower"):
        text.encode_images([image])
