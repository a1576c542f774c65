"""Checks of this machine: whether devices compute the right numbers, and whether a job would run. Prints nothing."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clipcli import hub
from clipcli.api.model import Model
from clipcli.checkpoints.open_clip import is_open_clip
from clipcli.compute.devices import (
    Placement,
    available_devices,
    check_dtype_name,
    choose_device,
    choose_dtype,
    require_torch,
    why_no_torch,
)
from clipcli.compute.options import RunOptions
from clipcli.features.cache import FeatureCache
from clipcli.foreign.check import check_foreign
from clipcli.foreign.kept import kept_conversion
from clipcli.foreign.resolve import is_foreign, resolve_model

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

# The largest error a result may have, as a part of the largest value. float32: what is promised of features; the
# others: five roundings of the format.
_TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}
_SEED = 0


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """The result of one device in one number format.

    Attributes:
        device: As `load` takes it.
        dtype: As `load` takes it.
        name: The manufacturer's name of the device.
        errors: Largest error of each operation, relative to the largest value, against float64 on the CPU; None if the
            result contains a value that is not a number.
        ok: Whether all errors are within what the format's rounding explains.
        milliseconds: Total time of the operations, including the preparations of the first call.
        failure: The device's error message if it cannot run them at all.
    """

    device: str
    dtype: str
    name: str
    errors: dict[str, float | None]
    ok: bool
    milliseconds: float
    failure: str | None = None


def check_devices() -> list[DeviceCheck]:
    """Let every device compute attention, layer norm, GELU and a matrix product in every number format.

    Takes a second at most, not counting the time a driver needs to start. Without torch, only numpy on the CPU is
    checked.
    """
    missing = why_no_torch()
    if missing is not None:
        return [_check_numpy(dtype, missing) for dtype in _TOLERANCES]
    return [_check(device, dtype) for device in available_devices() for dtype in _TOLERANCES]


def check_job(name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto") -> None:
    """Open a model that is on this machine as a run would, without reading the weights' data. Writes nothing.

    A file that a run would convert first is read and checked in memory.

    Raises:
        ClipError: The error that a run would end with.
    """
    foreign = revision is None and is_foreign(name)
    folder = hub.local_path(name) if foreign else hub.find_model(name, revision=revision).folder
    if (foreign or is_open_clip(folder)) and kept_conversion(folder) is None:
        check_foreign(folder)
        return
    files = resolve_model(name, revision=revision, fetch=False)
    model = Model(files, RunOptions(device=device, dtype=dtype, cache=False))
    model.encoders.check_weights()
    _ = (
        model.checkpoint.preprocessing,
        model.class_names or model.checkpoint.tokenizer,
    )  # a classification head reads no texts


def check_placement(device: str, dtype: str) -> Placement:
    """The device and dtype that a run would use, as torch sees them now; without torch, those of numpy.

    Raises:
        UsageError: A name is not known.
        DeviceError: This machine cannot do it.
    """
    if why_no_torch() is None:
        chosen = choose_device(device)
        return Placement.chosen([chosen], choose_dtype(dtype, chosen))
    check_dtype_name(dtype)
    known = Placement.known(device, dtype, FeatureCache.disabled())
    if known is None or known.numerics != "cpu float32":
        require_torch(f"device {device} with dtype {dtype}")
    return Placement("cpu", "float32")


def _check_numpy(dtype: str, missing: str) -> DeviceCheck:
    """Check numpy's operations in float32, and report that the other formats need torch."""
    if dtype != "float32":
        return DeviceCheck("cpu", dtype, "cpu", {}, False, 0.0, f"needs torch, which {missing}")
    start = time.perf_counter()
    x = np.random.default_rng(_SEED).standard_normal((50, 768), dtype=np.float32)
    errors: dict[str, float | None] = {}
    for name, compute in _numpy_operations().items():
        expected, found = compute(x.astype(np.float64)), compute(x.copy())
        error = float(abs(found - expected).max() / abs(expected).max())
        errors[name] = error if math.isfinite(error) else None
    ok = all(error is not None and error <= _TOLERANCES[dtype] for error in errors.values())
    return DeviceCheck("cpu", dtype, "cpu", errors, ok, _milliseconds(start))


def _numpy_operations() -> "dict[str, Callable[[NDArray[Any]], NDArray[Any]]]":
    """The operations of the towers in numpy. Each takes an array of shape (50, 768)."""
    from clipcli.compute.numpy_backend.activations import ACTIVATIONS
    from clipcli.compute.numpy_backend.clip import attend

    return {
        "attention": lambda x: attend(x[None], x[None], x[None], heads=12),
        "gelu": ACTIVATIONS["gelu"],
        "quick_gelu": ACTIVATIONS["quick_gelu"],
        "matmul": lambda x: x @ x.T,
    }


def _check(device: str, dtype: str) -> DeviceCheck:
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    errors: dict[str, float | None] = {}
    start = time.perf_counter()
    try:
        for operation, compute in _operations().items():
            errors[operation] = _error(compute, device, getattr(torch, dtype))
    except (RuntimeError, TypeError) as error:  # torch has no narrower ones for a missing kernel or a broken driver
        failure = next(iter(str(error).splitlines()), type(error).__name__)
        return DeviceCheck(device, dtype, name, errors, False, _milliseconds(start), failure)
    ok = all(error is not None and error <= _TOLERANCES[dtype] for error in errors.values())
    return DeviceCheck(device, dtype, name, errors, ok, _milliseconds(start))


def _milliseconds(start: float) -> float:
    return 1000 * (time.perf_counter() - start)


def _operations() -> dict[str, "Callable[[Tensor], Tensor]"]:
    """The operations of the towers, at similar sizes. Each takes an array of shape (50, 768)."""
    from torch.nn import functional as F

    from clipcli.networks.activations import quick_gelu
    from clipcli.networks.transformer import Recorder, attend, merge_heads, split_heads

    def attention(x: "Tensor") -> "Tensor":
        heads = split_heads(x[None], 12)
        return merge_heads(attend(heads, heads, heads, None, Recorder()))

    return {
        "attention": attention,
        "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
        "gelu": F.gelu,
        "quick_gelu": quick_gelu,
        "matmul": lambda x: x @ x.T,
    }


def _error(compute: "Callable[[Tensor], Tensor]", device: str, dtype: "torch.dtype") -> float | None:
    """The largest difference from float64 on the CPU, relative to the largest value; None if any is not a number."""
    import torch

    x = torch.randn(50, 768, generator=torch.Generator().manual_seed(_SEED)).to(dtype)
    with torch.inference_mode():
        expected = compute(x.double())
        found = compute(x.to(device)).cpu().double()
    error = float((found - expected).abs().max() / expected.abs().max())
    return error if math.isfinite(error) else None
