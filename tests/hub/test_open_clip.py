"""Repositories in open_clip's layout by hub id: told apart before their weights are fetched, then converted once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli.errors import DamagedModelError, ModelNotFoundError, UnsupportedModelError
from clipcli.foreign.kept import kept_conversions
from clipcli.hub import find_model, stored_models, verify_files
from tests.helpers.hub_server import HubServer

DATA = Path(__file__).parents[1] / "data" / "formats"
XLM_ROBERTA = {"hf_model_name": "xlm-roberta-base"}
PUBMEDBERT = {"hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"}
PE_CORE = {"timm_model_name": "vit_pe_core_base_patch16_224", "timm_pool": "map", "timm_proj": None}
PLAIN_VIT = {"timm_model_name": "vit_base_patch16_224", "timm_pool": ""}
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def repository(**model: Any) -> dict[str, bytes]:
    """The files of a tiny open_clip repository, its `model_cfg` changed."""
    files = {path.name: path.read_bytes() for path in (DATA / "open_clip").iterdir()}
    files |= {path.name: path.read_bytes() for path in (DATA / "clip-tokenizer").iterdir()}
    config = json.loads(files[CONFIG])
    for name, section in model.items():
        config["model_cfg"][name] = {**config["model_cfg"].get(name, {}), **section}
    return {**files, CONFIG: json.dumps(config).encode()}


@pytest.mark.parametrize("name", ["me/open", "hf-hub:me/open"])
def test_it_runs_as_its_files_in_a_folder_do(hub: HubServer, name: str) -> None:
    hub.add("me/open", repository())
    image = Image.effect_noise((50, 40), 90).convert("RGB")
    model = clipcli.load(name, cache=False)
    features = model.encode_images([image])
    assert features.shape == (1, 16) and model.encode_texts(["a cat"]).shape == (1, 16)
    requests = len(hub.requests)
    again = clipcli.load(name, cache=False, offline=True)
    np.testing.assert_array_equal(again.encode_images([image]), features)
    assert len(hub.requests) == requests and len(kept_conversions().folders) == 1


def test_a_local_folder_by_open_clips_name_for_it(hub: HubServer, tmp_path: Path) -> None:
    for name, content in repository().items():
        (tmp_path / name).write_bytes(content)
    hub.add("me/open", repository())
    texts = ["a cat", "a dog"]
    ours = clipcli.load(f"local-dir:{tmp_path}", cache=False).encode_texts(texts)
    np.testing.assert_array_equal(ours, clipcli.load("me/open", cache=False).encode_texts(texts))


@pytest.mark.parametrize(
    ("name", "tokenizer", "family"),
    [
        ("open_clip", "clip-tokenizer", "clip"),
        ("open_clip-xlm-roberta", "unigram-tokenizer", "xlm_roberta_clip"),
        ("open_clip-biomed", "chinese-tokenizer", "biomed_clip"),
        ("open_clip-pe", "clip-tokenizer", "pe_core"),
    ],
)
def test_it_is_listed_and_checked_as_any_model(hub: HubServer, name: str, tokenizer: str, family: str) -> None:
    files = [path for folder in (name, tokenizer) for path in (DATA / folder).iterdir()]
    hub.add("me/open", {path.name: path.read_bytes() for path in files})
    model = clipcli.load("me/open")
    assert model.checkpoint.config.family == family and model.encode_texts(["a cat"]).shape == (1, 16)
    (stored,) = stored_models()
    assert (stored.hub_id, stored.family, stored.missing) == ("me/open", family, ())
    assert {check.status for check in verify_files(stored.folder)} == {"ok"}
    assert (find_model("me/open").folder / WEIGHTS).is_file()


@pytest.mark.parametrize(
    ("model", "part", "network"),
    [
        ({"vision_cfg": {"timm_model_name": "fastvit_mci2"}}, "timm_model_name.*'fastvit_mci2'", "MobileCLIP"),
        ({"vision_cfg": {"timm_model_name": "vit_base_mci_224"}}, "'vit_base_mci_224'", "MobileCLIP 2"),
        ({"vision_cfg": {"timm_model_name": "eva02_base_patch16_clip_224"}}, "eva02_base", "EVA02-CLIP"),
        ({"vision_cfg": {"timm_model_name": "vit_pe_lang_large_patch14_448"}}, "vit_pe_lang", "PE-lang"),
        ({"vision_cfg": PE_CORE | {"timm_proj": "linear"}}, "timm_proj is 'linear'", "models"),
        ({"vision_cfg": {"timm_model_name": "vit_pe_core_base_patch16_224"}}, "timm_pool is 'avg'", "models"),
        ({"vision_cfg": PE_CORE, "text_cfg": XLM_ROBERTA}, "hf_model_name 'xlm-roberta", "models"),
        ({"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"}}, "siglip_224", "SigLIP"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "hf_model_name.*'roberta-base'", "English RoBERTa"),
        ({"text_cfg": {"hf_model_name": "google/mt5-base"}}, "hf_model_name.*'google/mt5-base'", "mT5"),
        ({"text_cfg": XLM_ROBERTA | {"hf_pooler_type": "max_pooler"}}, "hf_pooler_type.*'max_pooler'", "clip models"),
        ({"text_cfg": XLM_ROBERTA | {"hf_proj_type": "none"}}, "hf_proj_type.*'none'", "models"),
        ({"text_cfg": XLM_ROBERTA | {"tokenizer_mode": "clips"}}, "tokenizer_mode.*'clips'", "models"),
        ({"text_cfg": XLM_ROBERTA, "vision_cfg": PLAIN_VIT}, "'xlm-roberta-base'", "models"),
        ({"vision_cfg": PLAIN_VIT}, "timm_model_name 'vit_base_patch16_224'", "models"),
        ({"text_cfg": PUBMEDBERT}, "hf_model_name 'microsoft/BiomedNLP", "models"),
        (
            {"text_cfg": PUBMEDBERT, "vision_cfg": PLAIN_VIT | {"timm_pool": "avg"}},
            "timm_pool.*'avg'",
            "models",
        ),
        ({"text_cfg": {"no_causal_mask": True}}, "no_causal_mask.*True", "models"),
        ({"multimodal_cfg": {"width": 8}}, "multimodal_cfg", "models"),
    ],
)
def test_what_cannot_run_is_named_before_weights_are_fetched(
    hub: HubServer, model: dict[str, Any], part: str, network: str
) -> None:
    hub.add("me/open", repository(**model))
    with pytest.raises(UnsupportedModelError, match=f"open_clip_config.*{part}") as caught:
        clipcli.load("me/open")
    assert network in (caught.value.hint or "")
    assert hub.fetched(WEIGHTS) == []


def test_a_repository_of_another_kind_of_file(hub: HubServer) -> None:
    hub.add("me/files", {"RemoteCLIP-ViT-B-32.pt": b"weights", "README.md": b"..."})
    with pytest.raises(UnsupportedModelError, match=r"neither config\.json nor open_clip_config\.json"):
        clipcli.load("me/files")


def test_damaged_weights(hub: HubServer) -> None:
    hub.add("me/open", {**repository(), WEIGHTS: b"not weights at all, but long enough"})
    with pytest.raises((DamagedModelError, UnsupportedModelError), match="open_clip_model"):
        clipcli.load("me/open")


def test_offline_it_is_asked_for_like_any_other(hub: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="me/open"):
        clipcli.load("hf-hub:me/open", offline=True)
