"""What the `CLIPCLI_` variables do to a run, without their flags; that they reach a message is in `test_bad_labels`."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clipcli.compute import devices as device
from clipcli.compute.numpy_backend.image_encoder import NumpyImageEncoder
from clipcli.features import pipeline as image_pipeline
from tests.cli.conftest import Clip, Outcome, Program
from tests.helpers.hub_server import HubServer
from tests.hub.conftest import B32


def classify(clip: Clip, images: Path, **variables: str) -> Outcome:
    return clip("classify", images, "-l", "cat,dog", "--json", "--no-cache", **variables)


def test_device_and_dtype(clip: Clip, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = json.loads(classify(clip, images, CLIPCLI_DEVICE="cpu", CLIPCLI_DTYPE="bfloat16").stdout)["run"]
    assert (run["device"], run["dtype"]) == ("cpu", "bfloat16")
    run = json.loads(classify(clip, images, CLIPCLI_DEVICE="cpu").stdout)["run"]
    assert (run["device"], run["dtype"]) == ("cpu", "float32")

    monkeypatch.setattr(device, "available_devices", lambda: ["cpu"])
    absent = classify(clip, images, CLIPCLI_DEVICE="cuda:1")
    assert (absent.status, absent.stdout) == (1, "")
    assert absent.stderr.startswith("clip: error: --device cuda:1: this machine has no such device\n")


def test_batch_size(clip: Clip, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    encode = NumpyImageEncoder.encode

    def noted(self: NumpyImageEncoder, pixels: Any, **options: Any) -> Any:
        sizes.append((self.batch_size, len(pixels)))
        return encode(self, pixels, **options)

    monkeypatch.setattr(NumpyImageEncoder, "encode", noted)
    assert classify(clip, images, CLIPCLI_BATCH_SIZE="1").status == 0
    assert sizes == [(1, 1)] * 3


def test_workers(clip: Clip, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    class Noted(ThreadPoolExecutor):
        def __init__(self, max_workers: int, **options: Any) -> None:
            threads.append(max_workers)
            super().__init__(max_workers, **options)

    monkeypatch.setattr(image_pipeline, "ThreadPoolExecutor", Noted)
    assert classify(clip, images, CLIPCLI_WORKERS="7").status == 0
    assert set(threads) == {7}


def test_offline(program: Program, images: Path, tmp_path: Path) -> None:
    with HubServer() as hub:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}

        def run(offline: str) -> tuple[int, str, str]:
            variables = {**settings, "CLIPCLI_OFFLINE": offline}
            process = program("classify", images, "-l", "cat,dog", "-m", "vit-b32", environment=variables)
            stdout, stderr = process.communicate()
            return process.returncode, stdout.decode(), stderr.decode()

        status, stdout, stderr = run("1")
        assert (status, stdout) == (4, "")
        assert stderr.startswith(f"clip: error: {B32} is not on this machine")
        assert "--offline forbids fetching it" in stderr
        assert all(part in stderr for part in ("CLIPCLI_OFFLINE=1", "--offline"))
        assert hub.requests == []

        status, stdout, stderr = run("0")
        assert (status, stdout) == (4, "")
        assert hub.requests, "the stand-in can be asked"
