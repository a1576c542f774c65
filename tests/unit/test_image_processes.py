"""`--device cuda:all`, with the CPU standing in for every GPU."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clipcli
from clipcli.errors import DamagedModelError, DeviceError
from clipcli.runtime.engine import Model
from clipcli.runtime.image_processes import ImageProcesses

CPU = torch.device("cpu")


def load_twice(checkpoint: Path, device: torch.device = CPU) -> Model:
    model = clipcli.load(str(checkpoint), device=str(device), batch_size=3, workers=2, cache=False)
    model.devices = (device, device)
    return model


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(20):
        Image.new("RGB", (40, 40), (12 * i, 0, 255 - 12 * i)).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


def test_two_processes_give_the_features_of_one_in_input_order(clip_checkpoint: Path, paths: list[Path]) -> None:
    model, alone = load_twice(clip_checkpoint), clipcli.load(str(clip_checkpoint), batch_size=3, cache=False)
    np.testing.assert_allclose(model.encode_images(paths), alone.encode_images(paths), atol=1e-6)
    assert isinstance(model.image_encoder, ImageProcesses)
    assert (model.image_encoder.concurrency, model.image_encoder.batch_size) == (2, 3)
    assert (model.placement.device, model.placement.numerics) == ("cpu:all", "cpu float32")


def test_an_error_in_a_process_is_the_users(clip_checkpoint: Path, paths: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(clip_checkpoint, tmp_path / "checkpoint")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        load_twice(folder).encode_images(paths)


def test_a_process_that_dies_is_an_error_now_and_later(clip_checkpoint: Path) -> None:
    encoder = load_twice(clip_checkpoint).image_encoder
    assert isinstance(encoder, ImageProcesses)
    for _ in range(2):
        process = encoder._free.get()
        process._process.kill()
        encoder._free.put(process)
    for _ in range(3):
        with pytest.raises(DeviceError, match=f"the process for cpu ended early, with status -{signal.SIGKILL:d}"):
            encoder.encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint))
    encoder = ImageProcesses(model.files, [model.options])
    process = encoder._free.get()
    process._is_asked = True  # as Ctrl-C leaves it in a notebook
    encoder._free.put(process)
    with pytest.raises(DeviceError, match="ended early"):
        encoder.encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_batches_shrink_to_what_a_device_turned_out_to_hold(
    clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Smaller:
        def __init__(self, files: object, options: object) -> None:
            self.receive = lambda: 64

        def ask(self, request: tuple[np.ndarray, bool]) -> tuple[np.ndarray, int]:
            return request[0][:, 0, 0], 16

    monkeypatch.setattr("clipcli.runtime.image_processes._Process", Smaller)
    model = clipcli.load(str(clip_checkpoint))
    encoder = ImageProcesses(model.files, [model.options] * 3)
    assert encoder.batch_size == 64
    encoder.encode(np.zeros((64, 1, 1, 3), np.uint8))
    assert encoder.batch_size == 16


@pytest.mark.gpu
def test_two_processes_with_a_gpu_give_the_features_of_one(clip_checkpoint: Path, paths: list[Path]) -> None:
    gpu = torch.device("cuda:0")
    alone = clipcli.load(str(clip_checkpoint), device="cuda", cache=False)
    cosines = (load_twice(clip_checkpoint, gpu).encode_images(paths) * alone.encode_images(paths)).sum(axis=1)
    assert cosines.min() > 0.9999
