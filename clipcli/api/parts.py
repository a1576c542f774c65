"""What a checkpoint consists of when it runs: configuration, tokenizer, towers, and where they run.

Everything is read or made when first asked for, each tower by itself; torch is imported then and not before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clipcli import hub
from clipcli.checkpoints.config import ImageTowerConfig, ModelConfig, TextConfig, read_config
from clipcli.checkpoints.image_processor import read_image_processor
from clipcli.compute.devices import Placement, check_device_name, check_dtype_name, import_torch_ahead
from clipcli.errors import DamagedModelError, DeviceError, UnsupportedModelError, UsageError
from clipcli.features.cache import FeatureCache, open_cache
from clipcli.features.digests import checkpoint_digest
from clipcli.features.pipeline import Encoder, default_workers
from clipcli.images.decode import DecodeOptions
from clipcli.images.preprocess import Preprocessing
from clipcli.scoring import Floats
from clipcli.text.tokenizer import TextTokenizer, load_tokenizer

if TYPE_CHECKING:
    import torch

    from clipcli.compute.torch_backend.text_encoder import TextEncoder
    from clipcli.networks.dual_encoder import DualEncoder


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a model, whatever the question.

    Attributes:
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`, or `cuda:all` for a process on every GPU; a script that asks for
            it must do so under `if __name__ == "__main__"`, as whatever starts processes.
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8` (the image tower on the CPU).
        batch_size: Images a batch; None chooses, on a GPU by its free memory.
        workers: Threads that decode; None chooses.
        decode: How images are read.
        cache: Read and write remembered features.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    cache: bool = True

    def __post_init__(self) -> None:
        """Check names and counts, as far as that goes without torch.

        Raises:
            UsageError: A name is not known, or a count is below 1.
        """
        check_device_name(self.device)
        check_dtype_name(self.dtype)
        for name, value in (("batch_size", self.batch_size), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}", parameter=name, value=value)


def read_batch_size(text: str) -> int | None:
    """Read a batch size: a number, or None for `auto`.

    Raises:
        UsageError: It is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"batch_size must be auto or a whole number, not {text}", parameter="batch_size", value=text)
    return int(text)


