from pathlib import Path

import pytest

from clipcli.errors import DamagedModelError, ExitStatus, ModelNotFoundError, UsageError
from clipcli.hub import fetch_model, find_model, pull_model
from clipcli.hub import resolve as resolve_module
from tests.helpers.errors import about
from tests.helpers.folders import write
from tests.hub.conftest import checkpoint_files

pytestmark = pytest.mark.usefixtures("cache_dir")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-model"
    made.mkdir()
    return write(made, checkpoint_files())


def test_a_folder(folder: Path) -> None:
    model = fetch_model(str(folder))

    assert (model.id, model.folder, model.revision, model.source) == (str(folder), folder, None, "folder")


def test_a_folder_by_a_relative_name_that_looks_like_a_hub_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)

    assert fetch_model(f"{folder.parent.name}/{folder.name}").source == "folder"


def test_a_folder_under_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))

    assert fetch_model("~/my-model").folder == folder


def test_a_folder_that_lacks_something(folder: Path) -> None:
    (folder / "config.json").unlink()

    with pytest.raises(DamagedModelError, match=r"my-model.*config\.json") as caught:
        fetch_model(str(folder))
    assert caught.value.exit_status == ExitStatus.MODEL


def test_an_alias_goes_before_a_folder_of_that_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.with_name("vit-b32"))
    monkeypatch.chdir(folder.parent)

    with pytest.raises(ModelNotFoundError, match="openai/clip-vit-base-patch32"):
        fetch_model("vit-b32", offline=True)
    assert fetch_model("./vit-b32").source == "folder"


def test_the_bundled_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "demo_folder", lambda: folder)

    model = fetch_model("demo")

    assert (model.id, model.folder, model.source) == ("demo", folder, "bundled")


def test_the_bundled_model_when_it_is_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").unlink()
    monkeypatch.setattr(resolve_module, "demo_folder", lambda: folder)

    with pytest.raises(DamagedModelError, match=r"model\.safetensors"):
        fetch_model("demo")


@pytest.mark.parametrize("name", ["demo", "FOLDER"])
def test_revisions_are_for_the_hub(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, check=about("revision")):
        fetch_model(name.replace("FOLDER", str(folder)), revision="v1")


def test_only_hub_models_can_be_pulled(folder: Path) -> None:
    with pytest.raises(UsageError, match="pulled"):
        pull_model(str(folder))


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("vit-b23", "vit-b23", "vit-b32"),
        ("VIT_B32", "VIT_B32", "vit-b32"),
        ("chinese-b61", "chinese-b61", "chinese-b16"),
        ("zzz", "model", "models"),
        ("./none", "/none", "models"),
        ("~/none", "~/none", "models"),
        ("~nobody/none", "~nobody/none", "models"),
        ("/none/at/all", "/none/at/all", "models"),
        ("", "model", "models"),
        ("me/my--model", "me/my--model", "models"),
        ("小明/模型", "小明/模型", "models"),
        ("a/b/c", "a/b/c", "models"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str, hint: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find_model(name)

    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
