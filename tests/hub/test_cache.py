import json
from pathlib import Path

import pytest

from clipcli.errors import DamagedModelError
from clipcli.hub import missing_files, weight_files
from tests.helpers.folders import write
from tests.hub.conftest import checkpoint_files


def without(*names: str) -> dict[str, bytes]:
    return {name: content for name, content in checkpoint_files().items() if name not in names}


def index(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"weight.{i}": name for i, name in enumerate(names)}}).encode()


def test_safetensors_go_before_bin(tmp_path: Path) -> None:
    assert weight_files(write(tmp_path, checkpoint_files())) == (tmp_path / "model.safetensors",)


def test_bin_alone(tmp_path: Path) -> None:
    assert weight_files(write(tmp_path, without("model.safetensors"))) == (tmp_path / "pytorch_model.bin",)


def test_shards_in_name_order_each_once(tmp_path: Path) -> None:
    files = {"b.safetensors": b"b", "a.safetensors": b"a"}
    shards = index("b.safetensors", "a.safetensors", "b.safetensors")
    write(tmp_path, {**without("model.safetensors"), **files, "model.safetensors.index.json": shards})

    assert weight_files(tmp_path) == (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert missing_files(tmp_path) == ()


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {**without("model.safetensors"), "model.safetensors.index.json": index("a.safetensors")})

    assert missing_files(tmp_path) == ("a.safetensors",)
    with pytest.raises(DamagedModelError, match=r"a\.safetensors.*model\.safetensors\.index\.json"):
        weight_files(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"weight_map": {}}', index("../../etc/passwd")])
def test_an_index_that_lies(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, {**without("model.safetensors"), "model.safetensors.index.json": content})

    assert missing_files(tmp_path) == ("model.safetensors.index.json",)
    with pytest.raises(DamagedModelError, match=r"model\.safetensors\.index\.json"):
        weight_files(tmp_path)


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match="weights"):
        weight_files(write(tmp_path, {"config.json": b"{}"}))


@pytest.mark.parametrize(
    ("architecture", "missing"),
    [
        ("CLIPModel", ("preprocessor_config.json", "tokenizer.json")),
        ("CLIPVisionModelWithProjection", ("preprocessor_config.json",)),
        ("CLIPForImageClassification", ("preprocessor_config.json",)),
        ("CLIPTextModelWithProjection", ("tokenizer.json",)),
    ],
)
def test_one_tower_needs_nothing_for_the_other(tmp_path: Path, architecture: str, missing: tuple[str, ...]) -> None:
    config = json.dumps({"model_type": "clip", "architectures": [architecture]}).encode()

    assert missing_files(write(tmp_path, {"config.json": config, "model.safetensors": b"weights"})) == missing


def test_preprocessing_in_the_newer_file(tmp_path: Path) -> None:
    write(tmp_path, {**without("preprocessor_config.json"), "processor_config.json": b'{"image_processor": {}}'})

    assert missing_files(tmp_path) == ()


@pytest.mark.parametrize("content", [b"{}", b'{"image_processor": null}', b"{"])
def test_a_newer_file_that_says_nothing_of_images(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, {**without("preprocessor_config.json"), "processor_config.json": content})

    assert missing_files(tmp_path) == ("preprocessor_config.json",)


@pytest.mark.parametrize("names", [("tokenizer.json",), ("vocab.txt",), ("sentencepiece.bpe.model",)])
def test_every_kind_of_tokenizer_counts(tmp_path: Path, names: tuple[str, ...]) -> None:
    write(tmp_path, {**without("vocab.json"), **dict.fromkeys(names, b"{}")})

    assert missing_files(tmp_path) == ()


def test_half_a_tokenizer_does_not(tmp_path: Path) -> None:
    assert missing_files(write(tmp_path, without("merges.txt"))) == ("tokenizer.json",)
