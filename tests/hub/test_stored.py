import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipcli.errors import ModelNotFoundError
from clipcli.hub import fetch_model, find_model, model_folder, plan_removal, stored_models, verify_files
from tests.helpers.hub_server import HubServer
from tests.hub.conftest import B32, WEIGHTS, checkpoint_files

B16 = "openai/clip-vit-base-patch16"


def files_under(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_stored_models(hub: HubServer, cache_dir: Path) -> None:
    assert stored_models() == ()
    commit = hub.add(B32, checkpoint_files())
    hub.add("me/my-model", checkpoint_files())
    fetch_model(B32)
    fetch_model("me/my-model")
    other = cache_dir / "models--me--bert" / "snapshots" / "0" / "config.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"model_type": "bert"}')

    mine, b32 = stored_models()

    assert (mine.hub_id, mine.family) == ("me/my-model", "clip")
    assert (b32.hub_id, b32.revision, b32.missing) == (B32, commit, ())
    assert b32.size_bytes == sum(files_under(cache_dir / "models--openai--clip-vit-base-patch32").values())


def test_a_half_written_model_is_listed_as_such(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    (fetch_model(B32).folder / "config.json").resolve().unlink()

    (model,) = stored_models()

    assert model.missing == ("config.json",)


def test_a_model_that_is_here_at_another_revision_only(hub: HubServer) -> None:
    hub.add("me/mine", checkpoint_files())
    tagged = hub.add("me/mine", checkpoint_files(b"tagged"), revision="v1")
    folder = fetch_model("me/mine", revision="v1").folder

    (model,) = stored_models()
    assert (model.only_at, model.revision, model.folder) == ("v1", tagged, folder)
    for find in (find_model, model_folder):
        with pytest.raises(ModelNotFoundError, match="me/mine") as caught:
            find("me/mine")
        assert (caught.value.hint or "").startswith("`revision='v1'` uses what is installed; ")
    with pytest.raises(ModelNotFoundError, match=r"at revision v1 only .* and .offline=True. forbids"):
        fetch_model("me/mine", offline=True)
    with pytest.raises(ModelNotFoundError, match="at revision v1 only"):
        find_model("me/mine", revision="v2")

    fetch_model("me/mine")
    (model,) = stored_models()
    assert (model.only_at, model.missing) == (None, ())
    with pytest.raises(ModelNotFoundError, match="at revision main and v1 only"):
        find_model("me/mine", revision="v2")


def lost(ref: Path) -> None:
    ref.unlink()


def empty(ref: Path) -> None:
    ref.write_text("")


def not_text(ref: Path) -> None:
    ref.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("broken", [lost, empty, not_text])
def test_a_model_without_its_branch_is_called_by_its_commit(
    hub: HubServer, cache_dir: Path, broken: Callable[[Path], None]
) -> None:
    commit = hub.add("me/mine", checkpoint_files())
    folder = fetch_model("me/mine").folder
    broken(cache_dir / "models--me--mine" / "refs" / "main")

    (model,) = stored_models()
    assert (model.only_at, model.folder) == (commit, folder)
    with pytest.raises(ModelNotFoundError, match=f"at revision {commit} only"):
        find_model("me/mine")
    assert find_model("me/mine", revision=commit).folder == folder


def test_verify(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    folder = fetch_model(B32).folder
    assert {check.status for check in verify_files(folder)} == {"ok"}

    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    (folder / "vocab.json").resolve().unlink()

    hub.requests.clear()
    status = {check.name: check.status for check in verify_files(model_folder(B32))}
    assert status["model.safetensors"] == "damaged"
    assert status["vocab.json"] == "missing"
    assert status["config.json"] == "ok"
    assert hub.requests == []


def test_verify_where_a_folder_stands_for_a_file(hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    config = fetch_model(B32).folder / "config.json"
    config.unlink()
    config.mkdir()

    status = {check.name: check.status for check in verify_files(model_folder(B32))}
    assert status["config.json"] == "missing"
    assert status["model.safetensors"] == "ok"


def test_verify_a_folder_without_hashes(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "copy"))
    assert {check.status for check in verify_files(folder)} == {"readable"}

    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4])
    (folder / "config.json").write_bytes(b"{")
    (folder / "preprocessor_config.json").unlink()

    status = {check.name: check.status for check in verify_files(folder)}
    assert status["model.safetensors"] == "damaged"
    assert status["config.json"] == "damaged"


def test_a_header_that_claims_10_gigabytes(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "copy"))
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.write((10 * 10**9).to_bytes(8, "little"))

    status = {check.name: check.status for check in verify_files(folder)}

    assert status["model.safetensors"] == "damaged"


