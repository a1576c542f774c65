"""From prepared pixels to image features on the device.

Batches are encoded by several threads at once, so everything here is either fixed after the first batch or guarded.
"""

import threading
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.pe_core import PeVisionConfig
from clipcli.checkpoints.towers import (
    ImageTowerConfig,
    NaflexVisionConfig,
    PlainVisionConfig,
    SiglipVisionConfig,
    VisionConfig,
    VitConfig,
)
from clipcli.compute.torch_backend.fused import FusedImageTower
from clipcli.compute.torch_backend.fused_pe_core import FusedPeImageTower
from clipcli.compute.torch_backend.fused_siglip import FusedSiglipImageTower
from clipcli.compute.torch_backend.heap import separate_large_blocks
from clipcli.errors import DeviceError, UnsupportedModelError, warn
from clipcli.features.pipeline import available_cores
from clipcli.images.prepare import Pixels
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.scoring import Floats

Tower = Callable[[Tensor], Tensor]

# The rearranged tower of each kind of ViT.
FUSED_TOWERS: Mapping[type[ImageTowerConfig] | type[None], Callable[..., Tower]] = {
    VisionConfig: FusedImageTower,
    PlainVisionConfig: FusedImageTower,
    SiglipVisionConfig: FusedSiglipImageTower,
    NaflexVisionConfig: FusedSiglipImageTower,
    PeVisionConfig: FusedPeImageTower,
}

# Rearranging the weights takes as long as ViT-B/32 takes for this many images.
_WORTH_FUSING = 4

# Rows of a matrix product that keep a core busy and its results in the cache: measured, more are no faster.
_CPU_BATCH_TOKENS = 400

_GPU_LARGEST_BATCH = 256
_GPU_CONCURRENCY = 2  # one batch is copied while the other is computed
_GPU_MEMORY_SHARE = 0.5

# Half precision reaches 0.9999; a device that computes something else is far below.
_SAME_FEATURES = 0.99


