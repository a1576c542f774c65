import json
from pathlib import Path
from typing import Any

import pytest

from clipcli.checkpoints.config import ModelConfig, read_config
from clipcli.checkpoints.towers import ClipTextConfig, VisionConfig
from clipcli.errors import DamagedModelError, UnsupportedModelError


def read(folder: Path, config: dict[str, Any]) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps(config))
    return read_config(folder)


def test_absent_keys_take_the_published_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, {"model_type": "clip"})
    assert config.vision == VisionConfig()
    assert config.text == ClipTextConfig()
    assert config.projection_dim == 512


def test_null_means_absent(tmp_path: Path) -> None:
    text = {"pad_token_id": None, "eos_token_id": None, "hidden_act": None}
    config = read(tmp_path, {"model_type": "clip", "text_config": text, "projection_dim": None})
    assert (config.text, config.projection_dim) == (ClipTextConfig(), 512)
    padding = read(tmp_path, {"model_type": "chinese_clip", "text_config": {"pad_token_id": 0}}).text
    assert padding is not None and padding.pad_token_id == 0


def test_values_are_read_and_unknown_keys_ignored(tmp_path: Path) -> None:
    vision = {"hidden_size": 64, "num_attention_heads": 4, "layer_norm_eps": 1, "flavour": "vanilla"}
    config = read(tmp_path, {"model_type": "clip", "projection_dim": 7, "vision_config": vision})
    assert config.vision == VisionConfig(hidden_size=64, num_attention_heads=4, layer_norm_eps=1.0)
    assert config.projection_dim == 7


def test_older_spelling_of_a_section_wins_as_a_whole(tmp_path: Path) -> None:
    sections = {"text_config": {"vocab_size": 10, "eos_token_id": 2}, "text_config_dict": {"vocab_size": 20}}
    config = read(tmp_path, {"model_type": "clip", **sections})
    assert isinstance(config.text, ClipTextConfig)
    assert (config.text.vocab_size, config.text.eos_token_id) == (20, 49407)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"model_type": "blip"}, UnsupportedModelError, "blip"),
        ({}, UnsupportedModelError, "model_type None"),
        ({"model_type": "clip", "vision_config": {"hidden_act": "mish"}}, UnsupportedModelError, "vision_config.*mish"),
        ({"model_type": "clip", "text_config": {"hidden_size": "512"}}, DamagedModelError, "text_config.hidden_size"),
        ({"model_type": "clip", "text_config": {"hidden_size": True}}, DamagedModelError, "text_config.hidden_size"),
        ({"model_type": "clip", "text_config": []}, DamagedModelError, "text_config"),
        ({"model_type": "clip", "vision_config": {"num_attention_heads": 7}}, DamagedModelError, "multiple"),
        (
            {"model_type": "clip", "vision_config": {"num_attention_heads": 0}},
            DamagedModelError,
            "num_attention_heads.* 0",
        ),
        ({"model_type": "clip", "vision_config": {"patch_size": 0}}, DamagedModelError, "patch_size.* 0"),
        (
            {"model_type": "clip", "vision_config": {"patch_size": 230}},
            DamagedModelError,
            r"230.*image_size",
        ),
        ({"model_type": "clip", "vision_config": {"num_channels": 4}}, UnsupportedModelError, "num_channels"),
        ({"model_type": "siglip2", "vision_config": {"num_channels": 1}}, UnsupportedModelError, "num_channels"),
        ({"model_type": "clip", "vision_config": {"num_hidden_layers": 10**9}}, DamagedModelError, "num_hidden_layers"),
        ({"model_type": "altclip", "text_config": {"hidden_size": 10**30}}, DamagedModelError, "hidden_size.*1000"),
        ({"model_type": "clip", "vision_config": {"image_size": 30_000}}, DamagedModelError, r"image_size.*30000"),
        ({"model_type": "clip", "text_config": {"layer_norm_eps": 1e400}}, DamagedModelError, "layer_norm_eps.*inf"),
        (
            {"model_type": "clip", "text_config": {"layer_norm_eps": 10**400}},
            DamagedModelError,
            "layer_norm_eps.*1000",
        ),
        ({"model_type": "clip", "text_config": {"model_type": "bert"}}, UnsupportedModelError, "tower"),
        (
            {"model_type": "clip", "text_config": {"model_type": "xlm-roberta"}},
            UnsupportedModelError,
            "xlm-roberta",
        ),
        ({"model_type": "clip", "vision_config": {"num_hidden_layers": -1}}, DamagedModelError, "num_hidden_layers"),
        ({"model_type": "clip", "projection_dim": 0}, DamagedModelError, "projection_dim.* 0"),
        ({"model_type": "clip", "text_config": {"eos_token_id": -1}}, DamagedModelError, "eos_token_id.*-1"),
        (
            {"model_type": "clip", "text_config": {"eos_token_id": [49407]}},
            DamagedModelError,
            r"eos_token_id.*\[49407\]",
        ),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, config)


def test_labels_of_a_classification_head(tmp_path: Path) -> None:
    head = {"model_type": "clip", "architectures": ["CLIPForImageClassification"]}
    assert read(tmp_path, {**head, "id2label": {"1": "dog", "0": "cat"}}).id2label == ("cat", "dog")
    with pytest.raises(DamagedModelError, match="id2label"):
        read(tmp_path, {**head, "id2label": {"1": "dog"}})


@pytest.mark.parametrize(("content", "message"), [("{", "JSON"), ("[]", "object")])
def test_damaged_file(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DamagedModelError, match=message):
        read_config(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match=r"config\.json"):
        read_config(tmp_path)
