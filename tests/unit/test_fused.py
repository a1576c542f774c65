from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.towers import VisionConfig
from clipcli.compute.torch_backend.fused import FusedImageTower, Int8Linear, PackedLinear, PlainLinear
from clipcli.compute.torch_backend.image_encoder import pixel_scale_and_shift
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder

CPU = torch.device("cpu")
VISION = VisionConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8
)
PREPROCESSING = Preprocessing(size=32, crop_size=(32, 32))


def config(hidden_act: str = "quick_gelu", classes: tuple[str, ...] | None = None) -> ModelConfig:
    return ModelConfig("clip", replace(VISION, hidden_act=hidden_act), None, projection_dim=24, id2label=classes)


def network(model: ModelConfig) -> DualEncoder:
    """The same random weights every time, every kind of them away from its neutral value."""
    torch.manual_seed(0)
    built = DualEncoder(model).requires_grad_(False).eval()
    for parameter in built.parameters():
        parameter.normal_(0, 0.15).add_(1.0 if parameter.ndim == 1 and len(parameter) == VISION.hidden_size else 0.0)
    return built


def images(count: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


def tower(
    model: ModelConfig, dtype: torch.dtype = torch.float32, how: Preprocessing = PREPROCESSING
) -> FusedImageTower:
    return FusedImageTower(network(model), *pixel_scale_and_shift(how), device=CPU, dtype=dtype)


def expected(model: ModelConfig, pixels: Tensor, how: Preprocessing = PREPROCESSING) -> Tensor:
    normalized = torch.from_numpy(how.normalize(pixels.numpy()))
    built = network(model)
    return built.get_image_features(normalized) if model.id2label is None else built.classify_pixels(normalized)


def assert_same(actual: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(actual, reference, rtol=0, atol=1e-5 * reference.abs().max().item())


@pytest.mark.parametrize("hidden_act", ["quick_gelu", "gelu", "gelu_new", "gelu_fast", "relu", "silu", "swish"])
def test_features_are_those_of_the_plain_network(hidden_act: str) -> None:
    model = config(hidden_act)
    assert_same(tower(model)(images()), expected(model, images()))


def test_the_tolerance_tells_activations_apart() -> None:
    with pytest.raises(AssertionError):
        assert_same(tower(config("gelu"))(images()), expected(config("quick_gelu"), images()))


def test_without_onednn_the_features_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert_same(tower(config())(images()), expected(config(), images()))


@pytest.mark.parametrize(
    "how",
    [
        replace(PREPROCESSING, do_normalize=False),
        replace(PREPROCESSING, do_rescale=False),
        replace(PREPROCESSING, image_mean=(0.1, 0.5, 0.9), image_std=(0.3, 1.5, 0.5)),
    ],
)
def test_pixels_are_normalised_as_the_checkpoint_says(how: Preprocessing) -> None:
    assert_same(tower(config(), how=how)(images()), expected(config(), images(), how))


def test_a_classification_head_sees_every_patch() -> None:
    model = config(classes=("cat", "dog", "bird"))
    assert_same(tower(model)(images()), expected(model, images()))


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 0.999), (torch.float16, 0.9999), (torch.int8, 0.999)])
def test_smaller_formats_stay_close(dtype: torch.dtype, least: float) -> None:
    cosines = F.cosine_similarity(tower(config(), dtype)(images()), expected(config(), images()))
    assert cosines.min() >= least


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_features_do_not_depend_on_the_rest_of_the_batch(dtype: torch.dtype) -> None:
    whole = tower(config(), dtype)
    bright = images()
    bright[1:] = 255
    alone = whole(images()[:1])
    assert_same(whole(bright)[:1], alone)


def test_int8_products_do_not_overflow() -> None:
    weight, extreme = torch.ones(16, 512), torch.ones(4, 512) * 1000
    torch.testing.assert_close(Int8Linear(weight, None, None)(extreme), extreme @ weight.T, rtol=1e-3, atol=0)
    torch.testing.assert_close(Int8Linear(weight, None, None)(-extreme), -extreme @ weight.T, rtol=1e-3, atol=0)


def test_int8_of_nothing_but_zeros_is_the_bias() -> None:
    bias = torch.arange(16.0)
    product = Int8Linear(torch.zeros(16, 32), bias, None)(torch.zeros(2, 32))
    torch.testing.assert_close(product, bias.expand(2, 16))


@pytest.mark.parametrize("kind", [PlainLinear, PackedLinear, Int8Linear])
def test_linear_layers_keep_the_shape_before_the_last_axis(kind: type) -> None:
    weight, bias, x = torch.randn(16, 32), torch.randn(16), torch.randn(2, 3, 32)
    product = kind(weight, bias, "silu")(x)
    torch.testing.assert_close(product, F.silu(F.linear(x, weight, bias)), rtol=0.05, atol=0.2)


def test_layers_are_dropped_from_the_network_as_they_are_rearranged() -> None:
    taken = network(config())
    FusedImageTower(taken, *pixel_scale_and_shift(PREPROCESSING), device=CPU, dtype=torch.float32)
    assert len(taken.vision_model.encoder.layers) == 0  # type: ignore[union-attr, arg-type]


def test_a_network_without_a_vit_is_refused() -> None:
    textual = network(config())
    textual.vision_model = None
    with pytest.raises(TypeError, match="only CLIP's ViT"):
        FusedImageTower(textual, *pixel_scale_and_shift(PREPROCESSING), device=CPU, dtype=torch.float32)
