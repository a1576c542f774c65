"""The whole way, from files and words to logits, against `transformers`' processor and model on the same folder."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clipcli
from clipcli.answers.classify import ClassifyOptions
from tests.helpers.checkpoints import WRITERS, save_again
from tests.helpers.reference import Reference

LABELS = ["cat", "dog", "a red car", "tree"]
TEMPLATES = ["a photo of a {}.", "{}", "two {} sitting on grass"]
SIZES = [(32, 32), (80, 60), (50, 133), (301, 40)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Smooth colourful images of several shapes, as PNG and JPEG."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for i, (width, height) in enumerate(SIZES):
        noise = np.random.default_rng(i).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        path = folder / f"{i}.{'png' if i % 2 else 'jpg'}"
        Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=95)
        paths.append(path)
    return paths


@pytest.fixture(scope="module", params=["as published", "as saved today"])
def is_saved_again(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "as saved today")


@pytest.fixture(scope="module", params=["numpy", "torch"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=list(WRITERS))
def pair(
    request: pytest.FixtureRequest, is_saved_again: bool, backend: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[clipcli.Model, Reference]:
    folder = request.getfixturevalue(f"{request.param}_checkpoint")
    if is_saved_again and request.param != "siglip":  # whose tokenizer has one form only
        folder = save_again(folder, tmp_path_factory.mktemp("saved"))
        assert not (folder / "preprocessor_config.json").exists()
    model = clipcli.load(str(folder), exact_decode=True, cache=False)
    if backend == "torch":
        _ = model.encoders.image  # of any number of images: torch, which is then used for everything
    return model, Reference(folder)


def test_image_features(pair: tuple[clipcli.Model, Reference], images: list[Path]) -> None:
    ours, reference = pair
    np.testing.assert_allclose(ours.encode_images(images), reference.image_features(images), atol=1e-5)


def test_text_features(pair: tuple[clipcli.Model, Reference]) -> None:
    ours, reference = pair
    texts = [*LABELS, "一张猫的照片", "A PHOTO of two cats, sitting on grass", "hello " * 10]
    np.testing.assert_allclose(ours.encode_texts(texts), reference.text_features(texts), atol=1e-5)


def test_logits_and_scores_of_an_ensemble(pair: tuple[clipcli.Model, Reference], images: list[Path]) -> None:
    ours, reference = pair
    rows = []
    for label in LABELS:
        mean = reference.text_features([template.replace("{}", label) for template in TEMPLATES]).mean(axis=0)
        rows.append(mean / np.linalg.norm(mean))
    cosines = reference.image_features(images) @ np.stack(rows).T
    logits = cosines * float(reference.model.logit_scale.detach().exp())
    bias = getattr(reference.model, "logit_bias", None)
    if bias is None:
        scores = torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
    else:
        logits = logits + float(bias.detach())
        scores = torch.sigmoid(torch.from_numpy(logits)).numpy()
    found = ours.classify(images, LABELS, templates=TEMPLATES, options=ClassifyOptions(top=len(LABELS)))
    for i, result in enumerate(found):
        by_label = {p.label: p for p in result.predictions}
        for j, label in enumerate(LABELS):
            assert by_label[label].cosine == pytest.approx(cosines[i, j], abs=1e-5)
            assert by_label[label].logit == pytest.approx(logits[i, j], abs=1e-4)
            assert by_label[label].score == pytest.approx(scores[i, j], abs=1e-5)


def test_the_images_are_not_all_alike(images: list[Path]) -> None:
    assert len({zlib.crc32(path.read_bytes()) for path in images}) == len(SIZES)