def test_removal_frees_what_it_says_and_nothing_else(hub: HubServer, cache_dir: Path) -> None:
    for hub_id in (B32, B16):
        hub.add(hub_id, checkpoint_files())
        fetch_model(hub_id)
    folder = cache_dir / "models--openai--clip-vit-base-patch32"
    (folder / "blobs" / "1234.incomplete").write_bytes(b"x" * 1000)
    before = files_under(cache_dir)

    removal = plan_removal(B32)
    assert files_under(cache_dir) == before
    removal.execute()

    gone = {path: size for path, size in before.items() if path not in files_under(cache_dir)}
    assert all(folder in path.parents for path in gone)
    assert not folder.exists()
    blobs = sum(size for path, size in gone.items() if path.parent.name == "blobs")
    assert removal.frees_bytes == blobs
    assert fetch_model(B16, offline=True).id == B16


def test_removing_a_copy_leaves_the_original(hub: HubServer, cache_dir: Path) -> None:
    """Copies of a repository have the same commits, by which huggingface_hub deletes."""
    copies = {B32, "a/copy", "b/copy", "y/copy", "z/copy"}
    commit = hub.add(B32, checkpoint_files(b"weights"))
    for copy in copies:
        hub.models[copy] = hub.models[B32]
        fetch_model(copy)

    for copy in sorted(copies):
        plan_removal(copy).execute()
        copies.remove(copy)
        left = {model.hub_id: model.revision for model in stored_models()}
        assert left == dict.fromkeys(copies, commit)


def test_a_model_that_cannot_be_scanned_is_removed_too(hub: HubServer, cache_dir: Path) -> None:
    hub.add(B32, checkpoint_files())
    fetch_model(B32)
    folder = cache_dir / "models--openai--clip-vit-base-patch32"
    shutil.rmtree(folder / "snapshots")

    removal = plan_removal(B32)
    removal.execute()

    assert removal.frees_bytes >= len(WEIGHTS)
    assert not folder.exists()


def test_a_broken_ref_of_another_model_is_in_nobodys_way(hub: HubServer, cache_dir: Path) -> None:
    for hub_id in (B32, "me/mine"):
        hub.add(hub_id, checkpoint_files())
        fetch_model(hub_id)
    not_text(cache_dir / "models--me--mine" / "refs" / "main")

    plan_removal(B32).execute()
    assert not (cache_dir / "models--openai--clip-vit-base-patch32").exists()
    plan_removal("me/mine").execute()
    assert stored_models() == ()


def test_a_model_that_was_moved_and_linked_to_goes_with_its_link(
    hub: HubServer, cache_dir: Path, tmp_path: Path
) -> None:
    hub.add(B32, checkpoint_files())
    fetch_model(B32)
    link, moved = cache_dir / "models--openai--clip-vit-base-patch32", tmp_path / "disk" / "moved"
    moved.parent.mkdir()
    link.rename(moved)
    link.symlink_to(moved)

    removal = plan_removal(B32)
    assert removal.folder == moved
    assert removal.frees_bytes >= len(WEIGHTS)
    removal.execute()
    assert not moved.exists()
    assert not link.is_symlink()


def test_removing_what_is_not_there(cache_dir: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=f"{B32}"):
        plan_removal(B32)
