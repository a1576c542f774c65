import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.compute.numpy_backend.mapped import MappedWeights
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.foreign.state_dict import read_state_dict
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network, read_logits

Change = Callable[[dict[str, Tensor]], object]


@pytest.fixture
def folder(clip_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clip_checkpoint, tmp_path / "checkpoint")


def load(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


def change(folder: Path, edit: Change) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def test_only_the_tower_asked_for_is_built(folder: Path) -> None:
    network = load_network(read_config(folder), weight_files(folder), text=False)
    assert network.vision_model is not None
    assert network.text_model is None
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("logit_scale"), "logit_scale"),
        (lambda w: w.pop("text_projection.weight"), r"text_projection.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda w: w.update({"visual_projection.weight": torch.zeros(3, 5)}), r"visual_projection.weight .*\[3, 5\]"),
        (lambda w: (w.pop("logit_scale"), w.update(extra=torch.zeros(1))), "1 more"),
    ],
)
def test_a_mismatch_names_the_key(folder: Path, edit: Change, message: str) -> None:
    change(folder, edit)
    with pytest.raises(DamagedModelError, match=message):
        load_network(read_config(folder), weight_files(folder), text=False)


def test_position_ids_of_older_files_are_dropped(folder: Path) -> None:
    before = load(folder).state_dict()
    change(folder, lambda w: w.update({"text_model.embeddings.position_ids": torch.arange(77)[None]}))
    assert load(folder).state_dict().keys() == before.keys()


@pytest.mark.parametrize("keep", [0, 4, 200, -1000])
def test_truncated_safetensors(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        load(folder)


def test_a_header_that_claims_ten_gigabytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((10 * 2**30).to_bytes(8, "little") + b"{}")
    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        load(folder)


def test_bin_equals_safetensors(folder: Path) -> None:
    expected = load(folder).state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = load(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_bin_of_older_versions_equals_safetensors(folder: Path) -> None:
    expected = load(folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder / "model.safetensors").unlink()
    found = load(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("keep", [100, 3000, -100])
def test_truncated_bin_of_older_versions(folder: Path, keep: int) -> None:
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModelError, match=r"pytorch_model\.bin"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 200.0])
def test_a_logit_scale_that_is_not_a_number(folder: Path, value: float) -> None:
    change(folder, lambda w: w.update(logit_scale=torch.tensor(value)))
    for read in (lambda: read_logits(weight_files(folder)), lambda: load(folder)):
        with pytest.raises(DamagedModelError, match=rf"model\.safetensors: logit_scale.*{value}"):
            read()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_bias_that_is_not_a_number(folder: Path, value: float) -> None:
    change(folder, lambda w: w.update(logit_bias=torch.tensor([value])))
    with pytest.raises(DamagedModelError, match=rf"model\.safetensors: logit_bias.*{value}"):
        read_logits(weight_files(folder))


@pytest.mark.parametrize("prefix", ["model.", "clip.", "module.", "_orig_mod.", "module.model.", "model.module."])
def test_names_of_a_wrapped_network(folder: Path, prefix: str) -> None:
    expected, config = load(folder).state_dict(), read_config(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({prefix + name: tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    found = load(folder).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    mapped = MappedWeights.open(weight_files(folder), config)
    assert mapped["visual_projection.weight"].tolist() == expected["visual_projection.weight"].tolist()


def test_a_logit_scale_that_is_a_row_of_one(folder: Path) -> None:
    expected = read_logits(weight_files(folder))
    change(folder, lambda w: w.update(logit_scale=w["logit_scale"].reshape(1)))
    assert load(folder).logit_scale.shape == ()
    assert read_logits(weight_files(folder)) == expected
    assert MappedWeights.open(weight_files(folder), read_config(folder)).logits() == expected
    change(folder, lambda w: w.update(logit_scale=torch.ones(2)))
    with pytest.raises(DamagedModelError, match=r"logit_scale.*\[2\]"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_that_are_not_floats(folder: Path, dtype: torch.dtype) -> None:
    name = "visual_projection.weight"
    change(folder, lambda w: w.update({name: w[name].to(dtype)}))
    with pytest.raises(UnsupportedModelError, match=f"{name}.*{str(dtype)[6:]}"):
        load(folder)


def as_pickle(folder: Path, tensors: object) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save(tensors, path)
    (folder / "model.safetensors").unlink()
    return path


def test_complex_weights_in_a_pickle(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"] = weights["visual_projection.weight"].to(torch.complex64)
    as_pickle(folder, weights)
    with pytest.raises(UnsupportedModelError, match=r"visual_projection\.weight.*complex64"):
        load(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_small_file_that_claims_terabytes(folder: Path, zipped: bool) -> None:
    """Tensors whose strides are 0 repeat one number as often as their shape says."""
    path = folder / "pytorch_model.bin"
    many = torch.zeros(1).expand(2**20, 2**20)
    torch.save({"visual_projection.weight": many}, path, _use_new_zipfile_serialization=zipped)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModelError, match=r"pytorch_model\.bin.*[\d,]+"):
        load(folder)
    with pytest.raises(DamagedModelError, match=r"pytorch_model\.bin.*[\d,]+"):
        read_state_dict(path)


def test_an_archive_that_unpacks_to_gigabytes(folder: Path) -> None:
    path = as_pickle(folder, {"x": torch.zeros(1)})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pytorch_model/data/9", bytes(2**26))
    for read in (lambda: load(folder), lambda: read_state_dict(path)):
        with pytest.raises(DamagedModelError, match="claims"):
            read()


def test_tensors_without_data(folder: Path) -> None:
    as_pickle(folder, {"visual_projection.weight": torch.zeros(3, device="meta")})
    with pytest.raises(UnsupportedModelError, match=r"visual_projection\.weight"):
        load(folder)


class Intruder:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_no_code_in_a_pickle_is_run(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"logit_scale": Intruder(trace)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModelError, match="tensors"):
        load(folder)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1, 2])])
def test_damaged_bin(folder: Path, content: bytes) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedModelError, match=r"pytorch_model\.bin"):
        load(folder)


def test_loading_imports_nothing_that_only_fills_random_weights(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from clipcli.hub import weight_files
from clipcli.networks.loading import load_network
from clipcli.checkpoints.config import read_config
folder = Path({str(folder)!r})
load_network(read_config(folder), weight_files(folder))
sys.exit("sympy" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
