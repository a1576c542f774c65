"""State dicts in whatever container they come: safetensors, a zip or a pickle of torch, a TorchScript archive.

The container is told by its first bytes. Nothing but tensors is ever taken out of it.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipcli.checkpoints.other_formats import refusal
from clipcli.checkpoints.weights import without_wrapper
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.foreign.torchscript import is_torchscript, read_torchscript
from clipcli.networks.loading import SafetensorsFile, check_claims, check_unpacked, reason_of

_ZIP = b"PK\x03\x04"
_GGUF = b"GGUF"
_PICKLE = b"\x80"
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys that training scripts put a state dict under
_BATCHES_SEEN = ".num_batches_tracked"  # a batch norm's count, which matters to training only


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file, and the activation of its network if the file tells.

    Raises:
        DamagedModelError: The file is damaged or unreadable.
        UnsupportedModelError: It is not a checkpoint, or needs code to be run.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise DamagedModelError(f"{path} cannot be read: {error.strerror}") from error
    other = refusal(path, [path.name])
    if other is not None:
        raise other
    activation = None
    if start.startswith(_ZIP):
        loaded, activation = _read_zip(path)
    elif start.startswith(_PICKLE):
        loaded = _read_pickle(path)
    elif start[8:9] == b"{":
        file = SafetensorsFile(path)
        loaded = {name: file.tensor(name) for name in file.shapes()}
    else:
        raise refusal(path, ["x.gguf"] if start.startswith(_GGUF) else []) or UnsupportedModelError(
            f"{path} is not a checkpoint: neither safetensors nor a file of torch",
            hint="`clip models list` names models that can be fetched",
        )
    return _plain(loaded, path), activation


def _read_zip(path: Path) -> tuple[Mapping[str, Any], str | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            if is_torchscript(archive):
                return read_torchscript(archive, str(path))
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DamagedModelError(
            f"{path} cannot be read: {error}", hint="fetch it again; the file is likely incomplete"
        ) from error
    check_unpacked(path)
    return _read_pickle(path, mmap=True), None


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a zip that is not one folder of its own: nothing is unpacked, but no honest one climbs out."""
    roots = set()
    for name in archive.namelist():
        parts = name.split("/")
        if ".." in parts or "\\" in name or not parts[0]:
            raise DamagedModelError(f"{path} holds a path that climbs out of it: {name!r}")
        roots.add(parts[0])
    if len(roots) != 1:
        raise DamagedModelError(
            f"{path} is a zip file, but not one of torch's: it has {len(roots)} folders where one is usual"
        )


def _read_pickle(path: Path, *, mmap: bool = False) -> Mapping[str, Any]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UnsupportedModelError(
            f"{path} cannot be read as tensors only: {reason_of(error)}",
            hint="no code in a file is ever run; save the model's state dict, or use its safetensors",
        ) from error
    except Exception as error:  # a damaged pickle may raise anything, says its documentation
        raise DamagedModelError(
            f"{path} cannot be read: {reason_of(error)}", hint="fetch it again; the file is likely incomplete"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UnsupportedModelError(f"{path} holds a {type(loaded).__name__}, not a state dict (names to tensors)")
    return loaded


def _plain(loaded: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict itself: out of its wrapping, without prefixes, tensors only."""
    inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), loaded)
    tensors = {
        name: value.detach()
        for name, value in inner.items()
        if isinstance(name, str) and isinstance(value, Tensor) and not name.endswith(_BATCHES_SEEN)
    }
    check_claims(tensors, path)
    if not tensors:
        raise UnsupportedModelError(f"{path} holds no tensors by name, so it is not a checkpoint")
    return {name: tensors[stored] for stored, name in without_wrapper(tensors).items()}
