import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipcli.api.diagnose import check_devices, check_job
from clipcli.errors import DamagedModelError, UnsupportedModelError

OPERATIONS = {"attention", "layer_norm", "gelu", "quick_gelu", "matmul"}


def test_the_cpu_computes_right() -> None:
    checks = {check.dtype: check for check in check_devices() if check.device == "cpu"}
    assert [*checks] == ["float32", "float16", "bfloat16"]
    for check in checks.values():
        assert check.ok, check
        assert {*check.errors} == OPERATIONS
        assert check.failure is None
    assert 0 < max(filter(None, checks["float32"].errors.values())) < 1e-5
    assert max(filter(None, checks["float16"].errors.values())) > 1e-5  # it did compute in that format


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gelu", lambda x: F.relu(x)),
        ("layer_norm", lambda x, *_: x * 1.001),
        ("scaled_dot_product_attention", lambda query, key, value, **_: value),
    ],
)
def test_a_device_that_computes_wrong(name: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel for float32 is broken; the one for float64, which it is held to, is not."""
    right = getattr(F, name)

    def broken(x: Tensor, *arguments: object, **options: object) -> Tensor:
        result: Tensor = (wrong if x.dtype is torch.float32 else right)(x, *arguments, **options)  # type: ignore[operator]
        return result

    monkeypatch.setattr(F, name, broken)
    checks = {check.dtype: check for check in check_devices() if check.device == "cpu"}
    assert not checks["float32"].ok
    assert checks["float16"].ok


def test_a_device_that_gives_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    right = F.gelu
    monkeypatch.setattr(F, "gelu", lambda x: right(x) * (math.nan if x.dtype is torch.bfloat16 else 1))
    checks = {check.dtype: check for check in check_devices() if check.device == "cpu"}
    assert (checks["bfloat16"].ok, checks["bfloat16"].errors["gelu"]) == (False, None)
    assert checks["float32"].ok


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
def test_a_device_that_cannot(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(x: Tensor, *_: object) -> Tensor:
        if x.dtype is torch.float16:
            raise kind("\"LayerNorm\" not implemented for 'Half'\nand more")
        return x

    monkeypatch.setattr(F, "layer_norm", fails)
    check = next(check for check in check_devices() if check.dtype == "float16")
    assert not check.ok
    assert check.failure == "\"LayerNorm\" not implemented for 'Half'"


def test_a_model_that_would_run(clip_checkpoint: Path) -> None:
    check_job(str(clip_checkpoint))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"x" * 1000),
        ("preprocessor_config.json", b"[]"),
        ("preprocessor_config.json", b'{"crop_size": 48}'),
        ("vocab.json", b'{"a": 0}'),
    ],
)
def test_a_model_that_would_not(name: str, content: bytes, clip_checkpoint: Path, tmp_path: Path) -> None:
    for path in clip_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(content if path.name == name else path.read_bytes())
    with pytest.raises(DamagedModelError):
        check_job(str(tmp_path))


def test_a_model_of_one_tower(clip_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    for path in clip_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    CLIPVisionModelWithProjection.from_pretrained(clip_checkpoint).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="tower"):
        check_job(str(tmp_path))
