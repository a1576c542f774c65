"""Each stage of the network against `transformers` on the same files: a failure names the stage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from tests.helpers.checkpoints import WRITERS, write_clip

TOLERANCE = 1e-5
ELSEWHERE = ("siglip", "siglip2", "siglip2_naflex")  # in test_siglip and test_naflex


def load_both(folder: Path) -> tuple[DualEncoder, Any]:
    from transformers import AutoModel

    network = load_network(read_config(folder), weight_files(folder))
    return network, AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module", params=[name for name in WRITERS if name not in ELSEWHERE])
def models(request: pytest.FixtureRequest) -> tuple[DualEncoder, Any]:
    return load_both(request.getfixturevalue(f"{request.param}_checkpoint"))


def inputs(network: DualEncoder, count: int = 4, length: int = 9) -> dict[str, Tensor]:
    """Random images, and texts of several lengths padded on the right."""
    generator = torch.Generator().manual_seed(1)
    vision, text = network.config.vision, network.config.text
    assert vision is not None and text is not None
    size, end = vision.image_size, text.vocab_size - 1
    ids = torch.randint(5, end - 1, (count, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(count):
        ids[row, length - 1 - row] = end
        ids[row, length - row :] = text.pad_token_id
        mask[row, length - row :] = 0
    pixels = torch.randn(count, 3, size, size, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


@torch.inference_mode()
def test_image_features(models: tuple[DualEncoder, Any]) -> None:
    network, reference = models
    pixels = inputs(network)["pixel_values"]
    theirs = reference.get_image_features(pixels).pooler_output
    assert_close(network.get_image_features(pixels), theirs)


@torch.inference_mode()
def test_text_features(models: tuple[DualEncoder, Any]) -> None:
    network, reference = models
    batch = inputs(network)
    theirs = reference.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
    assert_close(network.get_text_features(batch["input_ids"], batch["attention_mask"]), theirs)


@torch.inference_mode()
def test_logits_embeddings_and_loss(models: tuple[DualEncoder, Any]) -> None:
    network, reference = models
    batch = inputs(network)
    ours, theirs = network(**batch, return_loss=True), reference(**batch, return_loss=True)
    for name in ("logits_per_image", "logits_per_text", "image_embeds", "text_embeds", "loss"):
        assert_close(getattr(ours, name), getattr(theirs, name))
    assert network(**batch).loss is None


@torch.inference_mode()
def test_hidden_states_and_attentions(models: tuple[DualEncoder, Any]) -> None:
    network, reference = models
    batch = inputs(network)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours, theirs = network(**batch, **wanted), reference(**batch, **wanted)
    for tower in ("vision_model_output", "text_model_output"):
        for name in ("hidden_states", "attentions"):
            pairs = zip(getattr(getattr(ours, tower), name), getattr(getattr(theirs, tower), name), strict=True)
            for mine, reference_value in pairs:
                assert_close(mine, reference_value)
    plain = network(**batch)
    assert plain.vision_model_output.hidden_states is None
    assert_close(plain.logits_per_image, ours.logits_per_image)


@torch.inference_mode()
def test_padding_does_not_move_features(models: tuple[DualEncoder, Any]) -> None:
    network, _ = models
    batch = inputs(network)
    length = int(batch["attention_mask"][3].sum())
    alone = network.get_text_features(batch["input_ids"][3:, :length], batch["attention_mask"][3:, :length])
    padded = network.get_text_features(batch["input_ids"], batch["attention_mask"])[3:]
    assert_close(padded, alone)


VARIANTS = {
    "gelu": ({"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "gelu_new": ({"hidden_act": "gelu_new"}, {"hidden_act": "gelu_fast"}),
    "gelu_pytorch_tanh": ({"hidden_act": "gelu_pytorch_tanh"}, {"hidden_act": "gelu_python"}),
    "relu": ({"hidden_act": "relu"}, {"hidden_act": "silu"}),
    "eps": ({"layer_norm_eps": 1e-2}, {"layer_norm_eps": 3e-2}),
    "patch": ({"patch_size": 16, "image_size": 48}, {}),
    "uneven_patch": ({"patch_size": 7, "image_size": 32}, {}),
    "eos_2": ({}, {"eos_token_id": 2}),
    "deeper": ({"num_hidden_layers": 3, "num_attention_heads": 2}, {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_what_the_config_says_is_what_runs(name: str, tmp_path: Path) -> None:
    vision, text = VARIANTS[name]
    network, reference = load_both(write_clip(tmp_path, vision=vision, text=text))
    batch = inputs(network)
    assert_close(network(**batch).logits_per_image, reference(**batch).logits_per_image)


@torch.inference_mode()
def test_another_activation_would_show(tmp_path: Path) -> None:
    quick, _ = load_both(write_clip(tmp_path / "quick"))
    exact, _ = load_both(write_clip(tmp_path / "exact", vision={"hidden_act": "gelu"}))
    pixels = inputs(quick)["pixel_values"]
    difference = (quick.get_image_features(pixels) - exact.get_image_features(pixels)).abs().max()
    assert difference > 100 * TOLERANCE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files_are_converted_exactly(dtype: str, tmp_path: Path) -> None:
    from transformers import CLIPModel

    folder = write_clip(tmp_path)
    CLIPModel.from_pretrained(folder).to(getattr(torch, dtype)).save_pretrained(folder)
    network, reference = load_both(folder)
    theirs = reference.float().state_dict()
    for name, value in network.state_dict().items():
        assert value.dtype is torch.float32
        assert torch.equal(value, theirs[name]), name


def test_shards_equal_one_file(tmp_path: Path) -> None:
    folder = write_clip(tmp_path)
    network, reference = load_both(folder)
    whole = network.state_dict()
    (folder / "model.safetensors").rename(tmp_path / "whole")
    reference.save_pretrained(folder, max_shard_size="50KB")
    assert len(weight_files(folder)) > 1
    sharded = load_network(read_config(folder), weight_files(folder)).state_dict()
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
