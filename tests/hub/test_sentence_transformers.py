"""Models of sentence-transformers by hub id: the network lies in a folder of the repository."""

from pathlib import Path

import pytest

import clipcli
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.hub import find_model, plan_removal, stored_models, verify_files
from tests.helpers.hub_server import HubServer

NETWORK = "0_CLIPModel"


def repository(checkpoint: Path) -> dict[str, bytes]:
    files = {f"{NETWORK}/{path.name}": path.read_bytes() for path in checkpoint.iterdir()}
    return {**files, "modules.json": b"[]", "README.md": b"", "config_sentence_transformers.json": b"{}"}


def test_it_runs_as_its_network_does(hub: HubServer, clip_checkpoint: Path) -> None:
    commit = hub.add("me/sentences", repository(clip_checkpoint))
    model = clipcli.load("me/sentences", cache=False)
    expected = clipcli.load(str(clip_checkpoint), cache=False).encode_texts(["a cat"])
    assert model.encode_texts(["a cat"]).tolist() == expected.tolist()
    found = find_model("me/sentences")
    assert (found.folder.name, found.revision) == (NETWORK, commit)
    requests = len(hub.requests)
    again = clipcli.load("me/sentences", cache=False, offline=True)
    assert again.encode_texts(["a cat"]).tolist() == expected.tolist() and len(hub.requests) == requests


def test_only_what_is_read_is_fetched(hub: HubServer, clip_checkpoint: Path) -> None:
    hub.add("me/sentences", {**repository(clip_checkpoint), f"{NETWORK}/pytorch_model.bin": b"x", "vocab.txt": b"x"})
    folder = find_model_after_loading("me/sentences")
    assert sorted(path.name for path in folder.parent.iterdir()) == [NETWORK, "modules.json"]
    assert not (folder / "pytorch_model.bin").exists()


def test_it_is_listed_checked_and_removed_as_any_model(hub: HubServer, clip_checkpoint: Path) -> None:
    commit = hub.add("me/sentences", repository(clip_checkpoint))
    folder = find_model_after_loading("me/sentences")
    (stored,) = stored_models()
    assert (stored.hub_id, stored.revision, stored.folder, stored.missing) == ("me/sentences", commit, folder, ())
    assert {check.status for check in verify_files(folder)} == {"ok"}
    plan_removal("me/sentences").execute()
    assert not folder.exists() and stored_models() == ()


def test_a_network_that_is_not_run_is_refused_before_its_weights(hub: HubServer, clip_checkpoint: Path) -> None:
    config = f"{NETWORK}/config.json"
    hub.add("me/sentences", {**repository(clip_checkpoint), config: b'{"model_type": "bert"}'})
    with pytest.raises(UnsupportedModelError, match="'bert'"):
        clipcli.load("me/sentences")
    assert not any(request.path.endswith(".safetensors") for request in hub.requests)


def test_an_incomplete_network_is_said_to_be(hub: HubServer, clip_checkpoint: Path) -> None:
    hub.add("me/sentences", {k: v for k, v in repository(clip_checkpoint).items() if "preprocessor" not in k})
    with pytest.raises(DamagedModelError, match="preprocessor_config"):
        clipcli.load("me/sentences")


def find_model_after_loading(name: str) -> Path:
    clipcli.load(name, cache=False)
    return find_model(name).folder
