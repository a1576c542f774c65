"""Which device and number format to compute with."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from clipcli.errors import DeviceError, UsageError, warn

if TYPE_CHECKING:
    import torch

    from clipcli.features.cache import FeatureCache

_DEVICE = r"auto|cpu|mps|cuda(:[0-9]+|:all)?"
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, and Windows' under its Linux
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def available_devices() -> list[str]:
    """Names of the devices of this machine, best first."""
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def why_no_torch() -> str | None:
    """Why torch cannot be used, to follow "torch, which"; None if it can. Imports it."""
    if find_spec("torch") is None:
        return "is not installed"
    try:
        import_module("torch")
    except (ImportError, OSError) as error:
        return f"cannot be imported: {next(iter(str(error).splitlines()), type(error).__name__)}"
    return None


def require_torch(what: str) -> None:
    """Import torch for something that cannot do without.

    Raises:
        DeviceError: It cannot be used; the message begins with `what` needs it.
    """
    missing = why_no_torch()
    if missing is not None:
        raise DeviceError(
            f"{what} needs torch, which {missing}",
            hint="install it (`pip install torch`) and run the same command again",
        )


def check_device_name(name: str) -> None:
    """Check that a text is the name of a device that some machine could have.

    Raises:
        UsageError: It is not.
    """
    if not re.fullmatch(_DEVICE, name):
        raise UsageError(
            f"device {name} is not a device",
            hint="use auto, cpu, cuda, cuda:N, cuda:all or mps",
            parameter="device",
            value=name,
        )


def check_dtype_name(name: str) -> None:
    """Refuse what is not the name of a number format.

    Raises:
        UsageError: The name is not in `DTYPES`.
    """
    if name not in DTYPES:
        raise UsageError(f"dtype {name} is not known", hint=f"use {', '.join(DTYPES)}", parameter="dtype", value=name)


def choose_devices(name: str) -> "list[torch.device]":
    """Turn `auto`, `cpu`, `cuda`, `cuda:N`, `cuda:all` or `mps` into devices of this machine; only `cuda:all` is many.

    Raises:
        UsageError: The name is not one of these.
        DeviceError: This machine has no such device (the message lists those it has), or torch is not installed.
    """
    check_device_name(name)
    require_torch(f"device {name}")
    import torch

    devices = available_devices()
    gpus = [device for device in devices if device.startswith("cuda")]
    wanted = {"auto": devices[:1], "cuda": ["cuda:0"], "cuda:all": gpus or ["cuda:0"]}.get(name, [name])
    if not set(wanted) <= set(devices):
        raise DeviceError(
            f"device {name}: this machine has no such device",
            hint=f"it has: {', '.join(devices)}",
            parameter="device",
            value=name,
        )
    return [torch.device(device) for device in wanted]


def choose_device(name: str) -> "torch.device":
    """The one device that a name means; of `cuda:all` the first. Raises as `choose_devices` does."""
    return choose_devices(name)[0]


def computes_fast(name: str) -> bool:
    """Whether this processor has instructions for a half-precision format, as oneDNN sees it."""
    import torch

    probes = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}
    if name not in probes:
        return True
    probe = getattr(torch.ops.mkldnn, probes[name], None)
    return probe is not None and bool(probe())


def choose_dtype(
    name: str, device: "torch.device", computes_fast: Callable[[str], bool] = computes_fast
) -> "torch.dtype":
    """Turn the name of a number format into a torch dtype; `auto` is float32 on the CPU and float16 elsewhere.

    Warns (`ClipWarning`) where a format is slower than float32, because the processor has no arithmetic for it.

    Raises:
        UsageError: The name is not in `DTYPES`.
        DeviceError: int8 on another device than the CPU.
    """
    import torch

    check_dtype_name(name)
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name == "int8" and (device.type != "cpu" or not torch.backends.mkldnn.is_available()):
        raise DeviceError(
            f"dtype int8 does not run on {device}",
            hint='use `device="cpu"`, or another `dtype`',
            parameter="dtype",
            value=name,
        )
    if device.type == "cpu" and not computes_fast(name):
        warn(f"`dtype={name!r}` is slower than float32 on this processor")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def text_dtype(dtype: "torch.dtype") -> "torch.dtype":
    """What text towers compute in: int8 is for images, of which there are many; texts are encoded once."""
    import torch

    return torch.float32 if dtype is torch.int8 else dtype


@dataclass(frozen=True, slots=True)
class Placement:
    """Where features are computed and in which number format, by name: `cuda:0`, `float16`."""

    device: str
    dtype: str

    @property
    def numerics(self) -> str:
        """What of it features depend on."""
        return f"{self.device.partition(':')[0]} {self.dtype}"

    @property
    def text_numerics(self) -> str:
        """What of it text features depend on; see `text_dtype`."""
        return replace(self, dtype="float32").numerics if self.dtype == "int8" else self.numerics

    @classmethod
    def known(cls, device: str, dtype: str, cache: "FeatureCache") -> Self | None:
        """What `device` and `dtype` mean, as far as that can be told without torch, else None.

        On the CPU that is sure; so is `auto` where no accelerator has a driver, or where there is no torch. Otherwise
        it is what this installation of torch answered when it was last asked.
        """
        if device == "cpu" or (device == "auto" and (_has_cpu_only() or find_spec("torch") is None)):
            return cls("cpu", "float32" if dtype == "auto" else dtype)
        known = cache.placement(_question(device, dtype))
        return cls(*known) if known else None

    @classmethod
    def chosen(cls, devices: "Sequence[torch.device]", dtype: "torch.dtype") -> Self:
        """Name what torch has; several devices are of one type."""
        name = str(devices[0]) if len(devices) == 1 else f"{devices[0].type}:all"
        return cls(name, str(dtype).removeprefix("torch."))

    def remember(self, device: str, dtype: str, cache: "FeatureCache") -> None:
        """Keep the answer for runs that need no torch."""
        cache.remember_placement(_question(device, dtype), self.device, self.dtype)


def _has_cpu_only() -> bool:
    """Whether no accelerator can be there: on Linux each needs a driver that shows itself."""
    return sys.platform == "linux" and not any(os.path.exists(path) for path in DRIVERS)


def _question(device: str, dtype: str) -> str:
    """What was asked, of which installation of torch, and in sight of which drivers; torch is not imported for it.

    So the answer of a machine with a GPU is not taken for that of one without that shares its cache.
    """
    spec = find_spec("torch")
    installed = Path(spec.origin).stat().st_mtime_ns if spec and spec.origin else 0
    drivers = [path for path in DRIVERS if os.path.exists(path)]
    hidden = [f"{name}={os.environ[name]}" for name in _VISIBLE if name in os.environ]
    return " ".join((device, dtype, str(installed), *drivers, *hidden))
