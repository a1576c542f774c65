"""SigLIP and SigLIP 2 against `transformers`: ids, towers, logits, loss, and the towers made for speed."""

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import normalizers
from torch import Tensor

import clipcli
from clipcli.checkpoints.config import read_config
from clipcli.compute.torch_backend.fused_siglip import FusedSiglipImageTower, FusedSiglipTextTower
from clipcli.compute.torch_backend.image_encoder import pixel_scale_and_shift
from clipcli.hub import weight_files
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.text.tokenizer import load_tokenizer
from tests.helpers.checkpoints import write_siglip2
from tests.helpers.texts import MANY, SPECIAL, generated

CONTEXT = 20
TOLERANCE = 1e-5
HARD = [
    "",
    " ",
    "a photo of a cat",
    "  leading,   inner\tand trailing blanks  ",
    "two dogs, sitting on grass!",
    "naïve café cafe\u0301 résumé",
    "一张猫的照片",
    "ＡＢＣ　ｃａｔ　１２３！ ﬁ ½ ™",
    "👨‍👩‍👧‍👦 🙂",
    "x.y.z... it's don't #tag @name a_b",
    "hello " * 60,
    "猫" * 200,
    "\u200bzero\u200dwidth\u00a0blank",
    "Привет мир שלום",
]


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


def load_ours(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


def load_reference(folder: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def folder(request: pytest.FixtureRequest) -> Path:
    path = request.getfixturevalue(f"{request.param}_checkpoint")
    assert isinstance(path, Path)
    return path


def different_ids(folder: Path, texts: list[str], family: str = "siglip") -> list[str]:
    """The texts to which `transformers` gives other ids."""
    from transformers import AutoTokenizer, Siglip2Tokenizer

    reference = (AutoTokenizer if family == "siglip" else Siglip2Tokenizer).from_pretrained(folder)
    ours = load_tokenizer(folder, family, context_length=CONTEXT)
    assert (ours.pad_token_id, ours.vocab_size) == (reference.pad_token_id, len(reference))
    expected = reference(texts, truncation=True, max_length=CONTEXT)["input_ids"]
    encoded = ours.encode(texts)
    return [text for text, ids, found in zip(texts, expected, encoded, strict=True) if list(found.ids) != ids]


def test_ids_of_siglip_in_any_case(siglip_checkpoint: Path) -> None:
    texts = [*HARD, *(text.upper() for text in HARD), *generated(MANY)]
    without = [text for text in texts if not any(token in text.lower() for token in SPECIAL)]
    assert len(without) > MANY / 2
    different = different_ids(siglip_checkpoint, without)
    assert all(any(map(unicodedata.combining, text)) for text in different), "see `clean_siglip`"
    assert len(different) < MANY / 1000


def test_a_special_token_in_a_text_of_siglip_is_text(siglip_checkpoint: Path) -> None:
    tokenizer = load_tokenizer(siglip_checkpoint, "siglip", context_length=CONTEXT)
    assert tokenizer.encode(["a </s> b"]) == tokenizer.encode(["a s b"])


def test_ids_of_siglip2_in_lower_case(siglip2_checkpoint: Path) -> None:
    lowered = [normalizers.Lowercase().normalize_str(text) for text in (*HARD, *generated(MANY))]
    assert different_ids(siglip2_checkpoint, lowered) == []


def test_ids_of_naflex_in_any_case(siglip2_naflex_checkpoint: Path) -> None:
    texts = ["ΣΙΣΥΦΟΣ", "İstanbul", *HARD, *(text.upper() for text in HARD), *generated(MANY)]
    assert different_ids(siglip2_naflex_checkpoint, texts, "siglip2") == []


def test_siglip2_is_lower_cased_as_its_authors_trained_it(siglip2_checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(siglip2_checkpoint, "siglip", context_length=CONTEXT)
    assert tokenizer.encode(["A Photo of a CAT."]) == tokenizer.encode(["a photo of a cat."])
    folder = tmp_path / "checkpoint"
    shutil.copytree(siglip2_checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "do_lower_case": False}))
    assert different_ids(folder, [*HARD, *(text.title() for text in HARD)]) == []


def test_naflex_and_other_names_of_the_class(siglip2_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(siglip2_checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    path, ids = folder / "tokenizer_config.json", []
    for name in ("GemmaTokenizer", "GemmaTokenizerFast", "Siglip2Tokenizer"):
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "tokenizer_class": name}))
        ids.append(load_tokenizer(folder, "siglip", context_length=CONTEXT).encode(HARD))
    assert ids[0] == ids[1] == ids[2]


def test_a_text_that_is_too_long_keeps_its_end(folder: Path) -> None:
    tokenizer = load_tokenizer(folder, "siglip", context_length=CONTEXT)
    (encoding,) = tokenizer.encode(["cat dog " * 50])
    assert encoding.truncated and len(encoding.ids) == CONTEXT and encoding.ids[-1] == 1


def ids_and_pixels(config: Any) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    text, size = config.text, config.vision.image_size
    ids = torch.randint(0, text.vocab_size, (3, text.context_length), generator=generator)
    return ids, torch.randn(3, 3, size, size, generator=generator)


