"""Weights of Flax and TensorFlow: damaged, hostile, or without the package that reads them."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
from PIL import Image

import clipcli
from clipcli.errors import ClipError, DamagedModelError, ModelNotFoundError, UnsupportedModelError
from clipcli.foreign.convert import convert
from clipcli.foreign.recognise import read_foreign

DATA = Path(__file__).parent.parent / "data" / "formats"
FILES = {"flax": "flax_model.msgpack", "tensorflow": "tf_model.h5"}


@pytest.fixture(params=FILES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / request.param, tmp_path / request.param))


@pytest.fixture
def flax(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "flax", tmp_path / "flax"))


@pytest.fixture
def tensorflow(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "tensorflow", tmp_path / "tensorflow"))


def array(shape: list[int], content: bytes, dtype: str = "float32", code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb((shape, dtype, content)))


def test_the_folder_says_the_rest(folder: Path) -> None:
    checkpoint = read_foreign(folder)
    assert checkpoint.family == "clip"
    assert checkpoint.config["vision_config"]["patch_size"] == 16
    assert checkpoint.preprocessing["crop_size"] == {"height": 32, "width": 32}
    assert checkpoint.tensors["logit_scale"].shape == ()
    assert checkpoint.tensors["vision_model.embeddings.patch_embedding.weight"].shape == (32, 3, 16, 16)
    assert checkpoint.tensors["vision_model.encoder.layers.1.mlp.fc1.weight"].shape == (48, 32)


@pytest.mark.parametrize(("package", "extra"), [("msgpack", "flax"), ("h5py", "tf")])
def test_the_package_is_named_where_it_is_missing(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedModelError, match=f"{package}") as caught:
        read_foreign(DATA / {"flax": "flax", "tf": "tensorflow"}[extra])
    assert f"clipcli[{extra}]" in str(caught.value.hint)


def test_files_that_are_cut_off_or_changed_never_crash(folder: Path) -> None:
    path = folder / FILES[folder.name]
    content = path.read_bytes()
    for i, place in enumerate(np.random.default_rng(0).integers(0, 9000, 60).tolist()):
        damaged = bytearray(content[: place * 20] if i % 3 == 0 else content)
        if i % 3:
            damaged[place] ^= 1 << (i % 8)
        path.write_bytes(damaged)
        try:
            read_foreign(folder)
        except ClipError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"x": array([2], bytes(4))}, "an array of 4 bytes that claims"),
        ({"x": array([2**40], bytes(4))}, "an array of 4 bytes that claims"),
        ({"x": array([4], bytes(4), "object")}, "claims"),
        ({"x": array([1], bytes(4), code=3)}, "an extension of type 3"),
        ({"x": {"y": "text"}}, "x/y"),
        (array([1], bytes(4)), "a map of arrays is expected"),
        ([1, 2], "list"),
    ],
)
def test_bad_flax(tree: Any, message: str, flax: Path) -> None:
    (flax / "flax_model.msgpack").write_bytes(msgpack.packb(tree))
    with pytest.raises(DamagedModelError, match=message):
        read_foreign(flax)


def test_flax_in_half_precision(flax: Path) -> None:
    tree = {"logit_scale": array([1], b"\x80\x3f", "bfloat16")}
    (flax / "flax_model.msgpack").write_bytes(msgpack.packb(tree))
    assert float(read_foreign(flax).tensors["logit_scale"]) == 1


def write_external(file: h5py.File) -> None:
    file.create_dataset("clip/logit_scale:0", (4,), "float32", external=[("/etc/passwd", 0, 16)])


def write_compressed(file: h5py.File) -> None:
    file.create_dataset("clip/logit_scale:0", (2**20,), "float32", data=np.zeros(2**20), compression="gzip")


def write_unallocated(file: h5py.File) -> None:
    file.create_dataset("clip/logit_scale:0", (2**40,), "float32")


@pytest.mark.parametrize("write", [write_external, write_compressed, write_unallocated])
def test_numbers_that_are_not_in_the_file(write: Callable[[h5py.File], None], tensorflow: Path) -> None:
    (tensorflow / "tf_model.h5").unlink()
    with h5py.File(tensorflow / "tf_model.h5", "w") as file:
        write(file)
    with pytest.raises(DamagedModelError, match="clip/logit_scale:0"):
        read_foreign(tensorflow)


def test_another_model_of_tensorflow(tensorflow: Path) -> None:
    (tensorflow / "tf_model.h5").unlink()
    with h5py.File(tensorflow / "tf_model.h5", "w") as file:
        file.create_dataset("bert/pooler/kernel:0", data=np.zeros(3, "float32"))
    with pytest.raises(DamagedModelError, match="CLIP"):
        read_foreign(tensorflow)


def test_preprocessing_in_the_newer_file(flax: Path) -> None:
    older = flax / "preprocessor_config.json"
    settings = json.loads(older.read_text())
    older.unlink()
    (flax / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    assert read_foreign(flax).preprocessing == settings


def test_newer_weights_go_first(flax: Path) -> None:
    (flax / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(UnsupportedModelError, match=r"pytorch_model\.bin"):
        read_foreign(flax)


DEFAULT_VOCABULARY = 49408


def at_the_default_vocabulary(folder: Path) -> Path:
    """Files that the framework's own class wrote, their token table as tall as `CLIPConfig` has it by default.

    `transformers` leaves such a value out of `config.json`, and then the ids of its special tokens, too.
    """
    path = folder / FILES[folder.name]
    if folder.name == "flax":
        tree = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
        parent = tree["text_model"]["embeddings"]["token_embedding"]
        shape, _, content = msgpack.unpackb(parent["embedding"].data)
        table = np.frombuffer(content, np.float32).reshape(shape)
        table = np.resize(table, (DEFAULT_VOCABULARY, shape[1]))
        parent["embedding"] = array([*table.shape], table.tobytes())
        path.write_bytes(msgpack.packb(tree))
    else:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name = next(name for name in names if "token_embedding" in name and isinstance(file[name], h5py.Dataset))
            table = np.resize(file[name][()], (DEFAULT_VOCABULARY, file[name].shape[1]))
            del file[name]
            file.create_dataset(name, data=table)
    config = json.loads((folder / "config.json").read_text())
    for key in ("vocab_size", "bos_token_id", "eos_token_id"):
        del config["text_config"][key]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_vocabulary(path: Path) -> None:
    """A list of merges as OpenAI's package carries it, long enough for the default vocabulary."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pairs = [f"{a} {b}" for a in letters for b in letters]
    triples = [f"{a}{b} {c}" for a in letters for b in letters for c in letters]
    rest = [f"{a}{b}{c} {d}" for a in letters[:3] for b in letters for c in letters for d in letters]
    merges = [*pairs, *triples, *rest][: DEFAULT_VOCABULARY - 514]
    path.write_bytes(gzip.compress("\n".join(["#version: 0.2", *merges, ""]).encode(), 1, mtime=0))