class ReferenceTower:
    """The network as it was loaded, from bytes to features: for towers that cannot be rearranged, and lone images."""

    def __init__(
        self, network: DualEncoder, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._network = network.to(device, dtype)
        self._preprocessing, self._device, self._dtype = preprocessing, device, dtype

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Shapes: uint8 (B, S, S, 3) -> (B, P) float32, not normalized; with a head (B, classes) logits."""
        normalized = torch.from_numpy(self._preprocessing.normalize(pixels.numpy())).to(self._device, self._dtype)
        has_head = self._network.config.id2label is not None
        encode = self._network.classify_pixels if has_head else self._network.get_image_features
        return encode(normalized).float()


class ImageEncoder:
    """The image tower of a network, fed with uint8 images."""

    def __init__(
        self,
        config: ModelConfig,
        load: Callable[[], DualEncoder],
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
        *,
        batch_size: int | None = None,
        workers: int = 1,
        check: Callable[[Floats], Floats] = lambda features: features,
        fused_towers: Mapping[type[ImageTowerConfig] | type[None], Callable[..., Tower]] = FUSED_TOWERS,
    ) -> None:
        """Prepare to encode.

        Args:
            config: The checkpoint's.
            load: Gives its image tower, in float32 on the CPU.
            preprocessing: What happens between bytes and the network.
            device: Where to compute.
            dtype: What to compute in; int8 on the CPU only.
            batch_size: Images a batch; None chooses.
            workers: Threads that will call `encode`.
            check: Given every batch's features; raises if they cannot be right.
            fused_towers: What makes the rearranged tower of each kind; the network itself is used for the others.

        Raises:
            UnsupportedModelError: int8 for an image tower that is no ViT.
        """
        self._load, self._preprocessing = load, preprocessing
        self._device, self._dtype, self._check = device, dtype, check
        self._fused = fused_towers.get(type(config.vision))
        if dtype is torch.int8 and self._fused is None:
            raise UnsupportedModelError(
                "dtype int8 is for ViT image towers", hint='use `dtype="float32"`', parameter="dtype", value="int8"
            )
        self._on_cpu = device.type == "cpu"
        self._has_head = config.id2label is not None
        self.concurrency = workers if self._on_cpu else _GPU_CONCURRENCY if device.type == "cuda" else 1
        self.batch_size = batch_size or choose_batch_size(config, device)
        self._threads = max(1, available_cores() // workers)
        self._tower: Tower | None = None
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(self.concurrency)
        self._streams = threading.local()

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        """Encode a batch; one that does not fit into a GPU's memory is halved until it does.

        Shapes: pixels (N, S, S, 3) -> (N, P) float32, unit length; with a classification head (N, classes) logits.

        Args:
            pixels: Preprocessed images.
            alone: Whether all cores are free for this batch.

        Raises:
            DeviceError: Not even one image fits.
        """
        if self._on_cpu:
            torch.set_num_threads(available_cores() if alone else self._threads)
        try:
            return self._encode(pixels, alone)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if len(pixels) == 1:
                raise DeviceError(
                    f"{self._device} has no memory left for one image", hint='use `device="cpu"`, or a smaller model'
                ) from error
        _empty_cache(self._device)
        half = len(pixels) // 2
        self.batch_size = min(self.batch_size, half)
        return np.concatenate([self.encode(pixels[:half], alone=alone), self.encode(pixels[half:], alone=alone)])

    @torch.inference_mode()
    def _encode(self, pixels: Pixels, alone: bool) -> Floats:
        tower = self._choose_tower(pixels, alone)
        batch = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            # The memory of a batch was reckoned for so many at a time.
            with self._slots, torch.cuda.stream(self._stream()):
                features = tower(batch.pin_memory()).cpu()
        else:
            features = tower(batch).cpu()
        normalized: Floats = (features if self._has_head else F.normalize(features, dim=-1)).numpy()
        return self._check(normalized)

    def _choose_tower(self, pixels: Pixels, alone: bool) -> Tower:
        with self._lock:
            if self._tower is None:
                plain = self._on_cpu and self._dtype is torch.float32
                if plain and alone and len(pixels) < _WORTH_FUSING:
                    return self._reference_tower(self._device, self._dtype)
                self._tower = self._checked_tower(pixels) if self._device.type == "mps" else self._make_tower()
                if self._device.type == "cuda":
                    # Streams do not wait for the one on which weights are copied and converted.
                    torch.cuda.synchronize(self._device)
            return self._tower

    def _make_tower(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tower:
        device, dtype = device or self._device, dtype or self._dtype
        if self._fused is None:
            return self._reference_tower(device, dtype)
        scale, shift = pixel_scale_and_shift(self._preprocessing)
        # In int8 a core takes 0.4 s for ViT-B/32 and 1.3 s for L/14. Nine tenths of it is oneDNN's reordering, whose
        # result torch cannot store, so rounded weights on disk would save nearly nothing.
        with separate_large_blocks():
            return self._fused(self._load(), scale, shift, device=device, dtype=dtype)

    def _reference_tower(self, device: torch.device, dtype: torch.dtype) -> Tower:
        return ReferenceTower(self._load(), self._preprocessing, device, dtype)

    def _checked_tower(self, pixels: Pixels) -> Tower:
        """The first of several ways to compute that agrees with the CPU on one image.

        Some versions of Metal compute wrong features in half precision, without an error.
        """
        cpu = torch.device("cpu")
        image = torch.from_numpy(pixels[:1])
        expected = self._reference_tower(cpu, torch.float32)(image)
        for device, dtype in ((self._device, self._dtype), (self._device, torch.float32)):
            tower = self._make_tower(device, dtype)
            cosine = F.cosine_similarity(tower(image).cpu(), expected).item()
            if cosine >= _SAME_FEATURES:  # False for NaN too
                return tower
            name = str(dtype).removeprefix("torch.")
            warn(f"{device} computes wrong features in {name} (cosine {cosine:.3f} with the CPU's), trying another way")
        return self._make_tower(cpu, torch.float32)

    def _stream(self) -> "torch.cuda.Stream":
        """A stream for each thread, so that one's copies and another's computation overlap."""
        if not hasattr(self._streams, "own"):
            self._streams.own = torch.cuda.Stream(self._device)
        stream: torch.cuda.Stream = self._streams.own
        return stream


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU has no room left; Metal raises no class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)


def _empty_cache(device: torch.device) -> None:
    """Hand back what torch holds for later, so that pieces become whole."""
    if device.type == "mps":
        torch.mps.empty_cache()
    else:
        torch.cuda.empty_cache()


def pixel_scale_and_shift(preprocessing: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rescaling and normalizing as one factor and one summand a channel."""
    factor = preprocessing.rescale_factor if preprocessing.do_rescale else 1.0
    if not preprocessing.do_normalize:
        return (factor,) * 3, (0.0,) * 3
    scale = tuple(factor / std for std in preprocessing.image_std)
    shift = tuple(-mean / std for mean, std in zip(preprocessing.image_mean, preprocessing.image_std, strict=True))
    return scale, shift


def choose_batch_size(config: ModelConfig, device: torch.device) -> int:
    """Images a batch: on the CPU what keeps a core busy, on a GPU what half of its free memory holds."""
    vision = config.vision
    if not isinstance(vision, VitConfig | NaflexVisionConfig):
        return 8
    tokens = vision.patches + 1
    if device.type == "cpu":
        return max(1, _CPU_BATCH_TOKENS // tokens)
    if device.type != "cuda":
        return 32
    free_bytes, _ = torch.cuda.mem_get_info(device)
    # Alive at once in a layer: the state, its norm, query, key and value, the perceptron's inside twice; 2 bytes each.
    image_bytes = tokens * (6 * vision.hidden_size + 2 * vision.intermediate_size) * 2
    fitting = int(free_bytes * _GPU_MEMORY_SHARE) // (_GPU_CONCURRENCY * image_bytes)
    return max(1, min(_GPU_LARGEST_BATCH, fitting))
