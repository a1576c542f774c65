"""What users install: the wheel, away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files in a folder that comes before the checkout on the path."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "clipcli", *arguments]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_is_what_runs(installed: Path) -> None:
    code = "import clipcli; print(clipcli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(installed)


def test_label_sets_come_with_it(installed: Path) -> None:
    done = run(installed, "labels", "list", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert '"imagenet-1k"' in done.stdout


def test_the_bundled_model_names_a_sample_from_any_folder(installed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    shutil.copy(installed / "clipcli" / "demo" / "samples" / "cat.png", picture)
    done = run(installed, "classify", str(picture), "--labels", "cat,dog", "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "cat"


def test_a_wheel_without_the_bundled_model_says_so(installed: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(installed, tmp_path / "site-packages")
    (broken / "clipcli" / "demo" / "model.safetensors").unlink()
    sample = broken / "clipcli" / "demo" / "samples" / "cat.png"
    done = run(broken, "classify", str(sample), "--labels", "cat,dog", "--model", "demo")
    assert (done.returncode, done.stdout) == (4, "")
    assert "the bundled model is not in this installation" in done.stderr


def test_every_command_starts(installed: Path) -> None:
    for command in ("classify", "score", "labels", "models"):
        done = run(installed, command, "--help")
        assert done.returncode == 0, done.stderr


def test_man_pages_schemas_and_types_are_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "clipcli/py.typed" in names
    for folder, pattern in (("schemas", "*.json"), ("prompts", "**/*.yaml")):
        source = ROOT / folder if folder == "prompts" else ROOT / "clipcli" / folder
        files = {f"clipcli/{folder}/{path.relative_to(source)}" for path in source.glob(pattern)}
        assert files
        assert files <= set(names)
    for page in (ROOT / "man").glob("*.[15]"):
        section = page.suffix[1:]
        assert any(name.endswith(f"/data/share/man/man{section}/{page.name}") for name in names), page.name


def test_what_is_not_for_users_is_not_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if "training" in name or name.startswith("tests")]
