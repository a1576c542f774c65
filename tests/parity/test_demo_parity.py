"""The bundled model, whose weights are trained: what clipcli computes is what `transformers` computes."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPModel, CLIPTokenizerFast

import clipcli
from clipcli import demo

TEXTS = ["cat", "a photo of a hot dog.", "a cat and a bicycle", "sousaphone, naïve ñ!", "none of these", "dog " * 40]


@pytest.fixture(scope="module")
def model() -> clipcli.Model:
    return clipcli.load("demo", device="cpu", dtype="float32", exact_decode=True)


@pytest.fixture(scope="module")
def reference() -> Any:
    return CLIPModel.from_pretrained(demo.folder(), dtype=torch.float32).eval()


def unit(features: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    return np.asarray(torch.nn.functional.normalize(tensor, dim=-1))


@torch.inference_mode()
def test_image_features(model: clipcli.Model, reference: Any) -> None:
    processor = AutoImageProcessor.from_pretrained(demo.folder(), use_fast=False)
    images = [Image.open(path).convert("RGB") for path in demo.samples()]
    expected = unit(reference.get_image_features(processor(images, return_tensors="pt").pixel_values))
    np.testing.assert_allclose(model.encode_images(demo.samples()), expected, atol=1e-5)
    assert np.abs(expected @ expected.T - np.eye(len(expected))).max() < 0.9  # they do tell the samples apart


def test_token_ids(model: clipcli.Model) -> None:
    tokenizer = CLIPTokenizerFast.from_pretrained(demo.folder())
    expected = tokenizer(TEXTS, truncation=True).input_ids
    assert [list(encoding.ids) for encoding in model.checkpoint.tokenizer.encode(TEXTS)] == expected


@torch.inference_mode()
def test_text_features(model: clipcli.Model, reference: Any) -> None:
    tokenizer = CLIPTokenizerFast.from_pretrained(demo.folder())
    batch = tokenizer(TEXTS, truncation=True, padding=True, return_tensors="pt")
    expected = unit(reference.get_text_features(batch.input_ids, batch.attention_mask))
    with pytest.warns(clipcli.errors.ClipWarning, match="cut"):
        ours = model.encode_texts(TEXTS)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_logit_scale(model: clipcli.Model, reference: Any) -> None:
    assert model.logits.scale == pytest.approx(float(reference.logit_scale.detach().exp()), rel=1e-6)
