"""Weights of Flax and TensorFlow: damaged, hostile, or without the package that reads them."""

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

from clipcli.errors import ClipError, DamagedModelError, UnsupportedModelError
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
    with pytest.raises(UnsupportedModelError, match=f"needs the optional package {package}") as caught:
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
        ({"x": array([4], bytes(4), "object")}, "claims to be object"),
        ({"x": array([1], bytes(4), code=3)}, "an extension of type 3"),
        ({"x": {"y": "text"}}, "x/y is a str"),
        (array([1], bytes(4)), "a map of arrays is expected"),
        ([1, 2], "is a list"),
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
    with pytest.raises(DamagedModelError, match=r"the numbers of clip/logit_scale:0 are not in the file"):
        read_foreign(tensorflow)


def test_another_model_of_tensorflow(tensorflow: Path) -> None:
    (tensorflow / "tf_model.h5").unlink()
    with h5py.File(tensorflow / "tf_model.h5", "w") as file:
        file.create_dataset("bert/pooler/kernel:0", data=np.zeros(3, "float32"))
    with pytest.raises(DamagedModelError, match="is of no part of a CLIP"):
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
