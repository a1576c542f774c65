"""Chinese-CLIP and AltCLIP where they differ from CLIP, against `transformers`, from words to features."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import BertTextConfig, XlmRobertaTextConfig
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.text.tokenizer import TextTokenizer, load_tokenizer
from tests.helpers.checkpoints import WRITERS, write_altclip, write_chinese_clip

FAMILIES = ("chinese_clip", "altclip")
TOLERANCE = 1e-5

TEXTS = [
    "一张猫的照片",
    "",
    "a photo of a cat",
    "两只狗在草地上 with a CAT",
    "猫" * 200,
    "ＡＢＣ　ｃａｔ　１２３！",
    "👨‍👩‍👧‍👦 🙂 皮卡丘",
    "cafe\u0301 café",
    "。",
]


def load_ours(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


def load_reference(folder: Path, **options: Any) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, **options).eval()


def tokenizer_of(folder: Path) -> TextTokenizer:
    config = read_config(folder)
    assert config.text is not None
    return load_tokenizer(folder, config.family, context_length=config.text.context_length)


def pad(tokenizer: TextTokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, padded on the right to the longest text."""
    rows = [encoding.ids for encoding in tokenizer.encode(texts)]
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[tokenizer.pad_token_id] * (length - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest) -> Path:
    path = request.getfixturevalue(f"{request.param}_checkpoint")
    assert isinstance(path, Path)
    return path


@torch.inference_mode()
def test_texts_of_mixed_lengths_and_scripts(folder: Path) -> None:
    tokenizer = tokenizer_of(folder)
    ids, mask = pad(tokenizer, TEXTS)
    assert ids.shape[1] == tokenizer.context_length
    assert ids[4, -1] == ids[1, 1], "the text of 200 characters keeps its final token"
    assert mask[1].sum() == 2
    from transformers import AutoTokenizer

    reference = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, truncation=True, max_length=tokenizer.context_length, return_tensors="pt"
    )
    assert torch.equal(ids, reference.input_ids)
    assert torch.equal(mask, reference.attention_mask)
    theirs = load_reference(folder).get_text_features(**reference).pooler_output
    assert_close(load_ours(folder).get_text_features(ids, mask), theirs)


@torch.inference_mode()
def test_the_batch_does_not_move_a_text(folder: Path) -> None:
    network, tokenizer = load_ours(folder), tokenizer_of(folder)
    together = network.get_text_features(*pad(tokenizer, TEXTS))
    alone = torch.cat([network.get_text_features(*pad(tokenizer, [text])) for text in TEXTS])
    assert_close(together, alone)
    backwards = network.get_text_features(*pad(tokenizer, TEXTS[::-1])).flip(0)
    assert_close(backwards, alone)


@torch.inference_mode()
def test_a_mask_of_ones_is_not_a_mask(folder: Path) -> None:
    network, tokenizer = load_ours(folder), tokenizer_of(folder)
    ids, mask = pad(tokenizer, TEXTS[2:3])
    assert_close(network.get_text_features(ids), network.get_text_features(ids, mask))


@torch.inference_mode()
def test_states_of_the_text_tower(folder: Path) -> None:
    network, reference = load_ours(folder), load_reference(folder)
    ids, mask = pad(tokenizer_of(folder), TEXTS)
    ours = network._text_tower()(ids, mask, output_hidden_states=True)
    theirs = reference.text_model(ids, mask, output_hidden_states=True)
    real = mask.bool()  # states at padding mean nothing
    assert_close(ours.last_hidden_state[real], theirs.last_hidden_state[real])
    assert_close(ours.pooler_output, theirs.last_hidden_state[:, 0])
    for mine, reference_state in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert_close(mine[real], reference_state[real])


@torch.inference_mode()
def test_a_text_sees_what_follows_and_where_it_stands(folder: Path) -> None:
    """Fails for causal attention, and for a tower that leaves positions out."""
    network, tokenizer = load_ours(folder), tokenizer_of(folder)
    cat_dog, dog_cat, cat = network.get_text_features(*pad(tokenizer, ["cat dog", "dog cat", "cat"]))
    assert (cat_dog - dog_cat).abs().max() > 1e-3
    assert (cat_dog - cat).abs().max() > 1e-3


@torch.inference_mode()
def test_padding_tokens_inside_an_altclip_text_keep_the_padding_position(altclip_checkpoint: Path) -> None:
    network, reference = load_ours(altclip_checkpoint), load_reference(altclip_checkpoint)
    ids, mask = pad(tokenizer_of(altclip_checkpoint), ["a <pad> cat <pad><pad> 狗", "dog"])
    assert (ids[0] == 1).any() and mask[0].all()
    assert_close(network.get_text_features(ids, mask), reference.get_text_features(ids, mask).pooler_output)


VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "chinese gelu_new": ("chinese_clip", {}, {"hidden_act": "gelu_new"}),
    "chinese eps": ("chinese_clip", {"layer_norm_eps": 1e-2}, {"layer_norm_eps": 3e-2}),
    "chinese shape": ("chinese_clip", {"num_hidden_layers": 1}, {"num_hidden_layers": 3, "num_attention_heads": 2}),
    "chinese types": ("chinese_clip", {"hidden_act": "gelu"}, {"type_vocab_size": 5, "max_position_embeddings": 40}),
    "altclip project_dim": ("altclip", {}, {"project_dim": 32}),
    "altclip eps": ("altclip", {}, {"layer_norm_eps": 3e-2}),
    "altclip padding id": ("altclip", {}, {"pad_token_id": 3}),
    "altclip shape": ("altclip", {"patch_size": 16}, {"hidden_size": 48, "num_hidden_layers": 1, "hidden_act": "relu"}),
}


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_what_the_config_says_is_what_runs(name: str, tmp_path: Path) -> None:
    family, vision, text = VARIANTS[name]
    folder = WRITERS[family](tmp_path, vision=vision, text=text)
    network, reference = load_ours(folder), load_reference(folder)
    ids, mask = pad(tokenizer_of(folder), TEXTS)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    theirs = reference(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits_per_image
    assert_close(network(ids, pixels, mask).logits_per_image, theirs)


@torch.inference_mode()
def test_another_eps_or_activation_would_show(tmp_path: Path) -> None:
    features = []
    for i, text in enumerate(({}, {"hidden_act": "gelu_new"}, {"layer_norm_eps": 1e-3})):
        folder = write_chinese_clip(tmp_path / str(i), text=text)
        features.append(load_ours(folder).get_text_features(*pad(tokenizer_of(folder), TEXTS)))
    assert (features[0] - features[1]).abs().max() > 10 * TOLERANCE
    assert (features[0] - features[2]).abs().max() > 10 * TOLERANCE


SPELLINGS = [
    "without model_type",
    "older dict beside an empty section",
    "older dict alone",
    "contradicted by older dict",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", SPELLINGS)
@torch.inference_mode()
def test_spellings_of_the_config(family: str, spelling: str, tmp_path: Path) -> None:
    folder = WRITERS[family](tmp_path)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name in ("text_config", "vision_config"):
        section = config.pop(name)
        if spelling == "without model_type":
            config[name] = {key: value for key, value in section.items() if key != "model_type"}
            continue
        config[f"{name}_dict"] = section
        if spelling == "older dict beside an empty section":
            config[name] = {}
        if spelling == "contradicted by older dict":
            config[name] = {**section, "hidden_act": "relu", "layer_norm_eps": 0.5}
    path.write_text(json.dumps(config))
    network, reference = load_ours(folder), load_reference(folder)
    ids, mask = pad(tokenizer_of(folder), TEXTS[:4])
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    theirs = reference(input_ids=ids, attention_mask=mask, pixel_values=pixels).logits_per_image
    assert_close(network(ids, pixels, mask).logits_per_image, theirs)


def test_absent_keys_take_the_defaults_of_the_reference(tmp_path: Path) -> None:
    from transformers import AltCLIPTextConfig, ChineseCLIPTextConfig

    for family, ours, theirs in (
        ("chinese_clip", BertTextConfig(), ChineseCLIPTextConfig()),
        ("altclip", XlmRobertaTextConfig(), AltCLIPTextConfig()),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        assert read_config(tmp_path).text == ours
        for name in type(ours).__dataclass_fields__:
            assert getattr(ours, name) == getattr(theirs, name), (family, name)


def test_context_length_never_exceeds_the_positions() -> None:
    assert BertTextConfig().context_length == 52
    assert BertTextConfig(max_position_embeddings=40).context_length == 40
    assert XlmRobertaTextConfig().context_length == 77
    assert XlmRobertaTextConfig(max_position_embeddings=40).context_length == 38


@torch.inference_mode()
def test_more_tokens_than_positions(tmp_path: Path) -> None:
    network = load_ours(write_altclip(tmp_path, text={"max_position_embeddings": 20}))
    network.get_text_features(torch.full((1, 18), 5))
    with pytest.raises(ValueError, match=r"19.*18"):
        network.get_text_features(torch.full((1, 19), 5))


@torch.inference_mode()
def test_leftovers_of_older_files_are_dropped(tmp_path: Path) -> None:
    folder = write_chinese_clip(tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    ids, mask = pad(tokenizer_of(folder), TEXTS)
    before = load_ours(folder).get_text_features(ids, mask)
    tensors["text_model.embeddings.position_ids"] = torch.arange(64)[None]
    tensors["text_model.pooler.dense.weight"] = torch.ones(32, 32)
    tensors["text_model.pooler.dense.bias"] = torch.ones(32)
    save_file(tensors, path)
    assert torch.equal(load_ours(folder).get_text_features(ids, mask), before)


def test_the_text_tower_loads_alone(folder: Path) -> None:
    network = load_network(read_config(folder), weight_files(folder), image=False)
    assert network.vision_model is None
    assert not any(name.startswith("visual") for name in network.state_dict())
