"""`--device cuda:all`, with the CPU standing in for every GPU."""

import os
import pickle
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clipcli
from clipcli.api.model import Model
from clipcli.compute.devices import Placement
from clipcli.compute.image_processes import ImageProcesses, _Process, _serve
from clipcli.errors import DamagedModelError, DeviceError
from tests.helpers.encoders import Means, Shrinking

CPU = torch.device("cpu")
IMAGE = np.zeros((1, 32, 32, 3), np.uint8)


def load_twice(checkpoint: Path, device: torch.device = CPU) -> Model:
    model = clipcli.load(str(checkpoint), device=str(device), batch_size=3, workers=2, cache=False)
    model.encoders.devices = (device, device)
    model.encoders.placement = Placement(f"{device.type}:all", "float32")
    return model


def processes_of(encoder: ImageProcesses) -> list[_Process]:
    places = [encoder._free.get() for _ in range(encoder.concurrency)]
    for process in places:
        encoder._free.put(process)
    return list(dict.fromkeys(places))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for i in range(20):
        Image.new("RGB", (40, 40), (12 * i, 0, 255 - 12 * i)).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


def test_two_processes_give_the_features_of_one_in_input_order(clip_checkpoint: Path, paths: list[Path]) -> None:
    model, alone = load_twice(clip_checkpoint), clipcli.load(str(clip_checkpoint), batch_size=3, cache=False)
    np.testing.assert_allclose(model.encode_images(paths), alone.encode_images(paths), atol=1e-6)
    assert isinstance(model.encoders.image, ImageProcesses)
    assert (model.encoders.image.concurrency, model.encoders.image.batch_size) == (4, 3)
    assert (model.encoders.placement.device, model.encoders.placement.numerics) == ("cpu:all", "cpu float32")


def test_an_error_in_a_process_is_the_users(clip_checkpoint: Path, paths: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(clip_checkpoint, tmp_path / "checkpoint")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        load_twice(folder).encode_images(paths)


def test_a_process_that_dies_is_an_error_now_and_later() -> None:
    encoder = ImageProcesses([Means(), Means()])
    for process in processes_of(encoder):
        process._process.kill()
    for _ in range(5):
        with pytest.raises(DeviceError, match=f"{signal.SIGKILL:d}"):
            encoder.encode(IMAGE)


together = threading.Barrier(2)


class Slow:
    """An encoder, and what opens it."""

    batch_size, concurrency = 5, 2

    def encode(self, pixels: np.ndarray, *, alone: bool) -> np.ndarray:
        together.wait(60)  # for ever alone, if one batch must be finished before the next is begun
        return pixels


def test_a_process_computes_as_many_batches_at_once_as_it_takes() -> None:
    requests, answers = os.pipe(), os.pipe()
    with ThreadPoolExecutor(1) as pool, open(answers[0], "rb") as read:
        serving = pool.submit(_serve, open(requests[0], "rb"), open(answers[1], "wb"))
        with open(requests[1], "wb") as write:
            pickle.dump(Slow, write)
            for number in (7, 8):
                pickle.dump((number, (IMAGE + number, False)), write)
            write.flush()
            assert pickle.load(read) == (5, 2)
            received = dict(pickle.load(read) for _ in range(2))
        assert {number: (int(pixels.max()), size) for number, (pixels, size) in received.items()} == {
            7: (7, 5),
            8: (8, 5),
        }
        assert serving.result(60) == 0


def test_each_who_asks_gets_what_is_theirs() -> None:
    encoder = ImageProcesses([Means()])
    assert len(processes_of(encoder)) == 1
    assert encoder.concurrency == 2
    generator = np.random.default_rng(0)
    batches = [generator.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (1, 24, 2, 16, 3, 1, 8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(encoder.encode, batches))
    for batch, features in zip(batches, answers, strict=True):
        np.testing.assert_array_equal(features, Means().encode(batch, alone=True))


def test_who_asks_while_a_failure_is_reported_gets_it_too() -> None:
    (process,) = processes_of(ImageProcesses([Means()]))
    process._process.kill()
    waiting, heard = [process._expect_answer()[1] for _ in range(2)], []
    with ThreadPoolExecutor(1) as pool:
        waiting[0].add_done_callback(lambda _: heard.append(pool.submit(process.ask, (IMAGE, False)).exception(60)))
        with pytest.raises(DeviceError, match="early"):
            process.ask((IMAGE, False))
    assert all(isinstance(error, DeviceError) for error in (heard[0], *(answer.exception(0) for answer in waiting)))


def test_an_error_reaches_all_who_wait() -> None:
    encoder = ImageProcesses([Means()])
    (process,) = processes_of(encoder)
    process._process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(encoder.encode, IMAGE) for _ in range(2)]
        while len(process._asked) < len(waiting):
            time.sleep(0.01)
        process._process.kill()
        for answer in waiting:
            with pytest.raises(DeviceError, match="early"):
                answer.result(timeout=60)


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = ImageProcesses([Means()])
    (process,) = processes_of(encoder)

    def interrupted() -> object:
        raise KeyboardInterrupt  # as in a notebook

    with monkeypatch.context() as patch:
        patch.setattr(process, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encoder.encode(IMAGE)
    with pytest.raises(DeviceError, match="early"):
        encoder.encode(IMAGE)


def test_a_bug_in_a_process_is_shown_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = ImageProcesses([Means()])
    with pytest.raises(DeviceError, match=r"1$"):
        encoder.encode(np.zeros((1, 32, 32), np.uint8))
    assert "Traceback" in capfd.readouterr().err


def test_batches_shrink_to_what_a_device_turned_out_to_hold() -> None:
    encoder = ImageProcesses([Shrinking()])
    assert encoder.batch_size == 64
    encoder.encode(np.zeros((64, 1, 1, 3), np.uint8))
    assert encoder.batch_size == 16


@pytest.mark.gpu
def test_two_processes_with_a_gpu_give_the_features_of_one(clip_checkpoint: Path, paths: list[Path]) -> None:
    gpu = torch.device("cuda:0")
    alone = clipcli.load(str(clip_checkpoint), device="cuda", cache=False)
    cosines = (load_twice(clip_checkpoint, gpu).encode_images(paths) * alone.encode_images(paths)).sum(axis=1)
    assert cosines.min() > 0.9999
