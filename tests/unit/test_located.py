"""Features of patches: what the last attention gives, taken apart and put together again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import ResNetConfig
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.networks.located import located_features, similarity
from clipcli.networks.resnet import ModifiedResNet
from clipcli.networks.siglip import SiglipVisionTransformer
from clipcli.networks.vision import VisionTransformer, resized_positions
from clipcli.scoring import MAP_METHODS, MapMethod

VITS = ("clip", "chinese_clip", "altclip", "metaclip_2")
SIGLIPS = ("siglip", "siglip2", "siglip2_naflex")

every_method = pytest.mark.parametrize("method", MAP_METHODS)


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest) -> Callable[[str], DualEncoder]:
    def load(family: str) -> DualEncoder:
        if family == "resnet":
            return resnet()
        folder: Path = request.getfixturevalue(f"{family}_checkpoint")
        return load_network(read_config(folder), weight_files(folder), text=False)

    return load


def resnet() -> DualEncoder:
    """A network that has a ResNet in its middle, with random weights."""
    torch.manual_seed(0)
    tower = ModifiedResNet(ResNetConfig((1, 1, 1, 1), width=4, num_attention_heads=4, image_size=64), 16).eval()
    for value in tower.state_dict().values():
        value.uniform_(0.5, 1.0) if value.ndim == 1 else value.normal_(0, 0.2)

    class Network(DualEncoder):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.vision_model, self.visual_projection = tower, torch.nn.Identity()

    return Network().requires_grad_(False)


def pixels_of(network: DualEncoder, *size: int) -> Tensor:
    tower: Any = network.vision_model
    edge = getattr(tower.config, "image_size", 32)
    return torch.randn(2, 3, *(size or (edge, edge)), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", VITS)
@torch.inference_mode()
def test_heads_and_tokens_sum_to_the_cosine(load: Callable[[str], DualEncoder], family: str) -> None:
    """arXiv:2310.05916: head by head and token by token, and what comes from nowhere in the image."""
    network = load(family)
    tower = network.vision_model
    assert isinstance(tower, VisionTransformer)
    pixels, text = pixels_of(network), F.normalize(torch.randn(16), dim=-1)
    output = tower(pixels, output_hidden_states=True, output_attentions=True)
    assert output.hidden_states is not None and output.attentions is not None
    before, after, layer = output.hidden_states[-2], output.hidden_states[-1][:, 0], tower.encoder.layers[-1]
    attention: Any = layer.self_attn
    values = attention.v_proj(layer.layer_norm1(before)).unflatten(-1, (attention.heads, -1))  # (B, L, H, d)
    weights = attention.out_proj.weight.unflatten(1, (attention.heads, -1))  # (D, H, d)
    added = torch.einsum("bhl,blhd,ehd->bhle", output.attentions[-1][:, :, 0], values, weights)
    middle = before[:, 0] + added.sum(dim=(1, 2)) + attention.out_proj.bias
    elsewhere = before[:, 0] + attention.out_proj.bias + layer.mlp(layer.layer_norm2(middle))
    norm, feature = tower.post_layernorm, network.get_image_features(pixels)

    def cosine(part: Tensor) -> Tensor:
        deviation = (after.var(dim=-1, correction=0) + norm.eps).sqrt().view(-1, *[1] * (part.ndim - 1))
        scaled = (part - part.mean(dim=-1, keepdim=True)) / deviation * norm.weight
        return network.visual_projection(scaled) @ text / feature.norm(dim=-1).view(-1, *[1] * (part.ndim - 2))

    constant = network.visual_projection(norm.bias) @ text / feature.norm(dim=-1)
    parts = cosine(added)  # (B, H, L)
    torch.testing.assert_close(
        parts.sum(dim=(1, 2)) + cosine(elsewhere) + constant, F.normalize(feature, dim=-1) @ text, atol=1e-5, rtol=0
    )
    ours = located_features(network, pixels, "parts") @ text
    torch.testing.assert_close(ours.flatten(1), parts.sum(dim=1)[:, 1:], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", SIGLIPS)
@torch.inference_mode()
def test_parts_of_a_pool_and_its_perceptron_are_the_feature(load: Callable[[str], DualEncoder], family: str) -> None:
    network = load(family)
    tower = network.vision_model
    assert isinstance(tower, SiglipVisionTransformer)
    pixels, pool = pixels_of(network), tower.head
    feature = network.get_image_features(pixels)
    gathered = pool.attention(pool.probe.expand(2, -1, -1), tower(pixels).last_hidden_state)[:, 0]
    elsewhere = pool.attention.out_proj.bias + pool.mlp(pool.layernorm(gathered))
    parts = located_features(network, pixels, "parts").sum(dim=(1, 2)) * feature.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(parts + elsewhere, feature, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_parts_of_a_resnet_with_those_of_its_mean_are_the_feature() -> None:
    network = resnet()
    tower = network.vision_model
    assert isinstance(tower, ModifiedResNet)
    pixels, pool = pixels_of(network), tower.attnpool
    output = tower(pixels, output_attentions=True)
    assert output.attentions is not None
    mean = output.last_hidden_state.mean(dim=1) + pool.positional_embedding[0]
    value = pool.v_proj(mean).unflatten(-1, (pool.heads, -1)) * output.attentions[0][:, :, 0, :1]
    elsewhere = pool.c_proj(value.flatten(1))  # the bias too
    parts = located_features(network, pixels, "parts").sum(dim=(1, 2)) * output.pooler_output.norm(dim=-1)[:, None]
    torch.testing.assert_close(parts + elsewhere, output.pooler_output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", SIGLIPS)
@torch.inference_mode()
def test_values_are_what_the_pool_makes_of_one_patch_alone(load: Callable[[str], DualEncoder], family: str) -> None:
    network = load(family)
    tower = network.vision_model
    assert isinstance(tower, SiglipVisionTransformer)
    pixels = pixels_of(network)
    tokens = tower(pixels).last_hidden_state
    alone = torch.stack([tower.head(tokens[:, i : i + 1]) for i in range(tokens.shape[1])], dim=1)
    found = located_features(network, pixels, "values").flatten(1, 2)
    torch.testing.assert_close(found, F.normalize(alone, dim=-1), atol=1e-5, rtol=1e-4)


@every_method
@pytest.mark.parametrize("family", [*VITS, *SIGLIPS, "resnet"])
def test_images_of_any_shape(load: Callable[[str], DualEncoder], family: str, method: MapMethod) -> None:
    network = load(family)
    tower: Any = network.vision_model
    patch = getattr(tower.config, "patch_size", 32)
    for height, width in ((3, 5), (6, 6), (1, 9)):
        found = located_features(network, pixels_of(network, height * patch, width * patch), method)
        assert found.shape[:3] == (2, height, width)
        assert found.isfinite().all()
        if method != "parts":
            torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, height, width))


@every_method
def test_an_image_is_read_as_it_is_among_others(load: Callable[[str], DualEncoder], method: MapMethod) -> None:
    network = load("clip")
    pixels = pixels_of(network)
    together = located_features(network, pixels, method)
    torch.testing.assert_close(located_features(network, pixels[1:], method), together[1:], atol=1e-6, rtol=1e-4)


def test_keys_that_are_alike_find_each_other() -> None:
    keys = torch.tensor([[4.0, 0], [4, 0], [0, 4], [0, 4]])[None, None]
    weights = similarity(keys)[0, 0]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4))
    assert (weights[:2, :2] > 0.49).all() and (weights[:2, 2:] < 0.01).all()


def test_positions_of_the_right_size_are_left_alone() -> None:
    table = torch.randn(9, 4)
    assert resized_positions(table, 3, 3, "bicubic") is table


def test_positions_follow_the_place() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.stack([rows.flatten(), columns.flatten(), torch.ones(16)], dim=-1)
    found = resized_positions(table, 6, 8, "bicubic").unflatten(0, (6, 8))
    assert (found[1:, :, 0] > found[:-1, :, 0]).all() and (found[:, 1:, 1] > found[:, :-1, 1]).all()
    torch.testing.assert_close(found[..., 2], torch.ones(6, 8))
