"""Strict loading: every weight the networks need, from the checkpoint's files, and nothing that does not fit.

Names and shapes of the whole checkpoint are compared before any data is read; safetensors and `.bin` files are
memory-mapped, so a run that needs only the image tower never reads the text tower. No pickle is executed.
"""

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.weights import (
    LOGIT_BIAS,
    LOGIT_SCALE,
    check_shapes,
    logits_of,
    network_names,
    unreadable,
    unsupported_format,
)
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.scoring import Logits

_LAYER = re.compile(r".*?\.layers?\.\d+\.")

_ZIP = b"PK\x03\x04"

# How much more than its own size a file may claim to hold: tensors may share their numbers, but few do.
_MOST_TIMES, _MOST_MORE = 2, 2**20


class Weights(Protocol):
    """The tensors of one file, by name, read when asked for."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor in the file, without reading data."""

    def tensor(self, name: str) -> Tensor:
        """One tensor, memory-mapped where the format allows."""


class SafetensorsFile:
    """Weights of a `.safetensors` file."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            DamagedModelError: The file is truncated or its header lies.
        """
        self._path, self._layer = path, ""
        try:
            self._file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise unreadable(path, error) from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor in the file."""
        return {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}

    def tensor(self, name: str) -> Tensor:
        """One tensor, backed by the file.

        Each layer is mapped by itself, so that its memory is given back as soon as nobody uses it.
        """
        found = _LAYER.match(name)
        layer = found.group() if found else ""
        if layer != self._layer:
            self._file, self._layer = safe_open(self._path, framework="pt"), layer
        return self._file.get_tensor(name)


class TensorsInMemory:
    """Weights that have been read already."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        return self._tensors[name]


class PickledFile(TensorsInMemory):
    """Weights of a `pytorch_model.bin`, read with `weights_only=True`.

    They stay memory-mapped, but for files of torch before 1.6, which are not archives and are read as a whole.
    """

    def __init__(self, path: Path) -> None:
        """Map or read the file.

        Raises:
            DamagedModelError: The file holds no tensors, or would need code to be run.
        """
        try:
            with path.open("rb") as file:
                mmap = file.read(len(_ZIP)) == _ZIP
            if mmap:
                check_unpacked(path)
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except DamagedModelError:
            raise
        except Exception as error:  # a damaged pickle may raise anything, says its documentation
            raise DamagedModelError(
                f"{path} cannot be read as tensors only: {reason_of(error)}",
                hint="use the checkpoint's safetensors file, or fetch it again; no code in a file is ever run",
            ) from error
        if not isinstance(tensors, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
        ):
            raise DamagedModelError(f"{path} is not a state dict (names to tensors)")
        check_claims(tensors, path)
        super().__init__(tensors)


class CheckpointWeights:
    """All tensors of a checkpoint, by the names the modules use, over one file or several shards."""

    def __init__(self, files: dict[str, tuple[Weights, str]], where: str) -> None:
        self._files = files
        self.where = where

    @classmethod
    def open(cls, paths: Sequence[Path], only_tower: str | None = None) -> Self:
        """Open the weight files of a checkpoint; `only_tower` as in `network_names`.

        Raises:
            DamagedModelError: A file cannot be read, or two files hold the same tensor.
        """
        opened: list[tuple[Path, Weights]] = [
            (path, SafetensorsFile(path) if path.suffix == ".safetensors" else PickledFile(path)) for path in paths
        ]
        names = network_names([stored for _, weights in opened for stored in weights.shapes()], only_tower)
        files: dict[str, tuple[Weights, str]] = {}
        for path, weights in opened:
            for stored in weights.shapes():
                if names[stored] in files:
                    raise DamagedModelError(f"{path} holds {stored} a second time")
                files[names[stored]] = (weights, stored)
        return cls(files, str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} weight files)")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], where: str) -> Self:
        """Tensors that have been read already; `where` names their source in messages."""
        read = TensorsInMemory(tensors)
        return cls({name: (read, stored) for stored, name in network_names(tensors).items()}, where)

    def check(self, network: DualEncoder) -> None:
        """Compare names and shapes with a network that has every part of the checkpoint.

        Raises:
            DamagedModelError: A tensor is missing, unexpected, or of another shape; the message names it.
        """
        shapes = {file: file.shapes() for file in {file for file, _ in self._files.values()}}
        found = {name: shapes[file][stored] for name, (file, stored) in self._files.items()}
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        check_shapes(found, expected, self.where)

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._files

    def tensors(self, names: Iterable[str], dtype: torch.dtype) -> dict[str, Tensor]:
        """Read tensors in the dtype asked for; those already in it stay memory-mapped.

        Raises:
            UnsupportedModelError: The numbers are whole, complex or quantized.
            DamagedModelError: The data cannot be read.
        """
        try:
            return {name: self._number(name).to(dtype) for name in names}
        except (SafetensorError, OSError, RuntimeError) as error:
            raise DamagedModelError(f"{self.where} cannot be read: {error}") from error

    def _number(self, name: str) -> Tensor:
        file, stored = self._files[name]
        tensor = file.tensor(stored)
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            raise unsupported_format(self.where, name, str(tensor.dtype).removeprefix("torch."))
        return tensor


