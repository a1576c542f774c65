"""The real huggingface_hub client, pointed at the stand-in and at an empty cache."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.helpers.hub_server import HubServer

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
def hub(monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.endpoint + template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        close_session()


@pytest.fixture
def cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait, each time; nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited
