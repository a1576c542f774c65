"""Each optional extra does what it says; without its packages, the error names the command that brings them."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Clip
from tests.helpers.image_files import variant

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "formats"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED: dict[str, list[str]] = PROJECT["optional-dependencies"]
MODULES = {
    "flax": ("msgpack",),
    "heif": ("pillow_heif",),
    "sentencepiece": ("sentencepiece", "google.protobuf"),
    "tf": ("h5py",),
}
EVERY_MODULE = ",".join(module for modules in MODULES.values() for module in modules)
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))  # None there is Python's own way to say: not installed
from clipcli.__main__ import main
main()
"""
every_extra = pytest.mark.parametrize("extra", MODULES)
each_module = pytest.mark.parametrize(
    ("extra", "module"), [(extra, module) for extra, modules in MODULES.items() for module in modules]
)
# The image and the model of a run that needs the extra.
Need = tuple[Path, Path]


def heic_image(folder: Path, request: pytest.FixtureRequest) -> Need:
    image = folder / "photo.heic"
    image.write_bytes(variant("HEIF", "RGB", {}))
    return image, request.getfixturevalue("clip_checkpoint")


def sentencepiece_model(folder: Path, request: pytest.FixtureRequest) -> Need:
    """AltCLIP as it was first published: without tokenizer.json."""
    model = shutil.copytree(request.getfixturevalue("altclip_checkpoint"), folder / "altclip")
    shutil.copy(model / "spm" / "sentencepiece.bpe.model", model)
    (model / "tokenizer.json").unlink()
    return request.getfixturevalue("images") / "a.png", model


def flax_or_tensorflow_weights(name: str) -> Callable[[Path, pytest.FixtureRequest], Need]:
    def make(folder: Path, request: pytest.FixtureRequest) -> Need:
        model = Path(shutil.copytree(DATA / name, folder / name))
        shutil.copytree(DATA / "clip-tokenizer", model, dirs_exist_ok=True)
        return request.getfixturevalue("images") / "a.png", model

    return make


NEEDS = {
    "flax": flax_or_tensorflow_weights("flax"),
    "heif": heic_image,
    "sentencepiece": sentencepiece_model,
    "tf": flax_or_tensorflow_weights("tensorflow"),
}


def run_without(modules: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, modules, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_extra_is_tried_here() -> None:
    elsewhere = {"test", "index", "parquet", "scale", "serve"}  # tested beside what needs these
    of_models_and_images = set(DECLARED) - elsewhere
    assert of_models_and_images == set(MODULES) == set(NEEDS)


@every_extra
def test_the_tests_have_its_packages(extra: str) -> None:
    assert set(DECLARED[extra]) <= set(DECLARED["test"])


@every_extra
def test_with_its_packages(extra: str, clip: Clip, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    image, model = NEEDS[extra](tmp_path, request)
    outcome = clip("classify", image, "-l", "cat,dog", "-m", model)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [row["status"] for row in outcome.rows] == ["ok"]


@each_module
def test_without_a_package(extra: str, module: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    image, model = NEEDS[extra](tmp_path, request)
    done = run_without(module, "classify", image, "-l", "cat,dog", "-m", model)
    command = f"pip install 'clipcli[{extra}]'"
    if extra == "heif":  # one bad image never costs the run
        (row,) = map(json.loads, done.stdout.splitlines())
        assert (done.returncode, row["error"]["type"]) == (3, "MissingExtra")
        assert command in row["error"]["message"]
    else:
        assert (done.returncode, done.stdout) == (4, "")
        assert str(model) in done.stderr
        assert command in done.stderr


def test_what_needs_none_of_them_runs_without(clip_checkpoint: Path, images: Path) -> None:
    done = run_without(EVERY_MODULE, "classify", images / "a.png", "-l", "cat,dog", "-m", clip_checkpoint)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_says_how_to_get_them() -> None:
    report = run_without(EVERY_MODULE, "doctor", "--offline", "-v").stdout
    for extra in MODULES:
        assert f"not installed (pip install 'clipcli[{extra}]')" in report
