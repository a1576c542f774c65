"""Each optional extra does what it says; without its packages, the error names the command that brings them."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Clip
from tests.helpers.extras import COMMANDS, ROOT

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


def run_without(modules: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, modules, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_extra_is_tried_here() -> None:
    elsewhere = {"test", "index", "parquet", "scale", "serve"}  # tested beside what needs these
    of_models_and_images = set(DECLARED) - elsewhere
    assert of_models_and_images == set(MODULES)
    assert set(DECLARED) - {"test"} == set(COMMANDS)


@every_extra
def test_the_tests_have_its_packages(extra: str) -> None:
    assert set(DECLARED[extra]) <= set(DECLARED["test"])


@every_extra
def test_with_its_packages(extra: str, clip: Clip, tmp_path: Path) -> None:
    outcome = clip(*COMMANDS[extra](tmp_path))
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [row["status"] for row in outcome.rows] == ["ok"]


@each_module
def test_without_a_package(extra: str, module: str, tmp_path: Path) -> None:
    arguments = COMMANDS[extra](tmp_path)
    done = run_without(module, *arguments)
    command = f"pip install 'clipcli[{extra}]'"
    if extra == "heif":  # one bad image never costs the run
        (row,) = map(json.loads, done.stdout.splitlines())
        assert (done.returncode, row["error"]["type"]) == (3, "MissingExtra")
        assert command in row["error"]["message"]
    else:
        assert (done.returncode, done.stdout) == (4, "")
        assert arguments[-1] in done.stderr, "the model is named"
        assert command in done.stderr


def test_what_needs_none_of_them_runs_without(clip_checkpoint: Path, images: Path) -> None:
    done = run_without(EVERY_MODULE, "classify", images / "a.png", "-l", "cat,dog", "-m", clip_checkpoint)
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_says_how_to_get_them() -> None:
    report = run_without(EVERY_MODULE, "doctor", "--offline", "-v").stdout
    for extra in MODULES:
        assert f"not installed (pip install 'clipcli[{extra}]')" in report
