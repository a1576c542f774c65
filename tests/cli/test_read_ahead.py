"""The first images are read while torch is imported, if nobody has to wait for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Clip, Program

# The import of torch goes on only once an image is being decoded.
TORCH_WAITS = """
import importlib.machinery
import sys
import threading

decoding = threading.Event()

class Gate:
    def find_spec(name, path, target=None):
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def wait_and_execute(module):
            assert decoding.wait(30), "torch is imported, and no image is being decoded"
            execute(module)
        spec.loader.exec_module = wait_and_execute
        return spec

sys.meta_path.insert(0, Gate)
from clipcli.__main__ import main
from clipcli.images import prepare

decode = prepare.decode
def decode_and_tell(*arguments):
    decoding.set()
    return decode(*arguments)
prepare.decode = decode_and_tell
main()
"""

LABELS = ("--labels", "cat,dog")


def run_gated(checkpoint: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", TORCH_WAITS, *(str(argument) for argument in arguments), "-m", str(checkpoint)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", *LABELS),
        ("classify", *LABELS, "--no-cache"),
        ("score", "--text", "a cat"),
        ("tag", *LABELS),
    ],
    ids=["classify", "no-cache", "score", "tag"],
)
def test_torch_is_imported_while_images_are_decoded(
    arguments: tuple[str, ...], images: Path, clip_checkpoint: Path
) -> None:
    result = run_gated(clip_checkpoint, *arguments, images)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_so_it_is_where_images_are_new_and_the_model_is_not(
    images: Path, clip_checkpoint: Path, clip: Clip, tmp_path: Path
) -> None:
    cat, *others = sorted(images.iterdir())
    known, new = tmp_path / "known", tmp_path / "new"
    for folder, members in ((known, [cat]), (new, others)):
        folder.mkdir()
        for member in members:
            (folder / member.name).write_bytes(member.read_bytes())
    os.utime(known / cat.name, (10**9, 10**9))
    assert clip("classify", known, *LABELS).status == 0
    result = run_gated(clip_checkpoint, "classify", known, new, "--labels", "bird,cow")
    assert result.returncode == 0, result.stderr
    image = json.loads(clip("cache", "info", "--json").stdout)["results"][0]["image"]
    # Each is looked for once, however early it was read.
    assert (image["features"], image["hits"], image["misses"]) == (3, 1, 3)


def test_answers_are_those_of_a_run_that_reads_later(images: Path, clip: Clip) -> None:
    files = sorted(images.iterdir())
    ahead = clip("classify", *files, "no-such.png", *LABELS, "--no-cache")
    later = clip("classify", "--from-file", "-", *LABELS, "--no-cache", stdin="\n".join(map(str, files)).encode())
    for one, other in zip(ahead.rows[:-1], later.rows, strict=True):  # numpy computes the few, torch a stream
        assert (one["path"], one["label"]) == (other["path"], other["label"])
        for a, b in zip(one["predictions"], other["predictions"], strict=True):
            assert a["cosine"] == pytest.approx(b["cosine"], abs=1e-5)
    assert ahead.rows[-1]["path"] == "no-such.png"
    assert ahead.rows[-1]["status"] != "ok"


@pytest.mark.parametrize("named", ["pipe", "*/pip?", "list"])
def test_a_pipe_is_not_waited_for(named: str, program: Program, tmp_path: Path) -> None:
    """A mistake is told at once, whoever may yet write the image."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "list").write_text(f"{pipe}\n")
    inputs = ["--from-file", tmp_path / "list"] if named == "list" else [tmp_path.parent / named]
    inputs = [pipe] if named == "pipe" else inputs
    process = program("classify", *inputs, "--labels", "Cat,cat", "--no-template")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"are the same to this model" in said


def test_a_image_from_a_pipe_is_read_once(clip: Clip, images: Path, tmp_path: Path) -> None:
    image = sorted(images.iterdir())[0]
    expected = clip("classify", image, *LABELS).rows[0]["predictions"]
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", image, pipe]):
        found = clip("classify", pipe, *LABELS).rows[0]["predictions"]
    for one, other in zip(found, expected, strict=True):
        assert one["cosine"] == pytest.approx(other["cosine"], abs=1e-5)
