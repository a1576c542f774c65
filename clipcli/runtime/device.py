"""Which device and number format to compute with. Imports torch only inside functions."""

from typing import TYPE_CHECKING

from clipcli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")


def available_devices() -> list[str]:
    """Names that `--device` takes on this machine, best first."""
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(name: str) -> "torch.device":
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device of this machine.

    Raises:
        UsageError: The name is not one of these.
        DeviceError: This machine has no such device; the message lists those it has.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdigit())):
        raise UsageError(f"--device {name} is not a device", hint="use auto, cpu, cuda, cuda:N or mps")
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in devices:
        raise DeviceError(f"--device {name}: this machine has no such device", hint=f"it has: {', '.join(devices)}")
    return torch.device(wanted)


def choose_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """Turn `--dtype` into a torch dtype; `auto` is float32 on the CPU and float16 elsewhere.

    Raises:
        UsageError: The name is not in `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise UsageError(f"--dtype {name} is not known", hint=f"use {', '.join(DTYPES)}")
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype
