"""The real huggingface_hub client, pointed at the stand-in and at an empty cache."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.helpers.hub_server import HubServer, pointed_at

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB
B32 = "openai/clip-vit-base-patch32"


def checkpoint_files(weights: bytes = WEIGHTS, **more: bytes) -> dict[str, bytes]:
    """A repository as published: what is needed, and what is not."""
    return {
        "README.md": b"a model card",
        "config.json": b'{"model_type": "clip", "architectures": ["CLIPModel"]}',
        "flax_model.msgpack": b"flax",
        "merges.txt": b"#version",
        "model.safetensors": weights,
        "onnx/model.onnx": b"onnx",
        "preprocessor_config.json": b'{"crop_size": 224}',
        "pytorch_model.bin": b"pickle",
        "tf_model.h5": b"tensorflow",
        "tokenizer_config.json": b"{}",
        "vocab.json": b'{"a": 0}',
        **more,
    }


@pytest.fixture
def hub(cache_dir: Path) -> Iterator[HubServer]:
    with HubServer() as server, pointed_at(server, cache_dir, cache_dir.parent / "token"):
        yield server


@pytest.fixture
def cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait, each time; nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited
