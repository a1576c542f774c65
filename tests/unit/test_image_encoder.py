import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clipcli.checkpoints.config import ModelConfig, read_config
from clipcli.checkpoints.towers import ResNetConfig, VisionConfig
from clipcli.compute.torch_backend.image_encoder import (
    ImageEncoder,
    ReferenceTower,
    Tower,
    choose_batch_size,
    pixel_scale_and_shift,
)
from clipcli.errors import ClipWarning, DeviceError, UnsupportedModelError
from clipcli.features.pipeline import Pixels
from clipcli.files import read_json
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from tests.helpers.checkpoints import WRITERS

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


class Checkpoint:
    def __init__(self, folder: Path) -> None:
        self.config = read_config(folder)
        self.preprocessing = Preprocessing.from_config(read_json(folder / "preprocessor_config.json"), "")
        self._files = [folder / "model.safetensors"]

    def load(self) -> DualEncoder:
        return load_network(self.config, self._files, text=False)

    def encoder(self, dtype: torch.dtype = torch.float32, device: torch.device = CPU, **more: Any) -> ImageEncoder:
        return ImageEncoder(self.config, self.load, self.preprocessing, device, dtype, **more)

    def reference(self, pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            features = self.load().get_image_features(torch.from_numpy(self.preprocessing.normalize(pixels)))
        return torch.nn.functional.normalize(features, dim=-1).numpy()


@pytest.fixture(scope="module", params=[name for name in WRITERS if name != "siglip2_naflex"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return Checkpoint(request.getfixturevalue(f"{request.param}_checkpoint"))


def test_features_are_the_networks_alone_and_in_a_batch(checkpoint: Checkpoint) -> None:
    expected = checkpoint.reference(PIXELS)
    encoder = checkpoint.encoder()
    for count in (1, 9, 1):  # before the weights are rearranged, when they are, and after
        np.testing.assert_allclose(encoder.encode(PIXELS[:count]), expected[:count], atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16, torch.float16])
def test_smaller_formats_are_used_from_the_first_image_on(checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    alone, expected = checkpoint.encoder(dtype).encode(PIXELS[:1]), checkpoint.reference(PIXELS[:1])
    assert 0 < abs(alone - expected).max()
    assert (alone * expected).sum() > 0.999
    np.testing.assert_allclose(checkpoint.encoder(dtype).encode(PIXELS)[:1], alone, atol=1e-2)


def test_wrong_features_are_reported(checkpoint: Checkpoint) -> None:
    def check(features: Pixels) -> Pixels:
        raise ArithmeticError

    encoder = ImageEncoder(
        checkpoint.config, checkpoint.load, checkpoint.preprocessing, CPU, torch.float32, check=check
    )
    with pytest.raises(ArithmeticError):
        encoder.encode(PIXELS)


NO_MEMORY = [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory (...)")]


def small_device(capacity: int, error: Exception) -> Tower:
    def tower(batch: Tensor) -> Tensor:
        if len(batch) > capacity:
            raise error
        return batch[:, 0, 0].float()

    return tower


@pytest.mark.parametrize("error", NO_MEMORY)
def test_a_batch_that_does_not_fit_is_halved(checkpoint: Checkpoint, error: Exception) -> None:
    encoder = checkpoint.encoder(batch_size=9)
    encoder._tower = small_device(2, error)
    whole = encoder.encode(PIXELS)
    rows = PIXELS[:, 0, 0].astype(np.float32)
    np.testing.assert_allclose(whole, rows / np.linalg.norm(rows, axis=1, keepdims=True), rtol=1e-6)
    assert encoder.batch_size <= 2  # later batches are small at once


@pytest.mark.parametrize("error", NO_MEMORY)
def test_a_single_image_that_does_not_fit_is_an_error_with_a_way_out(checkpoint: Checkpoint, error: Exception) -> None:
    encoder = checkpoint.encoder()
    encoder._tower = small_device(0, error)
    with pytest.raises(DeviceError, match="memory"):
        encoder.encode(PIXELS)


def test_other_failures_of_a_device_are_not_taken_for_a_lack_of_memory(checkpoint: Checkpoint) -> None:
    encoder = checkpoint.encoder()
    encoder._tower = small_device(2, RuntimeError("an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal"):
        encoder.encode(PIXELS)
    assert encoder.batch_size > 2


class FakeGpu:
    """Stands in for `torch.cuda`: notes what happens, and in which stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.pinned: list[Tensor] = []
        self.streams: set[int] = set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 8 * 2**30))
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
        monkeypatch.setattr(torch.cuda, "stream", self.in_stream)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.events.append("synchronize"))
        monkeypatch.setattr(Tensor, "pin_memory", lambda batch: self.pin(batch))

    def pin(self, batch: Tensor) -> Tensor:
        self.pinned.append(batch)
        return batch

    @contextmanager
    def in_stream(self, stream: object) -> Iterator[None]:
        with self._lock:
            self.streams.add(id(stream))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        yield
        with self._lock:
            self.at_once -= 1

    def make_tower(self, network: DualEncoder, *_: object, device: torch.device, dtype: torch.dtype) -> Tower:
        self.events.append("weights")

        def tower(batch: Tensor) -> Tensor:
            self.events.append("batch")
            time.sleep(0.02)
            return batch[:, 0, 0].float()

        return tower


def test_bytes_travel_to_a_gpu_from_pinned_memory_while_another_batch_is_computed(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = FakeGpu(monkeypatch)
    towers = {type(checkpoint.config.vision): gpu.make_tower}
    encoder = checkpoint.encoder(torch.float16, torch.device("cuda:0"), workers=16, fused_towers=towers)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: encoder.encode(PIXELS, alone=False), range(12)))
    assert gpu.events == ["weights", "synchronize", *["batch"] * 12]
    assert {batch.dtype for batch in gpu.pinned} == {torch.uint8}
    assert len(gpu.pinned) == 12
    assert len(gpu.streams) > 1
    assert gpu.most_at_once == encoder.concurrency == 2  # what the size of a batch was reckoned for


@pytest.mark.parametrize(("free_bytes", "batch"), [(80 * 2**30, 256), (2**30, 63), (2**26, 3), (0, 1)])
def test_batches_on_a_gpu_are_what_its_free_memory_holds(
    free_bytes: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_bytes, 80 * 2**30))
    config = ModelConfig("clip", VisionConfig(image_size=224, patch_size=16), None, 512)
    assert choose_batch_size(config, torch.device("cuda:0")) == batch


@pytest.mark.parametrize(("wrong", "warnings"), [((torch.float16,), 1), ((torch.float16, torch.float32), 2)])
def test_a_device_that_computes_wrong_features_is_not_trusted(
    checkpoint: Checkpoint, wrong: tuple[torch.dtype, ...], warnings: int
) -> None:
    mps, made = torch.device("mps"), []

    def make(network: DualEncoder, *_: object, device: torch.device, dtype: torch.dtype) -> Tower:
        made.append((device.type, dtype))
        right = ReferenceTower(network, checkpoint.preprocessing, CPU, torch.float32)
        return (lambda batch: right(batch).roll(1, -1)) if device == mps and dtype in wrong else right

    encoder = checkpoint.encoder(torch.float16, mps, fused_towers={type(checkpoint.config.vision): make})
    with pytest.warns(ClipWarning, match="computes") as caught:
        features = encoder.encode(PIXELS)
    np.testing.assert_allclose(features, checkpoint.reference(PIXELS), atol=1e-5)
    assert len(caught) == warnings
    ways = [("mps", torch.float16), ("mps", torch.float32), ("cpu", torch.float32)]
    assert made == ways[: warnings + 1]


def test_int8_is_for_vits(checkpoint: Checkpoint) -> None:
    resnet = ModelConfig(
        "clip",
        ResNetConfig(layers=(1, 1, 1, 1), width=8, num_attention_heads=2, image_size=32),
        None,
        projection_dim=16,
    )
    with pytest.raises(UnsupportedModelError, match="int8"):
        ImageEncoder(resnet, checkpoint.load, checkpoint.preprocessing, CPU, torch.int8)


@pytest.mark.parametrize(("image_size", "patch_size", "batch"), [(224, 32, 8), (224, 16, 2), (336, 14, 1)])
def test_batches_on_the_cpu_shrink_as_images_have_more_patches(image_size: int, patch_size: int, batch: int) -> None:
    vision = VisionConfig(image_size=image_size, patch_size=patch_size)
    assert choose_batch_size(ModelConfig("clip", vision, None, 512), CPU) == batch


def test_scale_and_shift_are_what_normalising_does_to_bytes() -> None:
    preprocessing = Preprocessing()
    scale, shift = pixel_scale_and_shift(preprocessing)
    every_byte = np.arange(256, dtype=np.uint8)[None, :, None, None].repeat(3, axis=3)
    expected = preprocessing.normalize(every_byte)[0, :, :, 0].T
    np.testing.assert_allclose(every_byte[0, :, 0] * np.array(scale) + np.array(shift), expected, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_cuda_computes_what_the_cpu_does(checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    encoder = checkpoint.encoder(dtype, torch.device("cuda"))
    cosines = (encoder.encode(PIXELS) * checkpoint.reference(PIXELS)).sum(axis=1)
    assert cosines.min() > 0.999
    assert encoder.batch_size > 1


@pytest.mark.gpu
def test_mps_computes_what_the_cpu_does(checkpoint: Checkpoint) -> None:
    encoder = checkpoint.encoder(torch.float16, torch.device("mps"))
    assert (encoder.encode(PIXELS) * checkpoint.reference(PIXELS)).sum(axis=1).min() > 0.999
