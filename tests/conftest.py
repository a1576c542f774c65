"""Shared fixtures: tiny checkpoints of every family, and a user's folders that no test may reach."""

import os
from pathlib import Path

import pytest

from tests.helpers.checkpoints import (
    write_altclip,
    write_chinese_clip,
    write_clip,
    write_metaclip_2,
    write_siglip,
    write_siglip2,
    write_siglip2_naflex,
)

# Read when huggingface_hub is first imported, so a fixture would come too late.
os.environ["HF_HUB_OFFLINE"] = "1"
from huggingface_hub import constants

SETTINGS = ("NO_COLOR", "FORCE_COLOR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT")


@pytest.fixture(autouse=True)
def user_folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Point every folder of the user into a folder of the test's own and forget their settings."""
    for name in (*SETTINGS, *(name for name in os.environ if name.startswith("CLIPCLI_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
    monkeypatch.setenv("HF_HOME", str(home / ".cache" / "huggingface"))
    if not _needs_weights(request):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / ".cache" / "huggingface" / "hub"))


def _needs_weights(request: pytest.FixtureRequest) -> bool:
    """Tests of published weights read the real hub cache; nothing else may."""
    return request.node.get_closest_marker("weights") is not None


@pytest.fixture(scope="session")
def clip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def chinese_clip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Chinese-CLIP with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_chinese_clip(tmp_path_factory.mktemp("chinese-clip"))


@pytest.fixture(scope="session")
def altclip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny AltCLIP with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_altclip(tmp_path_factory.mktemp("altclip"))


@pytest.fixture(scope="session")
def metaclip_2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny MetaCLIP 2 with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_metaclip_2(tmp_path_factory.mktemp("metaclip-2"))


@pytest.fixture(scope="session")
def siglip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def siglip2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP 2 of a fixed resolution with random weights. Read it; copy it before changing it."""
    return write_siglip2(tmp_path_factory.mktemp("siglip2"))


@pytest.fixture(scope="session")
def siglip2_naflex_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP 2 NaFlex with random weights, in the hub's layout. Read it; copy it before changing it."""
    return write_siglip2_naflex(tmp_path_factory.mktemp("siglip2-naflex"))
