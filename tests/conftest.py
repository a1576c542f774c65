"""Shared fixtures: tiny checkpoints of every family, and a user's folders that no test may reach."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoints import WRITERS

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


def _checkpoint(kind: str) -> Any:
    @pytest.fixture(scope="session", name=f"{kind}_checkpoint")
    def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return WRITERS[kind](tmp_path_factory.mktemp(kind))

    return written


# `clip_checkpoint`, `siglip_checkpoint` and so on: a tiny one with random weights for each writer. Read it; copy it
# before changing it.
globals().update({f"{kind}_checkpoint": _checkpoint(kind) for kind in WRITERS})
