"""Folders of the hub's older repositories that hold weights for Flax or TensorFlow only.

Their `config.json`, image processor's settings and tokenizer are those of any hub folder; only the weights differ: a
nested msgpack map or an HDF5 file, with the frameworks' names for a layer's parts and their order of axes. msgpack and
h5py are imported when such a file is read; neither framework is needed. Neither format can hold code.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.image_processor import read_image_processor
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json
from clipcli.foreign.hub_layout import HubCheckpoint, Tensors

FLAX, TENSORFLOW = "flax_model.msgpack", "tf_model.h5"

_LARGEST_LEAF = 2**31 - 1
_ARRAY = 1  # flax's number for an array among msgpack's extensions
_PARTS_OF_A_MODEL = ("text_model", "vision_model", "text_projection", "visual_projection", "logit_scale")
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_PARTS = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
}


def flax_or_tensorflow_weights(folder: Path) -> Path | None:
    """The weights of a hub folder that has none in a newer format, or None."""
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
        return None
    return next((folder / name for name in (FLAX, TENSORFLOW) if (folder / name).is_file()), None)


def read_flax_or_tensorflow(folder: Path, weights: Path) -> HubCheckpoint:
    """Read such a folder.

    Raises:
        UnsupportedModelError: The optional package is not installed.
        DamagedModelError: The file is damaged.
    """
    described = read_config(folder)  # refuses what is not ours, before anything large is read
    config = read_json(folder / "config.json")
    preprocessing = {} if described.vision is None else read_image_processor(folder)[0]
    tensors = _read_flax(weights) if weights.name == FLAX else _read_tensorflow(weights)
    return HubCheckpoint(described.family, config, preprocessing, tensors)


def _read_flax(path: Path) -> Tensors:
    try:
        import msgpack
    except ImportError as error:
        raise _missing(path, "msgpack", "flax") from error

    def array(code: int, data: bytes) -> Tensor:
        if code != _ARRAY:
            raise ValueError(f"an extension of type {code}, not an array")
        shape, dtype, content = msgpack.unpackb(data)
        if dtype not in _DTYPES or math.prod(shape) * _DTYPES[dtype].itemsize != len(content):
            raise ValueError(f"an array of {len(content)} bytes that claims to be {dtype} {list(shape)}")
        return torch.frombuffer(bytearray(content), dtype=_DTYPES[dtype]).reshape(shape)

    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=array, max_bin_len=_LARGEST_LEAF, max_ext_len=_LARGEST_LEAF)
        return dict(_renamed(keys, tensor) for keys, tensor in _leaves(tree))
    except (ValueError, TypeError, OSError, RuntimeError, msgpack.exceptions.UnpackException) as error:
        raise _damaged(path, error) from error


def _leaves(tree: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    if isinstance(tree, Tensor):
        yield keys, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*keys, str(key)))
    else:
        raise ValueError(f"{'/'.join(keys)} is a {type(tree).__name__}, not an array")


def _read_tensorflow(path: Path) -> Tensors:
    try:
        import h5py
    except ImportError as error:
        raise _missing(path, "h5py", "tf") from error
    tensors: Tensors = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual or item.id.get_storage_size() != item.nbytes:
                raise ValueError(f"the numbers of {name} are not in the file as they are")
            tensors.update([_renamed(_tensorflow_keys(name), torch.from_numpy(item[()]))])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (ValueError, TypeError, OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, error) from error
    return tensors


def _tensorflow_keys(name: str) -> tuple[str, ...]:
    """`clip/model/clip/text_model/encoder/layers_._0/mlp/fc1/kernel:0` -> the keys that Flax would have."""
    keys = name.removesuffix(":0").replace("_._", "/").split("/")
    start = next((i for i, key in enumerate(keys) if key in _PARTS_OF_A_MODEL), None)
    if start is None:
        raise ValueError(f"{name} is of no part of a CLIP")
    return tuple(keys[start:])


def _renamed(keys: tuple[str, ...], tensor: Tensor) -> tuple[str, Tensor]:
    """The hub's name, and torch's order of axes: kernels are (in, out), or (height, width, in, out)."""
    if not keys:
        raise ValueError("one array where a map of arrays is expected")
    if keys[-1] == "kernel":
        tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
    name = ".".join((*keys[:-1], _PARTS.get(keys[-1], keys[-1])))
    return name, tensor.reshape(()) if name == "logit_scale" else tensor.contiguous()


def _missing(path: Path, package: str, extra: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path} needs the optional package {package} to be read", hint=f"pip install 'clipcli[{extra}]'"
    )


def _damaged(path: Path, error: Exception) -> DamagedModelError:
    return DamagedModelError(f"{path} cannot be read: {error}", hint="fetch it again; the file is likely incomplete")