@torch.inference_mode()
def test_states_logits_and_loss(folder: Path) -> None:
    network, reference = load_ours(folder), load_reference(folder)
    ids, pixels = ids_and_pixels(network.config)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours = network(ids, pixels, return_loss=True, **wanted)
    theirs = reference(input_ids=ids, pixel_values=pixels, return_loss=True)
    for name in ("text_model", "vision_model"):
        tower = getattr(reference, name)(ids if name == "text_model" else pixels, output_hidden_states=True)
        output = getattr(ours, f"{name}_output")
        assert_close(output.last_hidden_state, tower.last_hidden_state)
        assert_close(output.pooler_output, tower.pooler_output)
        for mine, state in zip(output.hidden_states, tower.hidden_states, strict=True):
            assert_close(mine, state)
        assert all(attention.sum(dim=-1).allclose(torch.ones(())) for attention in output.attentions)
    assert_close(ours.text_embeds, theirs.text_embeds)
    assert_close(ours.image_embeds, theirs.image_embeds)
    assert_close(ours.logits_per_text, theirs.logits_per_text)
    assert_close(ours.logits_per_image, theirs.logits_per_image)
    assert ours.loss.item() == pytest.approx(theirs.loss.item(), rel=1e-5)


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "patches that do not divide the image": ({"image_size": 38}, {}),
    "fewer positions": ({}, {"max_position_embeddings": 7}),
    "towers of two widths": ({"hidden_size": 48, "num_attention_heads": 3}, {"projection_size": 48}),
    "another activation": ({"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "eps": ({"layer_norm_eps": 1e-2}, {"layer_norm_eps": 3e-2}),
    "one layer": ({"num_hidden_layers": 1}, {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_what_the_config_says_decides(variant: str, tmp_path: Path) -> None:
    vision, text = VARIANTS[variant]
    folder = write_siglip2(tmp_path, vision=vision, text=text)
    network, reference = load_ours(folder), load_reference(folder)
    ids, pixels = ids_and_pixels(network.config)
    expected_texts = reference.get_text_features(ids).pooler_output
    assert_close(network.get_text_features(ids), expected_texts)
    assert_close(network.get_image_features(pixels), reference.get_image_features(pixels).pooler_output)
    assert_close(FusedSiglipTextTower(network)(ids), expected_texts)
    check_fused_images(folder, reference)


def check_fused_images(folder: Path, reference: Any) -> None:
    config = read_config(folder)
    assert config.vision is not None
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    preprocessing = Preprocessing.from_config(settings, "settings")
    size = config.vision.image_size
    pixels = np.random.default_rng(5).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    expected = reference.get_image_features(torch.from_numpy(preprocessing.normalize(pixels))).pooler_output
    scale, shift = pixel_scale_and_shift(preprocessing)
    cpu = torch.device("cpu")
    for dtype in (torch.float32, torch.int8):
        tower = FusedSiglipImageTower(load_ours(folder), scale, shift, device=cpu, dtype=dtype)
        found = tower(torch.from_numpy(pixels))
        if dtype is torch.float32:
            assert_close(found, expected)
        else:
            assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.99


def test_files_that_leave_out_what_is_usual_mean_the_published_sizes(tmp_path: Path) -> None:
    """As google/siglip-base-patch16-224's do."""
    sections: dict[str, Any] = {"text_config": {"model_type": "siglip_text_model"}, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", **sections}))
    config = read_config(tmp_path)
    from transformers import SiglipConfig

    published = SiglipConfig()
    for ours, theirs in ((config.vision, published.vision_config), (config.text, published.text_config)):
        assert ours is not None
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "layer_norm_eps", "hidden_act"):
            assert getattr(ours, name) == getattr(theirs, name)
    assert config.text is not None and (config.text.vocab_size, config.text.context_length) == (32000, 64)
    assert config.projection_dim == 768


def test_images_are_squashed_and_not_cropped(siglip_checkpoint: Path) -> None:
    """The files do not say `do_center_crop`, which CLIP's class has and SigLIP's has not."""
    from transformers import AutoImageProcessor

    model = clipcli.load(siglip_checkpoint, cache=False, exact_decode=True)
    image = Image.effect_noise((120, 47), 90).convert("RGB")
    expected = AutoImageProcessor.from_pretrained(siglip_checkpoint, use_fast=False)(image, return_tensors="np")
    ours = model.checkpoint.preprocessing.normalize(model.checkpoint.preprocessing.pixels(image)[None])
    np.testing.assert_allclose(ours, expected["pixel_values"], atol=1e-6)


def test_settings_that_leave_out_everything_are_those_of_the_class() -> None:
    from transformers import SiglipImageProcessorPil

    image = Image.effect_noise((300, 260), 90).convert("RGB")
    ours = Preprocessing.from_config({"image_processor_type": "SiglipImageProcessor"}, "settings")
    expected = SiglipImageProcessorPil()(image, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(ours.normalize(ours.pixels(image)[None]), expected, atol=1e-6)


def test_neighbours_and_order_do_not_move_a_text(folder: Path) -> None:
    texts = [*HARD, *(f"{i} cats" for i in range(40))]
    model = clipcli.load(folder, cache=False)
    together = model.encode_texts(texts)
    np.testing.assert_allclose(model.encode_texts(texts[::-1])[::-1], together, atol=1e-6)
    alone = clipcli.load(folder, cache=False).encode_texts(texts[4:5])
    np.testing.assert_allclose(alone, together[4:5], atol=1e-6)


def test_a_mask_or_another_length_is_refused(siglip_checkpoint: Path) -> None:
    network = load_ours(siglip_checkpoint)
    with pytest.raises(ValueError, match="padded to 20 tokens"):
        network.get_text_features(torch.zeros(1, 5, dtype=torch.long))
    ids = torch.zeros(1, CONTEXT, dtype=torch.long)
    with pytest.raises(ValueError, match="mask"):
        network.get_text_features(ids, torch.ones_like(ids))
