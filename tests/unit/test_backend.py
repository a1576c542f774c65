"""What computes: chosen by what there is to do, the same each time, and numpy wherever torch is not to be had."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import clipcli
from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import ResNetConfig, VisionConfig
from clipcli.compute.backend import Work, choose_backend, why_torch
from clipcli.compute.devices import Placement
from clipcli.compute.numpy_backend.image_encoder import NumpyImageEncoder
from clipcli.compute.torch_backend.image_encoder import ImageEncoder
from clipcli.hub import weight_files
from clipcli.images.find import ImageSource, Pause

CPU = Placement("cpu", "float32")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (Work(), "numpy"),
        (Work(1, 2), "numpy"),
        (Work(64, 0), "numpy"),
        (Work(65, 0), "torch"),
        (Work(0, 800), "numpy"),
        (Work(0, 1000), "torch"),
        (Work(50, 500), "torch"),
        (Work(None, 0), "torch"),
        (Work(0, None), "torch"),
    ],
)
def test_the_choice_at_a_published_size(work: Work, expected: str, clip_checkpoint: Path) -> None:
    config = read_config(clip_checkpoint)
    assert config.text is not None
    text = replace(config.text, hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
    config = replace(config, vision=VisionConfig(), text=text)
    assert choose_backend(work, config, None) == expected
    assert choose_backend(work, config, "a ResNet") == "torch"


def test_a_larger_tower_is_worth_torch_sooner(clip_checkpoint: Path) -> None:
    large = VisionConfig(1024, 4096, 24, 16, patch_size=14)
    config = replace(read_config(clip_checkpoint), vision=large)
    assert choose_backend(Work(3, 2), config, None) == "numpy"
    assert choose_backend(Work(4, 2), config, None) == "torch"


def test_what_numpy_cannot_do(clip_checkpoint: Path, tmp_path: Path) -> None:
    config, files = read_config(clip_checkpoint), weight_files(clip_checkpoint)
    assert why_torch(config, files, CPU) is None
    assert "cuda:0" in (why_torch(config, files, Placement("cuda:0", "float16")) or "")
    assert "int8" in (why_torch(config, files, Placement("cpu", "int8")) or "")
    resnet = ResNetConfig((1, 1, 1, 1), 64, 32, 224)
    for other in (replace(config, vision=resnet), replace(config, id2label=("a", "b")), replace(config, family="new")):
        assert why_torch(other, files, CPU)
    assert "pytorch_model.bin" in (why_torch(config, [tmp_path / "pytorch_model.bin"], CPU) or "")


@pytest.mark.parametrize("name", ["clip_checkpoint", "chinese_clip_checkpoint", "altclip_checkpoint"])
def test_both_give_the_same_answers(
    name: str, images: list[Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(request.getfixturevalue(name))
    small = clipcli.load(folder, cache=False)
    texts = [f"a photo of a {word}" for word in ("cat", "dog", "bird")]
    by_numpy = small.encode_images(images), small.encode_texts(texts)
    assert isinstance(small.encoders.image, NumpyImageEncoder)
    large = clipcli.load(folder, cache=False)
    large.encoders.expect_images(None)
    assert isinstance(large.encoders.image, ImageEncoder)
    by_torch = large.encode_images(images), large.encode_texts(texts)
    for ours, theirs in zip(by_numpy, by_torch, strict=True):
        assert (abs((ours.astype(np.float64) * theirs).sum(axis=1) - 1) < 2e-6).all()
    assert small.logits == large.logits


def test_streams_are_not_waited_for(clip_checkpoint: Path, images: list[Path]) -> None:
    def stream() -> Iterator[ImageSource | Pause]:
        for path in images:
            yield ImageSource(str(path))

    model = clipcli.load(str(clip_checkpoint), cache=False)
    list(model.image_features(stream()))
    assert isinstance(model.encoders.image, ImageEncoder)
    model = clipcli.load(str(clip_checkpoint), cache=False)
    list(model.image_features(stream(), at_hand=True))
    assert isinstance(model.encoders.image, NumpyImageEncoder)


def test_only_new_images_count(clip_checkpoint: Path, images: list[Path]) -> None:
    counted: list[int | None] = []
    for paths in (images[:2], images, images):
        model = clipcli.load(str(clip_checkpoint))
        model.encoders.expect_images = counted.append  # type: ignore[method-assign]
        model.encode_images(paths)
    assert counted == [2, 1, 0] or counted == [2, 3, 3]  # files as young as these may not be known by their stamp


def test_many_new_images_are_not_counted(clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint), cache=False)
    counted: list[int | None] = []
    model.encoders.expect_images = counted.append  # type: ignore[method-assign]
    missing = [ImageSource(f"missing {i}") for i in range(200)]
    assert [item.source for batch in model.image_features(missing) for item in batch] == missing
    assert counted == [None]


RUN = """
import sys
{before}
from clipcli.__main__ import main
sys.argv = ["clip", *sys.argv[1:]]
main()
"""
ABSENT = "sys.modules['torch'] = None"


@pytest.fixture(params=["absent", "broken"])
def without_torch(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What a machine has where torch was never installed, or one of its libraries is missing."""
    if request.param == "absent":
        return ABSENT
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise OSError('libtorch.so: not found')")
    return f"sys.path.insert(0, {str(tmp_path / 'broken')!r})"


def run(before: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN.format(before=before), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_machine_without_torch(without_torch: str, clip_checkpoint: Path, images: list[Path]) -> None:
    """Jobs of any size; these names come through a pipe, so that nobody knows how many there are."""
    names = images[0].parent / "names"
    names.write_text("\n".join(map(str, images)))
    listed = f"{without_torch}\nsys.stdin = open({str(names)!r})"
    model = ["-l", "cat,dog", "-m", clip_checkpoint, "-f", "jsonl", "--quiet"]
    for before, named in ((without_torch, images), (listed, ["--from-file", "-"])):
        done = run(before, "classify", *named, *model, "--no-cache")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == len(images)


@pytest.mark.parametrize(("options", "what"), [([], "pytorch_model.bin"), (["--dtype", "bfloat16"], "bfloat16")])
def test_what_needs_torch_says_so(
    without_torch: str, options: list[str], what: str, clip_checkpoint: Path, images: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "pickled"))
    if not options:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    done = run(without_torch, "classify", images[0], "-l", "cat,dog", "-m", folder, "--device", "cpu", *options)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert str(what) in error
    assert "pip" in hint and "torch" in hint


def test_a_small_job_imports_no_torch(clip_checkpoint: Path, images: list[Path]) -> None:
    """From a folder that is used for the first time, too."""
    forbidden = "sys.modules['torch'] = None"
    for command in (["classify", "-l", "cat,dog"], ["score", "--text", "a cat"], ["tag", "-l", "cat,dog"]):
        assert run(forbidden, *command, *images, "-m", clip_checkpoint).returncode == 0


def test_the_doctor_without_torch(without_torch: str) -> None:
    done = run(without_torch, "doctor", "--model", "demo", "--offline", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    rows = {row["dtype"]: row for row in report["devices"]}
    assert (report["job"]["device"], report["job"]["dtype"]) == ("cpu", "float32")
    assert rows["float32"]["ok"] and rows["float32"]["errors"]["gelu"] < 1e-6
    assert not rows["bfloat16"]["ok"] and "torch" in rows["bfloat16"]["failure"]
    for options in (["--device", "cuda"], ["--dtype", "int8"]):
        done = run(without_torch, "doctor", "--model", "demo", "--offline", "--json", *options)
        assert done.returncode == 1
        assert "torch" in json.loads(done.stdout)["problem"]["message"]
