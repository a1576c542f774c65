from pathlib import Path

import pytest

from clipcli.errors import ClipError
from clipcli.hub import DEFAULT_MODEL, default_model, set_default_model
from clipcli.settings import config_file


def test_without_settings() -> None:
    assert default_model() == DEFAULT_MODEL
    assert not config_file().exists()


@pytest.mark.parametrize("name", ["chinese-b16", 'C:\\models\\"mine"', "/модели/剪辑/🎞️", "a\tb"])
def test_what_was_set_is_read_back(name: str) -> None:
    path = set_default_model(name)

    assert default_model() == name
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]


def test_another_configuration_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_default_model("vit-b16")
    monkeypatch.setenv("CLIPCLI_CONFIG_DIR", str(tmp_path / "other"))

    assert default_model() == DEFAULT_MODEL
    assert set_default_model("vit-l14") == tmp_path / "other" / "config.toml"


def test_other_settings_stay() -> None:
    path = set_default_model("vit-b16")
    path.write_text(f"# mine\n{path.read_text()}\n[other]\nmodel_x = 1\n", encoding="utf-8")

    set_default_model("vit-l14")

    assert default_model() == "vit-l14"
    text = path.read_text(encoding="utf-8")
    assert "# mine" in text and "[other]\nmodel_x = 1" in text and "vit-b16" not in text


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path) -> None:
    path = config_file()
    path.parent.mkdir(parents=True)
    (tmp_path / "dotfiles.toml").touch(mode=0o600)
    path.symlink_to(tmp_path / "dotfiles.toml")
    set_default_model("vit-l14")
    assert default_model() == "vit-l14"
    assert path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["model = ", "model = 7", 'model = ""'])
def test_broken_settings_are_named(content: str) -> None:
    path = config_file()
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")

    with pytest.raises(ClipError, match=r"config\.toml"):
        default_model()


def test_broken_settings_are_not_overwritten() -> None:
    path = config_file()
    path.parent.mkdir(parents=True)
    path.write_text("half = [", encoding="utf-8")

    with pytest.raises(ClipError, match="TOML"):
        set_default_model("vit-b16")
    assert path.read_text(encoding="utf-8") == "half = ["