def check_unpacked(path: Path) -> None:
    """Refuse an archive whose members unpack to much more than it has: torch stores its own as they are.

    Raises:
        DamagedModelError: They do.
    """
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(member.file_size for member in archive.infolist()))


def check_claims(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that claim more numbers than their file has: with strides of 0, a few bytes become terabytes.

    Raises:
        UnsupportedModelError: A tensor is not a plain table of numbers.
        DamagedModelError: They claim too many.
    """
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UnsupportedModelError(f"{path}: {name} is stored as a sparse, quantized or empty tensor")
    _check_size(path, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))


def _check_size(path: Path, claimed_bytes: int) -> None:
    if claimed_bytes > _MOST_TIMES * path.stat().st_size + _MOST_MORE:
        raise DamagedModelError(
            f"{path} has {path.stat().st_size:,} bytes and claims to hold {claimed_bytes:,}",
            hint="do not use it: it may be malicious",
        )


def reason_of(error: Exception) -> str:
    """Why torch does not read a file, in one line and without its advice to run the code in it."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found:
        return f"it needs {found[1]}, which is not a tensor"
    found = re.search(r"WeightsUnpickler error: ([^\n]+)", str(error))
    return found[1] if found else next(iter(str(error).splitlines()), type(error).__name__)


def load_network(
    config: ModelConfig,
    weight_files: Sequence[Path],
    *,
    image: bool = True,
    text: bool = True,
    dtype: torch.dtype = torch.float32,
) -> DualEncoder:
    """Build a checkpoint's network on the CPU and fill it, ready for inference.

    Args:
        config: The checkpoint's configuration.
        weight_files: Its safetensors or `.bin` files; all shards of a sharded checkpoint.
        image: Load the image tower.
        text: Load the text tower.
        dtype: What to convert the weights to.

    Raises:
        DamagedModelError: The files cannot be read or do not fit the configuration.
    """
    weights = checked_weights(config, weight_files)
    with torch.device("meta"), _NoInitialisation():
        network = DualEncoder(config, image=image, text=text)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    tensors = {name: tensor.reshape(shapes[name]) for name, tensor in weights.tensors(shapes, dtype).items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def read_logits(weight_files: Sequence[Path]) -> Logits:
    """Read how a checkpoint turns cosines into logits, in full precision whatever the rest runs in.

    Raises:
        DamagedModelError: The files cannot be read, or have none that is a number.
    """
    return _logits(CheckpointWeights.open(weight_files))


def _logits(weights: CheckpointWeights) -> Logits:
    names = [name for name in (LOGIT_SCALE, LOGIT_BIAS) if name in weights]
    tensors = weights.tensors(names, torch.float32)
    return logits_of({name: tensor.item() for name, tensor in tensors.items()}, weights.where)


def checked_weights(config: ModelConfig, weight_files: Sequence[Path]) -> CheckpointWeights:
    """Open weights that fit a configuration; see `check_fit`.

    Raises:
        DamagedModelError: They do not fit, or cannot be read.
    """
    weights = CheckpointWeights.open(weight_files, config.only_tower)
    check_fit(config, weights)
    return weights


def check_fit(config: ModelConfig, weights: CheckpointWeights) -> None:
    """Compare weights with a configuration, names and shapes; of the numbers only those of the logits are looked at.

    Raises:
        DamagedModelError: They do not fit.
    """
    with torch.device("meta"), _NoInitialisation():
        weights.check(DualEncoder(config))
    if LOGIT_SCALE in weights:
        _logits(weights)


class _NoInitialisation(TorchFunctionMode):
    """Leaves new parameters as they are: they have no data, and filling them imports 800 modules (2 seconds)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Hand back the tensor that an initializer was given; let everything else through."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)
