"""The encoders of one checkpoint: which device and number format they run on, made when they are first needed.

torch is imported then and not before, and not at all for a small job; see `backend`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import finalize

import numpy as np

from clipcli.checkpoints.towers import SiglipTextConfig, VisionConfig
from clipcli.compute.backend import Backend, Work, choose_backend, why_torch
from clipcli.compute.checkpoint import Checkpoint
from clipcli.compute.devices import Placement, choose_devices, choose_dtype, require_torch, text_dtype, why_no_torch
from clipcli.compute.options import ModelSpec, RunOptions
from clipcli.errors import DamagedModelError, DeviceError, reading_checkpoint
from clipcli.features.cache import FeatureCache, FeatureSpace
from clipcli.features.digests import checkpoint_digest
from clipcli.features.labels import TextEncoder
from clipcli.features.late import UNIDENTIFIED, LateCache
from clipcli.features.pipeline import Encoder, default_workers
from clipcli.images.prepare import Preparation
from clipcli.scoring import Floats, Logits
from clipcli.text.tokenizer import TextTokenizer

if TYPE_CHECKING:
    import torch

    from clipcli.compute.numpy_backend.mapped import MappedWeights
    from clipcli.compute.torch_backend.located import LocatedEncoder
    from clipcli.networks.dual_encoder import DualEncoder


class Encoders:
    """The encoders of a checkpoint.

    Args:
        checkpoint: Its files.
        options: How to run them.
        memory: Remembers what `auto` means on this machine, and what weights are called.
    """

    def __init__(self, checkpoint: Checkpoint, options: RunOptions, memory: FeatureCache) -> None:
        self.checkpoint, self.options, self._memory = checkpoint, options, memory
        self._work = Work()

    @property
    def workers(self) -> int:
        """Threads that decode images."""
        return self.options.workers or default_workers()

    @cached_property
    def cache(self) -> LateCache:
        """Where features are kept; those of weights that are hashed later, when these encoders are not used anymore."""
        cache = LateCache(self._memory, self.checkpoint.files.folder, self.checkpoint.weights)
        finalize(self, cache.settle)
        return cache

    @cached_property
    def digest(self) -> str:
        """Digest of the checkpoint's configuration and weights; hashes them unless it is known."""
        return checkpoint_digest(self.checkpoint.files.folder, self.checkpoint.weights, self._memory)

    @cached_property
    def devices(self) -> "Sequence[torch.device]":
        """Where images are encoded: one device, or several of a type."""
        return choose_devices(self.options.device)

    @property
    def device(self) -> "torch.device":
        """Where texts are encoded, too few to be shared out: the first device."""
        return self.devices[0]

    @cached_property
    def dtype(self) -> "torch.dtype":
        """What the networks compute in."""
        return choose_dtype(self.options.dtype, self.device)

    @cached_property
    def placement(self) -> Placement:
        """Names of device and dtype: known without torch where that is possible, else as torch has them."""
        return Placement.known(self.options.device, self.options.dtype, self._memory) or self._place()

    @cached_property
    def logits(self) -> Logits:
        """How the checkpoint turns cosines into logits."""
        _ = self.checkpoint.image_tower, self.checkpoint.text_tower  # one tower alone has none
        identity = self.cache.identity if self._memory.usable else UNIDENTIFIED
        known = self._memory.logits(identity) if identity != UNIDENTIFIED else None
        if known is None:
            known = self._read_logits()
            if identity != UNIDENTIFIED:
                self._memory.remember_logits(identity, known)
        return known

    def _read_logits(self) -> Logits:
        if self._obstacle is None:
            return self._mapped.logits()
        require_torch(self._obstacle)
        from clipcli.networks.loading import read_logits

        return read_logits(self.checkpoint.weights)

    @property
    def tokenizer(self) -> TextTokenizer:
        """What makes token ids of texts."""
        return self.checkpoint.tokenizer

    @property
    def text_space(self) -> FeatureSpace:
        """All that features of texts depend on besides the text."""
        return FeatureSpace("text", self.cache.identity, self.checkpoint.tokenizer_digest, self.placement.text_numerics)

    @property
    def image_space(self) -> FeatureSpace:
        """All that features of images depend on besides the image."""
        return FeatureSpace("image", self.cache.identity, self.preparation.digest, self.placement.numerics)

    @cached_property
    def preparation(self) -> Preparation:
        """How images become pixels."""
        return Preparation(self.options.decode, self.checkpoint.preprocessing)

    def expect_images(self, new: int | None) -> None:
        """Take note of how many images will be encoded, None if that is not known."""
        self._work = replace(self._work, images=new)

    def expect_prompts(self, new: int) -> None:
        """Take note of how many prompts will be encoded."""
        self._work = replace(self._work, prompts=new)

    @property
    def text(self) -> TextEncoder:
        """The text tower, ready for token ids: in numpy if what is expected is little and torch is not in use yet."""
        in_use = "_torch_text" in vars(self) or "_torch_image" in vars(self)
        return self._torch_text if in_use or self._backend(self._work) == "torch" else self._numpy_text

    @property
    def image(self) -> Encoder:
        """The image tower, ready for pixels; as `text`, but where nobody said how many, it may be any number."""
        in_use = "_torch_image" in vars(self)
        work = replace(self._work, images=self._work.images or None)
        return self._torch_image if in_use or self._backend(work) == "torch" else self._numpy_image

    def _backend(self, work: Work) -> Backend:
        """What computes a job: as `choose_backend` says, or numpy where it must do without torch.

        Raises:
            DeviceError: torch is needed and cannot be used.
        """
        chosen = choose_backend(work, self.checkpoint.config, self._obstacle)
        if self._obstacle is not None:
            require_torch(self._obstacle)
        return "numpy" if chosen == "torch" and why_no_torch() is not None else chosen

    def check_weights(self) -> None:
        """Compare names and shapes of all tensors with the configuration.

        Raises:
            DamagedModelError: They do not fit, or a file cannot be read.
            DeviceError: torch is needed and cannot be used.
        """
        if self._obstacle is None:
            _ = self._mapped
            return
        require_torch(self._obstacle)
        from clipcli.networks.loading import checked_weights

        checked_weights(self.checkpoint.config, self.checkpoint.weights)

    @property
    def _obstacle(self) -> str | None:
        """What numpy cannot do; the placement, and with it the answer, may turn out otherwise than remembered."""
        return why_torch(self.checkpoint.config, self.checkpoint.weights, self.placement)

    @cached_property
    def _mapped(self) -> "MappedWeights":
        from clipcli.compute.numpy_backend.mapped import MappedWeights

        return MappedWeights.open(self.checkpoint.weights, self.checkpoint.config)

    @cached_property
    def _numpy_text(self) -> TextEncoder:
        from clipcli.compute.numpy_backend.text_encoder import NumpyTextEncoder

        tower, width = self.checkpoint.text_tower, self.checkpoint.config.projection_dim
        assert not isinstance(tower, SiglipTextConfig)  # `why_torch` names what is not written in numpy
        return NumpyTextEncoder(tower, width, self._mapped, check=self._check)

    @cached_property
    def _numpy_image(self) -> Encoder:
        from clipcli.compute.numpy_backend.image_encoder import NumpyImageEncoder

        tower = self.checkpoint.image_tower
        assert isinstance(tower, VisionConfig)  # as above
        return NumpyImageEncoder(
            tower,
            self._mapped,
            self.checkpoint.preprocessing,
            batch_size=self.options.batch_size,
            workers=self.workers,
            check=self._check,
        )

    @cached_property
    def _torch_text(self) -> TextEncoder:
        from clipcli.compute.torch_backend.text_encoder import TorchTextEncoder

        network = self._load(image=False, text=True).to(self.device, text_dtype(self.dtype))
        return TorchTextEncoder(network, self.checkpoint.tokenizer.pad_token_id, check=self._check)

    @cached_property
    def _torch_image(self) -> Encoder:
        from clipcli.compute.torch_backend.image_encoder import ImageEncoder

        self._confirm_placement()
        if len(self.devices) > 1:
            from clipcli.compute.image_processes import ImageProcesses

            options = [replace(self.options, device=str(device), cache=False) for device in self.devices]
            return ImageProcesses([OpenImageEncoder(ModelSpec(self.checkpoint.files, each)) for each in options])
        return ImageEncoder(
            self.checkpoint.config,
            lambda: self._load(image=True, text=False),
            self.checkpoint.preprocessing,
            self.device,
            self.dtype,
            batch_size=self.options.batch_size,
            workers=self.workers,
            check=self._check,
        )

    @cached_property
    def located(self) -> "LocatedEncoder":
        """The image tower, ready to give a feature for each patch; always torch's, and on the first device.

        Raises:
            DeviceError: torch cannot be used.
        """
        require_torch("a map of an image")
        from clipcli.compute.torch_backend.located import LocatedEncoder

        dtype = text_dtype(self.dtype)
        network = self._load(image=True, text=False).to(self.device, dtype)
        return LocatedEncoder(network, self.checkpoint.preprocessing, self.device, dtype, self._check)

    def _load(self, *, image: bool, text: bool) -> "DualEncoder":
        from clipcli.networks.loading import load_network

        weights = self.checkpoint.weights
        self._confirm_placement()
        with reading_checkpoint(self.checkpoint.files.folder):
            return load_network(self.checkpoint.config, weights, image=image, text=text)

    def _confirm_placement(self) -> None:
        """Ask torch before the first feature is computed, if a memory was relied upon so far.

        Raises:
            DeviceError: It chooses otherwise now; features that were cached for the other may be in use already.
        """
        expected, self.placement = self.placement, self._place()
        if self.placement.numerics != expected.numerics:
            raise DeviceError(
                f"device {self.options.device} meant {expected.device} in {expected.dtype} when it was last asked "
                f"for, and now means {self.placement.device} in {self.placement.dtype}",
                hint="run the same command again; if that is not what you want, see `clip doctor`",
                parameter="device",
                value=self.options.device,
            )

    def _place(self) -> Placement:
        placement = Placement.chosen(self.devices, self.dtype)
        placement.remember(self.options.device, self.options.dtype, self._memory)
        return placement

    def _check(self, features: Floats) -> Floats:
        """Return features if they are numbers.

        Raises:
            DamagedModelError: They are not.
        """
        if not np.isfinite(features).all():
            name = self.checkpoint.id
            verify = f"`clip models verify {name}` tells whether its files are whole"
            is_half = self.placement.dtype in ("float16", "bfloat16")
            raise DamagedModelError(
                f"{name} gives features that are not numbers",
                hint=f'use `dtype="float32"`; if that does not help, {verify}' if is_half else verify,
            )
        return features


@dataclass(frozen=True, slots=True)
class OpenImageEncoder:
    """Opens an image encoder in whatever process it is called in. Can be pickled."""

    spec: ModelSpec

    @property
    def device(self) -> str:
        """What errors call the process."""
        return self.spec.options.device

    def __call__(self) -> Encoder:
        """Open it; nothing is cached."""
        return Encoders(Checkpoint(self.spec.files), self.spec.options, FeatureCache.disabled()).image
