"""SigLIP 2 NaFlex against `transformers`: images of any shape, grouped by their grids instead of padded to one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import clipcli
from clipcli.images.preprocess import Patches

SHAPES = [(32, 32), (80, 60), (50, 133), (301, 40), (7, 500), (1, 1), (640, 480), (133, 50), (80, 60)]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [Image.effect_noise(shape, 90).convert("RGB") for shape in SHAPES]


@pytest.fixture(scope="module")
def expected(siglip2_naflex_checkpoint: Path, images: list[Image.Image]) -> Any:
    """What `transformers` computes of all of them in one padded batch."""
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(siglip2_naflex_checkpoint, use_fast=False)
    model = AutoModel.from_pretrained(siglip2_naflex_checkpoint).eval()
    with torch.inference_mode():
        features = model.get_image_features(**processor(images, return_tensors="pt")).pooler_output
    return torch.nn.functional.normalize(features, dim=-1).numpy()


def test_features_of_all_shapes_in_one_run(
    siglip2_naflex_checkpoint: Path, images: list[Image.Image], expected: Any
) -> None:
    model = clipcli.load(siglip2_naflex_checkpoint, cache=False, exact_decode=True)
    np.testing.assert_allclose(model.encode_images(images), expected, atol=1e-5)
    np.testing.assert_allclose(model.encode_images(images[::-1])[::-1], expected, atol=1e-5)


def test_each_image_alone(siglip2_naflex_checkpoint: Path, images: list[Image.Image], expected: Any) -> None:
    for image, row in zip(images, expected, strict=True):
        model = clipcli.load(siglip2_naflex_checkpoint, cache=False, exact_decode=True)  # before weights are rearranged
        np.testing.assert_allclose(model.encode_images([image])[0], row, atol=1e-5)


def test_int8(siglip2_naflex_checkpoint: Path, images: list[Image.Image], expected: Any) -> None:
    model = clipcli.load(siglip2_naflex_checkpoint, cache=False, exact_decode=True, dtype="int8")
    assert (model.encode_images(images) * expected).sum(axis=1).min() > 0.995


@pytest.mark.parametrize("most", [1, 24, 256, 1024])
def test_the_size_in_patches_is_that_of_the_reference(most: int) -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    chosen = np.random.default_rng(most)
    patches = Patches(most, 16)
    for width, height in [*SHAPES, *chosen.integers(1, 5000, (200, 2)).tolist()]:
        expected = get_image_size_for_max_num_patches(height, width, 16, most)
        assert patches.size_of(width, height) == expected[::-1]


def test_features_are_cached_whatever_the_shape(siglip2_naflex_checkpoint: Path, tmp_path: Path) -> None:
    paths = []
    for i, shape in enumerate(SHAPES):
        paths.append(tmp_path / f"{i}.png")
        Image.effect_noise(shape, 90).convert("RGB").save(paths[-1])
    first = clipcli.load(siglip2_naflex_checkpoint).encode_images(paths)
    np.testing.assert_array_equal(clipcli.load(siglip2_naflex_checkpoint).encode_images(paths), first)
