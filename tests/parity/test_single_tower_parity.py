"""Checkpoints of one tower, and those with a classification head, against `transformers`."""

from pathlib import Path

import pytest
import torch

from clipcli.checkpoints.config import read_config
from clipcli.errors import UnsupportedModelError
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network


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
    with pytest.raises(UnsupportedModelError, match="no text tower"):
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
    with pytest.raises(UnsupportedModelError, match="no image tower"):
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
