"""Many prompts at once (prefix tree, packs, batches) against `transformers`, a text at a time as its users write it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import clipcli
from clipcli.compute.torch_backend.text_encoder import WORTH_FUSING
from clipcli.features.cache import FeatureCache
from clipcli.features.labels import LabelEncoder
from clipcli.labels.label_set import Label, LabelSet
from tests.helpers.checkpoints import CHINESE, WORDS, WRITERS, write_clip
from tests.helpers.reference import Reference

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the small {}",
    "{}",
    "two {} sitting on grass",
    "一张{}的照片",
)
NAMES = tuple(dict.fromkeys([*WORDS.split()[:20], "cats", "cats and dogs", "a red car", *CHINESE[6:20], CHINESE]))


@pytest.fixture(scope="module", params=list(WRITERS))
def pair(request: pytest.FixtureRequest) -> tuple[Path, Reference]:
    folder = request.getfixturevalue(f"{request.param}_checkpoint")
    return folder, Reference(folder)


def prompts() -> list[str]:
    return [template.replace("{}", name) for name in NAMES for template in TEMPLATES]


def one_at_a_time(reference: Reference, texts: list[str]) -> np.ndarray:
    return np.concatenate([reference.text_features([text]) for text in texts])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_features_of_many_prompts(pair: tuple[Path, Reference], backend: str) -> None:
    folder, reference = pair
    texts = prompts()
    assert len(texts) > WORTH_FUSING
    model = clipcli.load(str(folder), cache=False)
    if backend == "torch":
        _ = model.encoders.image  # of any number of images: torch, which is then used for everything
    np.testing.assert_allclose(model.encode_texts(texts), one_at_a_time(reference, texts), atol=1e-5)


def test_features_padded_to_the_context_are_the_same(pair: tuple[Path, Reference]) -> None:
    folder, reference = pair
    texts = prompts()[:40]
    ours = clipcli.load(str(folder), cache=False)
    batch = reference.tokenizer(
        texts,
        padding="max_length",
        max_length=ours.checkpoint.tokenizer.context_length,
        truncation=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        mask = None if "siglip" in reference.model.config.model_type else batch.attention_mask
        expected = reference.model.get_text_features(batch.input_ids, mask).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    np.testing.assert_allclose(ours.encode_texts(texts), expected, atol=1e-5)


def test_remembered_features_are_those_that_were_computed(pair: tuple[Path, Reference]) -> None:
    folder, _ = pair
    texts = prompts()
    first = clipcli.load(str(folder)).encode_texts(texts)
    again = clipcli.load(str(folder))
    assert (again.encode_texts(texts) == first).all()
    assert "text" not in vars(again.encoders) and "tokenizer" not in vars(again.checkpoint)


def test_ensembles_are_means_of_unit_vectors(pair: tuple[Path, Reference]) -> None:
    folder, reference = pair
    model = clipcli.load(str(folder), cache=False)
    label_set = LabelSet(name="some", labels=tuple(Label(name) for name in NAMES), templates=TEMPLATES[:4])
    expanded = [[template.replace("{}", name) for template in TEMPLATES[:4]] for name in NAMES]
    in_shares = LabelEncoder(model.encoders, FeatureCache.disabled(), prompts_at_once=17).features(expanded)
    for texts, whole, share in zip(expanded, model.encode_labels(label_set), in_shares, strict=True):
        mean = one_at_a_time(reference, texts).mean(axis=0)
        np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)
        np.testing.assert_allclose(share.features, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(
    "text", [{"hidden_act": "gelu"}, {"eos_token_id": 2}, {"num_hidden_layers": 1}, {"layer_norm_eps": 0.1}]
)
def test_what_the_config_says_decides(text: dict[str, object], tmp_path: Path) -> None:
    folder = write_clip(tmp_path, text=text)
    texts = prompts()[:60]
    ours = clipcli.load(str(folder), cache=False).encode_texts(texts)
    np.testing.assert_allclose(ours, one_at_a_time(Reference(folder), texts), atol=1e-5)
