import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from clipcli.compute import devices as device_module
from clipcli.compute.devices import Placement, choose_device, choose_devices, choose_dtype, text_dtype
from clipcli.errors import ClipWarning, DeviceError, UsageError
from clipcli.features.cache import FeatureCache, open_cache

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "cuda:-1", "cuda:", "cpu:all", "cuda:all:1"])
def test_names_that_are_no_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(DeviceError, match="cuda:99") as raised:
        choose_device("cuda:99")
    assert "cpu" in (raised.value.hint or "")


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "available_devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert choose_device("auto") == CUDA
    assert choose_device("cuda") == CUDA
    assert choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("here", "chosen"), [(["cuda:0", "cuda:1", "cpu"], ["cuda:0", "cuda:1"]), (["cuda:0", "cpu"], ["cuda:0"])]
)
def test_all_gpus_are_as_many_as_there_are(here: list[str], chosen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "available_devices", lambda: here)
    assert choose_devices("cuda:all") == [torch.device(name) for name in chosen]
    assert choose_device("cuda:all") == CUDA
    assert choose_devices("cuda") == choose_devices("auto") == [CUDA]


@pytest.mark.parametrize("name", ["cuda", "cuda:all", "cuda:0"])
def test_without_a_gpu_every_name_of_one_is_the_same_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "available_devices", lambda: ["mps", "cpu"])
    with pytest.raises(DeviceError, match=f"{name}") as raised:
        choose_devices(name)
    assert "mps, cpu" in (raised.value.hint or "")


def test_a_placement_names_one_device_or_all_of_a_kind() -> None:
    assert Placement.chosen([CUDA], torch.float16) == Placement("cuda:0", "float16")
    several = Placement.chosen([CUDA, torch.device("cuda:1")], torch.float16)
    assert several == Placement("cuda:all", "float16")
    assert several.numerics == Placement("cuda:0", "float16").numerics


def test_auto_is_exact_on_the_cpu_and_fast_elsewhere() -> None:
    assert choose_dtype("auto", CPU) is torch.float32
    assert choose_dtype("auto", CUDA) is torch.float16
    assert choose_dtype("auto", torch.device("mps")) is torch.float16


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(UsageError, match="int4"):
        choose_dtype("int4", CPU)


def test_int8_is_for_the_cpu() -> None:
    assert choose_dtype("int8", CPU) is torch.int8
    with pytest.raises(DeviceError, match="int8"):
        choose_dtype("int8", CUDA)


def test_a_format_that_the_processor_lacks_is_slow_and_said_to_be() -> None:
    choose = partial(choose_dtype, computes_fast=lambda name: name != "bfloat16")
    with pytest.warns(ClipWarning, match=r"bfloat16.*float32"):
        assert choose("bfloat16", CPU) is torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose("float32", CPU)
        choose("bfloat16", CUDA)


def test_texts_are_encoded_in_float32_where_images_are_in_int8() -> None:
    assert text_dtype(torch.int8) is torch.float32
    assert text_dtype(torch.bfloat16) is torch.bfloat16


def test_what_a_machine_with_a_gpu_chose_is_not_taken_for_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = open_cache()
    monkeypatch.setattr(device_module, "DRIVERS", (__file__,))
    Placement("cuda:0", "float16").remember("auto", "auto", cache)
    assert Placement.known("auto", "auto", cache) == Placement("cuda:0", "float16")
    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert Placement.known("auto", "auto", cache) is None
    monkeypatch.setattr(device_module, "DRIVERS", (__file__, str(Path(__file__).parent)))
    assert Placement.known("auto", "auto", cache) is None


def test_where_no_accelerator_has_a_driver_auto_is_the_cpu_without_asking_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_module, "DRIVERS", ("/no/such/driver",))
    monkeypatch.setattr(sys, "platform", "linux")
    nothing = FeatureCache.disabled()
    assert Placement.known("auto", "auto", nothing) == Placement("cpu", "float32")
    assert Placement.known("auto", "int8", nothing) == Placement("cpu", "int8")
    assert Placement.known("cuda", "auto", nothing) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Placement.known("auto", "auto", nothing) is None
    assert Placement.known("cpu", "bfloat16", nothing) == Placement("cpu", "bfloat16")
