"""open_clip's towers of other libraries, stage by stage against what open_clip itself computes.

`tests/data/formats/make.py` wrote the checkpoints, the inputs (with padding within a text, too) and what is expected.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import clipcli
from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import PlainVisionConfig, PooledTextConfig
from clipcli.compute.numpy_backend.mapped import MappedWeights
from clipcli.compute.numpy_backend.text_encoder import NumpyTextEncoder
from clipcli.compute.torch_backend.text_encoder import TorchTextEncoder
from clipcli.errors import DamagedModelError, UnsupportedModelError, UsageError
from clipcli.foreign.convert import convert
from clipcli.networks.loading import load_network
from clipcli.text.tokenizer import load_tokenizer

DATA = Path(__file__).parent.parent / "data" / "formats"
TOKENIZERS = {"open_clip-xlm-roberta": "unigram-tokenizer", "open_clip-biomed": "chinese-tokenizer"}
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=TOKENIZERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("converted") / name
    convert(DATA / name, target, tokenizer=DATA / TOKENIZERS[name])
    return target


@pytest.fixture(scope="module")
def expected(name: str) -> dict[str, Tensor]:
    return load_file(DATA / f"{name}.expected.safetensors")


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


def text_config(folder: Path) -> PooledTextConfig:
    text = read_config(folder).text
    assert isinstance(text, PooledTextConfig)
    return text


@torch.inference_mode()
def test_states_and_pooled_states_of_texts(folder: Path, expected: dict[str, Tensor]) -> None:
    network = load_network(read_config(folder), [folder / "model.safetensors"])
    ids = expected["input_ids"]
    output = network._text_tower()(ids)
    real = ids != text_config(folder).pad_token_id
    assert_close(output.last_hidden_state[real], expected["text_states"][real])
    tower = network._text_tower()
    assert_close(output.pooler_output, tower.activation(tower.hidden_projection(expected["text_pooled"])))
    assert_close(network.text_projection(output.pooler_output), expected["text_features"])


@torch.inference_mode()
def test_states_of_a_plain_vit(folder: Path, expected: dict[str, Tensor]) -> None:
    network = load_network(read_config(folder), [folder / "model.safetensors"])
    output = network._image_tower()(expected["pixel_values"])
    if isinstance(network.config.vision, PlainVisionConfig):
        assert_close(network.vision_model.post_layernorm(output.last_hidden_state), expected["image_states"])
    assert_close(network.visual_projection(output.pooler_output), expected["image_features"])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_texts_in_batches_without_their_padding(folder: Path, expected: dict[str, Tensor], backend: str) -> None:
    config, weights = read_config(folder), [folder / "model.safetensors"]
    text, ids = text_config(folder), expected["input_ids"]
    lengths = (ids != text.pad_token_id).long() * torch.arange(1, ids.shape[1] + 1)
    sequences = [row[: int(length)].tolist() for row, length in zip(ids, lengths.max(dim=1).values, strict=True)]
    assert len(set(map(len, sequences))) > 2, "padding is cut, and what stands within a text stays"
    if backend == "numpy":
        ours = NumpyTextEncoder(text, config.projection_dim, MappedWeights.open(weights, config)).encode(sequences)
    else:
        ours = TorchTextEncoder(load_network(config, weights), text.pad_token_id).encode(sequences)
    theirs = torch.nn.functional.normalize(expected["text_features"], dim=-1)
    assert_close(torch.from_numpy(ours), theirs)


@torch.inference_mode()
def test_images_by_either_backend_one_and_many(folder: Path) -> None:
    generator = np.random.default_rng(1)
    images = [Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(9)]
    alone = clipcli.load(str(folder), cache=False)
    by_numpy = np.concatenate([alone.encode_images([image]) for image in images])
    together = clipcli.load(str(folder), cache=False)
    _ = together.encoders.image  # of any number of images: torch
    preprocessing = alone.checkpoint.preprocessing
    pixels = np.stack([preprocessing.normalize(preprocessing.pixels(image)[None])[0] for image in images])
    network = load_network(read_config(folder), [folder / "model.safetensors"])
    features = torch.nn.functional.normalize(network.get_image_features(torch.from_numpy(pixels)), dim=-1)
    np.testing.assert_allclose(by_numpy, features.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(together.encode_images(images), features.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("method", ["keys", "values", "parts"])
def test_places_can_be_explained(folder: Path, method: str) -> None:
    from clipcli.networks.located import located_features

    network = load_network(read_config(folder), [folder / "model.safetensors"])
    features = located_features(network, torch.randn(1, 3, 48, 32, generator=torch.Generator().manual_seed(1)), method)
    assert features.shape == (1, 3, 2, 16) and features.isfinite().all()


def test_texts_are_repaired_and_keep_their_case(folder: Path) -> None:
    from transformers import AutoTokenizer

    text = text_config(folder)
    tokenizer = load_tokenizer(folder, read_config(folder).family, context_length=text.context_length)
    reference = AutoTokenizer.from_pretrained(folder)
    untidy, tidy = "  Cat\u2019s &amp;amp;   猫犬\n", "Cat's & 猫犬"
    assert list(tokenizer.encode([untidy])[0].ids) == reference(tidy).input_ids != reference(untidy).input_ids
    long = "猫狗" * 300
    ids = reference(long, max_length=text.context_length, truncation=True).input_ids
    assert list(tokenizer.encode([long])[0].ids) == ids and len(ids) == text.context_length


def test_the_context_is_the_configs(folder: Path, name: str) -> None:
    assert text_config(folder).context_length == (77 if name == "open_clip-xlm-roberta" else 24)


def test_one_step_of_projection(name: str, tmp_path: Path, expected: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    source = tmp_path / "linear"
    source.mkdir()
    config = json.loads((DATA / name / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_proj_type"] = "linear"
    (source / "open_clip_config.json").write_text(json.dumps(config))
    tensors = load_file(DATA / name / "open_clip_model.safetensors")
    del tensors["text.proj.0.weight"], tensors["text.proj.2.weight"]
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    save_file({**tensors, "text.proj.weight": weight}, source / "open_clip_model.safetensors")
    convert(source, tmp_path / "hub", tokenizer=DATA / TOKENIZERS[name])
    network = load_network(read_config(tmp_path / "hub"), [tmp_path / "hub" / "model.safetensors"])
    with torch.inference_mode():
        assert_close(network.get_text_features(expected["input_ids"]), expected["text_pooled"] @ weight.T)


def test_without_its_config_nothing_says_how_texts_are_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "open_clip_model.safetensors"
    file.write_bytes((DATA / name / file.name).read_bytes())
    with pytest.raises(UsageError, match="read") as caught:
        convert(file, tmp_path / "hub", activation="gelu")
    assert "open_clip_config.json" in str(caught.value.hint)


def test_what_a_config_says_of_texts_is_checked(folder: Path) -> None:
    text = text_config(folder)
    with pytest.raises(UnsupportedModelError, match="'max'"):
        replace(text, pooling="max").check("config.json: text_config")
    with pytest.raises(DamagedModelError, match="context_length"):
        replace(text, context_length=text.max_length + 1).check("config.json: text_config")
