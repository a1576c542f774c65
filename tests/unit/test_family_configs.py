"""Checkpoints that carry a family's name but are not what this program runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import BertTextConfig, VisionConfig, XlmRobertaTextConfig
from clipcli.errors import DamagedModelError, ExitStatus, UnsupportedModelError


def write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


RESNETS: dict[str, dict[str, Any]] = {
    "layers of the tower": {"model_type": "chinese_clip", "vision_config": {"layers": [3, 4, 6, 3], "width": 64}},
    "layer counts": {"model_type": "chinese_clip", "vision_config": {"num_hidden_layers": [3, 4, 6, 3]}},
    "model_type of the tower": {"model_type": "chinese_clip", "vision_config": {"model_type": "resnet"}},
    "older spelling": {"model_type": "chinese_clip", "vision_config_dict": {"vision_layers": [3, 4, 6, 3]}},
    "the authors' file": {"embed_dim": 1024, "vision_layers": "[3,4,6,3]", "vision_width": 64, "vocab_size": 21128},
}


@pytest.mark.parametrize("name", RESNETS)
def test_rn50_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"ResNet.*RN50") as caught:
        read_config(write(tmp_path, RESNETS[name]))
    assert caught.value.exit_status == ExitStatus.MODEL
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "OFA-Sys/chinese-clip-vit-base-patch16" in str(caught.value.hint)


@pytest.mark.parametrize("model_type", ["altclip-m18", "chinese_clip_text", "siglip_vision", "xlm-roberta"])
def test_another_model_type_is_refused_by_name(model_type: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=f"model_type '{model_type}'") as caught:
        read_config(write(tmp_path, {"model_type": model_type}))
    for family in ("clip", "chinese_clip", "altclip"):
        assert family in str(caught.value.hint)


# (hidden_size, layers, heads) of image and text tower, patch size, image size, width of the shared space.
PUBLISHED = {
    "chinese base": ("chinese_clip", (768, 12, 12), (768, 12, 12), 16, 224, 512),
    "chinese large": ("chinese_clip", (1024, 24, 16), (768, 12, 12), 14, 224, 768),
    "chinese large-336": ("chinese_clip", (1024, 24, 16), (768, 12, 12), 14, 336, 768),
    "chinese huge": ("chinese_clip", (1280, 32, 16), (1024, 24, 16), 14, 224, 1024),
    "altclip": ("altclip", (1024, 24, 16), (1024, 24, 16), 14, 224, 768),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_build(name: str, tmp_path: Path) -> None:
    import torch

    from clipcli.networks.dual_encoder import DualEncoder

    family, image, text, patch, size, width = PUBLISHED[name]

    def tower(sizes: tuple[int, int, int]) -> dict[str, int]:
        hidden, layers, heads = sizes
        names = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
        return {**names, "intermediate_size": 4 * hidden}

    sections = {"vision_config": {**tower(image), "patch_size": patch, "image_size": size}, "text_config": tower(text)}
    config = read_config(write(tmp_path, {"model_type": family, "projection_dim": width, **sections}))
    with torch.device("meta"):
        network = DualEncoder(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["vision_model.embeddings.position_embedding.weight"] == ((size // patch) ** 2 + 1, image[0])
    assert shapes["visual_projection.weight"] == (width, image[0])
    assert shapes["text_projection.weight"] == (width, 768 if family == "altclip" else text[0])


def test_defaults_are_the_published_base_sizes(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, {"model_type": "altclip"}))
    assert (config.family, config.vision, config.text) == ("altclip", VisionConfig(), XlmRobertaTextConfig())
    assert config.projection_dim == 768
    config = read_config(write(tmp_path, {"model_type": "chinese_clip"}))
    assert (config.family, config.text, config.projection_dim) == ("chinese_clip", BertTextConfig(), 512)


def test_a_text_section_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match=r"text_config\.project_dim"):
        read_config(write(tmp_path, {"model_type": "altclip", "text_config": {"project_dim": "768"}}))
