"""Models in formats that are not read: one sentence that says what it is, and one what to do."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import clipcli
from clipcli.checkpoints.open_clip import read_settings
from clipcli.errors import DamagedModelError, ModelError, UnsupportedModelError
from clipcli.foreign.recognise import read_foreign
from clipcli.foreign.resolve import resolve_model
from clipcli.hub.remote import Listing, RemoteFile, needed_files

DATA = Path(__file__).parent.parent / "data" / "formats"


@pytest.fixture
def folder(clip_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip_checkpoint, tmp_path / "checkpoint"))


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def onnx(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.onnx")


def gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "clip-vit.gguf")


def sharded_flax(folder: Path) -> None:
    (folder / "flax_model.msgpack.index.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "flax_model-00001-of-00002.msgpack")


def sharded_tensorflow(folder: Path) -> None:
    (folder / "tf_model.h5.index.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "tf_model-00001-of-00002.h5")


def tensorflow_in_safetensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = {f"clip/{name.replace('.', '/')}:0": tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "tf"})


def several_variants(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model.fp16.safetensors")
    (folder / "model.safetensors").rename(folder / "model.non_ema.safetensors")


OTHERS = [
    (adapter, "PEFT"),
    (onnx, "ONNX"),
    (gguf, "GGUF"),
    (sharded_flax, "Flax"),
    (sharded_tensorflow, "Flax"),
    (tensorflow_in_safetensors, r"clip/.*:0"),
    (several_variants, r"model\.fp16\.safetensors, model\.non_ema\.safetensors"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_folder_in_another_format(change: Callable[[Path], None], message: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        clipcli.load(str(folder)).encode_texts(["a cat"])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_model.safetensors", b"", "PEFT adapter"),
        ("clip.gguf", b"GGUF\3\0\0\0", "GGUF"),
        ("clip.bin", b"GGUF\3\0\0\0", "GGUF"),
        ("model.onnx", b"\x08\x08", "ONNX"),
    ],
)
def test_a_file_in_another_format(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=message):
        resolve_model(str(tmp_path / name))


@pytest.mark.parametrize("variant", ["fp16", "fp32", "non_ema"])
@pytest.mark.parametrize("pickled", [False, True])
def test_the_only_variant_is_used(variant: str, pickled: bool, folder: Path) -> None:
    expected = clipcli.load(str(folder)).encode_texts(["a cat"])
    whole = folder / "model.safetensors"
    if pickled:
        torch.save(load_file(whole), folder / f"pytorch_model.{variant}.bin")
        whole.unlink()
    else:
        whole.rename(folder / f"model.{variant}.safetensors")
    np.testing.assert_allclose(clipcli.load(str(folder)).encode_texts(["a cat"]), expected, atol=1e-6)


def test_shards_of_a_variant(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for i in range(2):
        shard = {name: weights[name] for name in names[i::2]}
        save_file(shard, folder / f"model.fp16-0000{i + 1}-of-00002.safetensors", {"format": "pt"})
    weight_map = {name: f"model.fp16-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.fp16.json").write_text(json.dumps({"weight_map": weight_map}))
    assert clipcli.load(str(folder)).encode_texts(["a cat"]).shape == (1, 16)


def listing(*names: str) -> Listing:
    return Listing("a/b", "0" * 40, tuple(RemoteFile(name, 1, "0" * 40, False) for name in names))


def test_a_repository_with_one_variant() -> None:
    found = needed_files(listing("config.json", "model.fp16.safetensors", "vocab.json"))
    assert [file.name for file in found] == ["config.json", "vocab.json", "model.fp16.safetensors"]
    with pytest.raises(UnsupportedModelError, match=r"only model\.fp16\.safetensors, model\.fp32\.safetensors"):
        needed_files(listing("config.json", "model.fp16.safetensors", "model.fp32.safetensors"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["adapter_config.json", "adapter_model.safetensors"], "PEFT"),
        (["config.json", "onnx/model.onnx"], "ONNX"),
        (["config.json", "clip.gguf"], "GGUF"),
        (["config.json", "tf_model.h5.index.json"], "files"),
        (["modules.json", "0_CLIPModel/config.json", "0_CLIPModel/onnx/model.onnx"], "ONNX"),
        (["modules.json", "0_Transformer/config.json", "model.safetensors"], "neither config"),
        (["config.json", "tf_model.h5"], r"only tf_model\.h5"),
    ],
)
def test_a_repository_in_another_format(names: list[str], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        needed_files(listing(*names))


def test_the_root_of_sentence_transformers(clip_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_checkpoint, tmp_path / "0_CLIPModel")
    (tmp_path / "modules.json").write_text("[]")
    expected = clipcli.load(str(clip_checkpoint)).encode_texts(["a cat"])
    assert clipcli.load(str(tmp_path)).encode_texts(["a cat"]).tolist() == expected.tolist()


@pytest.fixture
def open_clip(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "open_clip", tmp_path / "open_clip"))


def configure(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config["model_cfg"])
    path.write_text(json.dumps(config))
    return path


def test_the_config_counts_before_the_tensors(open_clip: Path) -> None:
    """A network of timm has names that no rule knows; which network it is says more."""
    save_file({"visual.trunk.stem.weight": torch.zeros(1)}, open_clip / "open_clip_model.safetensors")
    configure(open_clip, lambda model: model["vision_cfg"].update(timm_model_name="fastvit_mci2"))
    with pytest.raises(UnsupportedModelError, match=r"timm_model_name.*'fastvit_mci2'"):
        read_foreign(open_clip)


def test_sizes_that_are_not_square(open_clip: Path) -> None:
    path = configure(open_clip, lambda model: model["vision_cfg"].update(image_size=[32, 32]))
    assert read_settings(path).image_size == 32
    configure(open_clip, lambda model: model["vision_cfg"].update(image_size=[32, 48]))
    with pytest.raises(UnsupportedModelError, match=r"image_size.*32.*48"):
        read_settings(path)
    configure(open_clip, lambda model: model["vision_cfg"].update(image_size=[32]))
    with pytest.raises(ModelError):
        read_settings(path)


@pytest.mark.parametrize("usual", [{}, None, {"clean": "lower"}, {"context_length": 16}, {"reduction_mask": ""}])
def test_settings_of_the_tokenizer_that_change_nothing(usual: Any, open_clip: Path) -> None:
    read_settings(configure(open_clip, lambda model: model["text_cfg"].update(tokenizer_kwargs=usual)))


@pytest.mark.parametrize(
    "unusual",
    [{"clean": "canonicalize"}, {"context_length": 8}, {"reduction_mask": "syntax"}, {"strip_sep_token": True}],
)
def test_settings_of_the_tokenizer_that_change_ids(unusual: dict[str, object], open_clip: Path) -> None:
    path = configure(open_clip, lambda model: model["text_cfg"].update(tokenizer_kwargs=unusual))
    with pytest.raises(UnsupportedModelError, match="tokenizer_kwargs: "):
        read_settings(path)


@pytest.mark.parametrize("prefix", ["model.", "clip.", "module.", "module.model."])
def test_names_of_a_wrapped_network(prefix: str, open_clip: Path) -> None:
    expected = read_foreign(open_clip).tensors
    path = open_clip / "open_clip_model.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(path).items()}, path)
    found = read_foreign(open_clip).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_an_empty_file_of_terabytes_is_not_hashed(name: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / name).open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(DamagedModelError, match=f"{re.escape(name)}"):
        clipcli.load(str(folder)).encode_texts(["a cat"])
