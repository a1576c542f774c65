import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.errors import DamagedModelError
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
        (lambda w: w.pop("logit_scale"), "logit_scale is missing"),
        (lambda w: w.pop("text_projection.weight"), "text_projection.weight is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda w: w.update({"visual_projection.weight": torch.zeros(3, 5)}), r"visual_projection.weight .*\[3, 5\]"),
        (lambda w: (w.pop("logit_scale"), w.update(extra=torch.zeros(1))), "and 1 more"),
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
    with pytest.raises(DamagedModelError, match=r"model\.safetensors cannot be read"):
        load(folder)


def test_a_header_that_claims_ten_gigabytes(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((10 * 2**30).to_bytes(8, "little") + b"{}")
    with pytest.raises(DamagedModelError, match=r"model\.safetensors cannot be read"):
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
def test_a_logit_scale_that_is_no_number(folder: Path, value: float) -> None:
    change(folder, lambda w: w.update(logit_scale=torch.tensor(value)))
    for read in (lambda: read_logits(weight_files(folder)), lambda: load(folder)):
        with pytest.raises(DamagedModelError, match=rf"model\.safetensors: logit_scale is {value}"):
            read()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_bias_that_is_no_number(folder: Path, value: float) -> None:
    change(folder, lambda w: w.update(logit_bias=torch.tensor([value])))
    with pytest.raises(DamagedModelError, match=rf"model\.safetensors: logit_bias is {value}"):
        read_logits(weight_files(folder))


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
    with pytest.raises(DamagedModelError, match="tensors only"):
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