class ModelParts:
    """A checkpoint's parts."""

    def __init__(self, files: hub.ModelFiles, options: RunOptions | None = None) -> None:
        """Read the configuration; weights are read when first needed.

        Args:
            files: The checkpoint.
            options: How to run it.

        Raises:
            ModelError: The checkpoint is damaged or not of a supported family.
        """
        self.files = files
        self.options = options or RunOptions()
        self.config: ModelConfig = read_config(files.folder)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a checkpoint with a classification head of its own, else None."""
        return self.config.id2label

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How the checkpoint wants its images."""
        tower = self.require_image_tower()
        settings, path = read_image_processor(self.files.folder)
        preprocessing = Preprocessing.from_config(settings, str(path))
        preprocessing.check_output_size(tower.image_size, str(path), str(self.files.folder / "config.json"))
        return preprocessing

    @cached_property
    def cache(self) -> FeatureCache:
        """Where features are remembered."""
        return open_cache() if self.options.cache else FeatureCache.disabled()

    @cached_property
    def checkpoint_digest(self) -> str:
        """Digest of the checkpoint's configuration and weights."""
        weights = hub.weight_files(self.files.folder)
        # Weights that were never seen have no features that are remembered.
        return checkpoint_digest(self.files.folder, weights, self.cache, on_read=import_torch_ahead)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The checkpoint's tokenizer."""
        text = self.text_config()
        tokenizer = load_tokenizer(self.files.folder, self.config.family, context_length=text.context_length)
        tokenizer.check_vocab_size(text.vocab_size)
        return tokenizer

    @cached_property
    def devices(self) -> "Sequence[torch.device]":
        """Where images are encoded: one device, or several of a type."""
        from clipcli.compute.devices import choose_devices

        return choose_devices(self.options.device)

    @property
    def device(self) -> "torch.device":
        """Where texts are encoded, too few to be shared out: the first device."""
        return self.devices[0]

    @cached_property
    def dtype(self) -> "torch.dtype":
        """What the networks compute in."""
        from clipcli.compute.devices import choose_dtype

        return choose_dtype(self.options.dtype, self.device)

    @cached_property
    def placement(self) -> Placement:
        """Names of device and dtype: as remembered, or else as torch has them."""
        return self.remembered_placement or self._place()

    @cached_property
    def remembered_placement(self) -> Placement | None:
        """Names of device and dtype if they are known without torch."""
        return Placement.remembered(self.options.device, self.options.dtype, self.cache)

    @cached_property
    def logit_scale(self) -> float:
        """The checkpoint's factor between cosine and logit, exp already taken."""
        self.require_image_tower()
        known = self.cache.logit_scale(self.checkpoint_digest) if self.cache.usable else None
        if known is None:
            from clipcli.networks.loading import read_logit_scale

            known = read_logit_scale(hub.weight_files(self.files.folder))
            if self.cache.usable:
                self.cache.remember_logit_scale(self.checkpoint_digest, known)
        return known

    @property
    def workers(self) -> int:
        """Threads that decode images."""
        return self.options.workers or default_workers()

    @cached_property
    def text_encoder(self) -> "TextEncoder":
        """The text tower, ready for token ids."""
        from clipcli.compute.devices import text_dtype
        from clipcli.compute.torch_backend.text_encoder import TextEncoder

        network = self._load(image=False, text=True).to(self.device, text_dtype(self.dtype))
        return TextEncoder(network, self.tokenizer.pad_token_id)

    @cached_property
    def image_encoder(self) -> Encoder:
        """The image tower, ready for pixels."""
        from clipcli.compute.torch_backend.image_encoder import ImageEncoder

        if len(self.devices) > 1:
            from clipcli.api.image_processes import ImageProcesses

            self._confirm_placement()
            options = [replace(self.options, device=str(device), cache=False) for device in self.devices]
            return ImageProcesses(self.files, options)
        return ImageEncoder(
            self.config,
            lambda: self._load(image=True, text=False),
            self.preprocessing,
            self.device,
            self.dtype,
            batch_size=self.options.batch_size,
            workers=self.workers,
            check=self.checked,
        )

    def _load(self, *, image: bool, text: bool) -> "DualEncoder":
        from clipcli.networks.loading import load_network

        weights = hub.weight_files(self.files.folder)
        self._confirm_placement()
        return load_network(self.config, weights, image=image, text=text)

    def _confirm_placement(self) -> None:
        """Ask torch before the first feature is computed, if a memory was relied upon so far.

        Raises:
            DeviceError: It chooses otherwise now; features that were remembered for the other may be in use already.
        """
        expected, self.placement = self.placement, self._place()
        if self.placement.numerics != expected.numerics:
            raise DeviceError(
                f"device {self.options.device} meant {expected.device} in {expected.dtype} when it was last asked "
                f"for, and now means {self.placement.device} in {self.placement.dtype}",
                hint="give the same command again; if that is not what you want, see `clip doctor`",
                parameter="device",
                value=self.options.device,
            )

    def _place(self) -> Placement:
        placement = Placement.chosen(self.devices, self.dtype)
        placement.remember(self.options.device, self.options.dtype, self.cache)
        return placement

    def text_config(self) -> TextConfig:
        """Configuration of the text tower.

        Raises:
            UnsupportedModelError: There is none.
        """
        if self.config.text is None or self.class_names is not None:
            raise UnsupportedModelError(
                f"{self.files.id} has no text tower, so it cannot read texts", hint="use a checkpoint with both towers"
            )
        return self.config.text

    def require_image_tower(self) -> ImageTowerConfig:
        """Configuration of the image tower.

        Raises:
            UnsupportedModelError: There is none.
        """
        if self.config.vision is None:
            raise UnsupportedModelError(
                f"{self.files.id} has no image tower, so it cannot see images",
                hint="use a checkpoint with both towers",
            )
        return self.config.vision

    def checked(self, features: Floats) -> Floats:
        """Give features back if they are numbers.

        Raises:
            DamagedModelError: They are not.
        """
        if not np.isfinite(features).all():
            verify = f"`clip models verify {self.files.id}` tells whether its files are whole"
            is_half = self.placement.dtype in ("float16", "bfloat16")
            raise DamagedModelError(
                f"{self.files.id} gives features that are not numbers",
                hint=f'use `dtype="float32"`; if that does not help, {verify}' if is_half else verify,
            )
        return features
