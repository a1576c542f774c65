"""Pixels against the PIL image processors of `transformers`: bit for bit, before and after normalisation."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clipcli.checkpoints.image_processor import read_image_processor
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing
from tests.helpers.checkpoints import preprocessor_config
from tests.helpers.image_files import VARIANT_NAMES, VARIANTS, gradient, save, variant

SIZES = [(640, 480), (333, 500), (224, 224), (1, 1), (1, 100), (100, 1), (225, 224), (223, 1001), (50, 37), (17, 1000)]
CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {},
    "clip-legacy": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3},
    "chinese-clip": {
        "image_processor_type": "ChineseCLIPImageProcessor",
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
    },
    "chinese-clip-legacy": {"feature_extractor_type": "ChineseCLIPFeatureExtractor", "size": 64, "crop_size": 60},
    "legacy-square": {"size": 64, "default_to_square": True, "crop_size": 60},
    "bilinear-256-odd-crop": {
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 223, "width": 201},
        "resample": 2,
    },
    "nearest": {"size": {"shortest_edge": 30}, "crop_size": 30, "resample": 0},
    "lanczos-oblong": {"size": {"height": 40, "width": 70}, "do_center_crop": False, "resample": 1},
    "crop-larger-than-resize": {"size": {"shortest_edge": 31}, "crop_size": {"height": 45, "width": 64}},
    "crop-only": {"do_resize": False, "crop_size": {"height": 101, "width": 300}},
    "unnormalized": {"do_normalize": False, "size": 32, "crop_size": 32},
    "unscaled": {"do_rescale": False, "size": 32, "crop_size": 32},
    "other-statistics": {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.1, 0.7], "rescale_factor": 0.004},
}


def _reference(config: dict[str, Any], image: Image.Image, **overrides: Any) -> np.ndarray:
    kind = config.get("image_processor_type", config.get("feature_extractor_type", ""))
    reference = (ChineseCLIPImageProcessorPil if kind.startswith("Chinese") else CLIPImageProcessorPil)(**config)
    return reference(image, return_tensors="np", **overrides)["pixel_values"]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_equal_the_reference_bit_for_bit(name: str, size: tuple[int, int]) -> None:
    config = CONFIGS[name]
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    preprocessing = Preprocessing.from_config(config, name)

    pixels = preprocessing.pixels(image)
    want = _reference(config, image, do_rescale=False, do_normalize=False)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*preprocessing.output_size, 3)
    assert np.array_equal(pixels.transpose(2, 0, 1)[None], want)

    normalized = preprocessing.normalize(pixels[None])
    assert normalized.dtype == np.float32
    assert np.array_equal(normalized, _reference(config, image).astype(np.float32))


@pytest.mark.parametrize(
    "newer", [{"image_processor": preprocessor_config(40, square=True)}, {"image_processor": None}, {}]
)
def test_of_two_files_the_one_counts_that_the_reference_reads(newer: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor_config(32, square=False)))
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor", **newer}))
    image = gradient(90, 60)
    want = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(image, return_tensors="np")["pixel_values"]
    settings, path = read_image_processor(tmp_path)
    preprocessing = Preprocessing.from_config(settings, str(path))
    assert np.array_equal(preprocessing.normalize(preprocessing.pixels(image)[None]), want)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(chosen, id=name)
        for chosen, name in zip(VARIANTS, VARIANT_NAMES, strict=True)
        if chosen[1] not in ("I;16", "F")
    ],
)
def test_decoding_makes_the_colors_of_the_reference(chosen: tuple[str, str, dict[str, Any]]) -> None:
    """All but 16-bit and floating-point grey, which is scaled here and clipped there."""
    pillow_heif.register_heif_opener()
    data = variant(*chosen)
    want = _reference({}, Image.open(io.BytesIO(data)), do_rescale=False, do_normalize=False)
    image = decode(ImageSource("-", data=data), DecodeOptions())
    assert np.array_equal(Preprocessing().pixels(image).transpose(2, 0, 1)[None], want)


def test_transparency_equals_the_reference() -> None:
    image = gradient(300, 260).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    want = _reference({}, image, do_rescale=False, do_normalize=False)
    decoded = decode(ImageSource("-", data=save(image, "PNG")), DecodeOptions())
    assert np.array_equal(Preprocessing().pixels(decoded).transpose(2, 0, 1)[None], want)