def test_the_default_vocabulary(folder: Path, tmp_path: Path) -> None:
    at_the_default_vocabulary(folder)
    with pytest.raises(ModelNotFoundError, match="49408"):
        convert(folder, tmp_path / "none")
    write_vocabulary(tmp_path / "merges.gz")
    convert(folder, tmp_path / "converted", tokenizer=tmp_path / "merges.gz")
    model = clipcli.load(str(tmp_path / "converted"), cache=False)
    assert model.checkpoint.text_tower.vocab_size == DEFAULT_VOCABULARY
    assert np.isfinite(model.encode_texts(["a cat"])).all()


def test_a_family_without_a_published_tokenizer_of_this_kind(flax: Path, tmp_path: Path) -> None:
    path = flax / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model_type": "metaclip_2"}))
    with pytest.raises(ModelNotFoundError):
        convert(flax, tmp_path / "converted")


def test_an_image_tower_alone_needs_no_tokenizer(flax: Path, tmp_path: Path) -> None:
    config = json.loads((flax / "config.json").read_text())
    vision = {**config["vision_config"], "architectures": ["CLIPVisionModel"]}
    (flax / "config.json").write_text(json.dumps(vision))
    path = flax / "flax_model.msgpack"
    tree = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
    path.write_bytes(msgpack.packb({"vision_model": tree["vision_model"]}))
    convert(flax, tmp_path / "converted")
    model = clipcli.load(str(tmp_path / "converted"), cache=False)
    assert model.encode_images([Image.new("RGB", (40, 40))]).shape == (1, 32)


def test_a_text_tower_alone_needs_no_image_processor(flax: Path, tmp_path: Path) -> None:
    config = json.loads((flax / "config.json").read_text())
    (flax / "config.json").write_text(json.dumps({**config["text_config"], "architectures": ["CLIPTextModel"]}))
    (flax / "preprocessor_config.json").unlink()
    path = flax / "flax_model.msgpack"
    tree = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
    path.write_bytes(msgpack.packb({"text_model": tree["text_model"]}))
    convert(flax, tmp_path / "converted", tokenizer=DATA / "clip-tokenizer")
    assert clipcli.load(str(tmp_path / "converted"), cache=False).encode_texts(["a cat"]).shape == (1, 32)
