"""`clip models convert`, and files of other layouts named with `--model`."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from clipcli.foreign.kept import kept_conversions
from tests.cli.conftest import Clip
from tests.helpers.schemas import check_rows

DATA = Path(__file__).parent.parent / "data" / "formats"
CLIP_TOKENIZER = DATA / "clip-tokenizer"


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """OpenAI's archive with a tokenizer beside it."""
    folder = Path(shutil.copytree(CLIP_TOKENIZER, tmp_path / "openai"))
    return Path(shutil.copy(DATA / "openai-vit.pt", folder / "ViT-B-32.pt"))


@pytest.fixture(autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that stands before whatever is installed here: both that carry OpenAI's merges, without."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("clip", "open_clip"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('imported')")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def stored_model(hub_id: str, tokenizer: Path, model_type: str) -> None:
    """A model in the hub's cache of which only the tokenizer is whole."""
    folder = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    snapshot = Path(shutil.copytree(tokenizer, folder / "snapshots" / ("0" * 40)))
    (snapshot / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)


def test_convert_and_run(clip: Clip, images: Path, tmp_path: Path) -> None:
    outcome = clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "new" / "vit", "--tokenizer", CLIP_TOKENIZER)
    assert (outcome.status, outcome.stdout) == (0, f"{tmp_path / 'new' / 'vit'}\n")
    (said,) = outcome.stderr.splitlines()
    assert said.startswith(f"clip: {DATA / 'openai-vit.pt'} ")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"vit"}
    assert {path.name for path in (tmp_path / "new" / "vit").iterdir()} == {
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "vocab.json",
    }
    outcome = clip("classify", images, "-l", "cat,dog", "-m", tmp_path / "new" / "vit")
    assert (outcome.status, outcome.remarks) == (0, "")
    assert len(outcome.rows) == 3


def test_weights_are_as_readable_as_the_rest(clip: Clip, vit: Path, tmp_path: Path) -> None:
    clip("models", "convert", vit, tmp_path / "out", "--quiet")
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1


def test_a_file_runs_directly_as_its_conversion_does(clip: Clip, vit: Path, images: Path, tmp_path: Path) -> None:
    assert clip("models", "convert", vit, tmp_path / "out", "--quiet").stderr == ""
    arguments = ("classify", images, "-l", "cat,dog", "--format", "json")
    converted = json.loads(clip(*arguments, "-m", tmp_path / "out").stdout)
    direct = clip(*arguments, "-m", vit)
    assert (direct.status, direct.remarks) == (0, "")
    document = json.loads(direct.stdout)
    assert document["run"]["model"] == str(vit)
    assert document["results"] == converted["results"]


def test_a_file_is_converted_once(clip: Clip, vit: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipcli.foreign import recognise as formats

    arguments = ("classify", images, "-l", "cat,dog", "-m", vit)
    first = clip(*arguments)
    with monkeypatch.context() as patch:
        patch.delattr(formats, "read_foreign")
        assert clip(*arguments).stdout == first.stdout
    os.utime(vit, ns=(0, 0))  # another file now, for all we know
    with monkeypatch.context() as patch:
        patch.delattr(formats, "read_foreign")
        with pytest.raises(ImportError):
            clip(*arguments)
    assert clip(*arguments).stdout == first.stdout
    assert len(list(kept_conversions().path.iterdir())) == 1  # the older conversion is gone


def test_an_open_clip_folder_runs_directly(clip: Clip, images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DATA / "open_clip", tmp_path / "open_clip"))
    shutil.copytree(CLIP_TOKENIZER, folder, dirs_exist_ok=True)
    outcome = clip("classify", images, "-l", "cat,dog", "-m", folder)
    assert (outcome.status, outcome.remarks) == (0, "")


@pytest.mark.parametrize("name", ["flax", "tensorflow"])
def test_flax_and_tensorflow_folders_run_directly(name: str, clip: Clip, images: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DATA / name, tmp_path / name))
    shutil.copytree(CLIP_TOKENIZER, folder, dirs_exist_ok=True)
    outcome = clip("classify", images, "-l", "cat,dog", "-m", folder)
    assert (outcome.status, outcome.remarks) == (0, "")


def test_the_hubs_own_layout_needs_no_conversion(clip: Clip, clip_checkpoint: Path, tmp_path: Path) -> None:
    outcome = clip("models", "convert", clip_checkpoint, tmp_path / "out")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "hub's" in outcome.stderr


def test_a_chinese_resnet_runs_directly(clip: Clip, images: Path, tmp_path: Path) -> None:
    stored_model("OFA-Sys/chinese-clip-vit-base-patch16", DATA / "chinese-tokenizer", "chinese_clip")
    outcome = clip("classify", images, "-l", "猫,狗", "-m", DATA / "chinese-rn.pt")
    assert (outcome.status, outcome.remarks) == (0, "")
    assert {row["status"] for row in outcome.rows} == {"ok"}


def test_a_tokenizer_in_the_hubs_cache_is_found(clip: Clip, tmp_path: Path) -> None:
    stored_model("openai/clip-vit-base-patch32", CLIP_TOKENIZER, "clip")
    outcome = clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "out")
    assert outcome.status == 0
    assert (tmp_path / "out" / "vocab.json").read_bytes() == (CLIP_TOKENIZER / "vocab.json").read_bytes()


def test_openais_own_vocabulary(clip: Clip, tmp_path: Path) -> None:
    merges = DATA / "openai-bpe.txt.gz"
    assert clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "out", "--tokenizer", merges).status == 0
    assert len(json.loads((tmp_path / "out" / "vocab.json").read_text(encoding="utf-8"))) == 514
    outcome = clip("models", "convert", DATA / "chinese-vit.pt", tmp_path / "no", "--tokenizer", merges)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert all(part in outcome.stderr for part in ("CLIP's", "chinese_clip's"))


def test_openais_vocabulary_in_an_installed_package(clip: Clip, tmp_path: Path, site: Path) -> None:
    shutil.copy(DATA / "openai-bpe.txt.gz", site / "open_clip" / "bpe_simple_vocab_16e6.txt.gz")
    assert clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "out").status == 0


def test_the_current_folder_as_the_target(
    clip: Clip, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert clip("models", "convert", vit, ".").status == 0
    assert (tmp_path / "here" / "model.safetensors").is_file()


def test_a_tokenizer_of_another_family_or_size_is_not_taken(clip: Clip, clip_checkpoint: Path, tmp_path: Path) -> None:
    stored_model("OFA-Sys/chinese-clip-vit-base-patch16", DATA / "chinese-tokenizer", "chinese_clip")
    stored_model("openai/clip-vit-base-patch32", clip_checkpoint, "clip")
    outcome = clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "out")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "openai-vit.pt" in outcome.stderr
    assert "openai/clip-vit-base-patch32" in outcome.stderr
    assert "--tokenizer" in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "arguments", "status", "words"),
    [
        ("openai-vit.pt", ["--tokenizer", DATA / "chinese-tokenizer"], 2, "tower"),
        ("chinese-vit.pt", ["--tokenizer", CLIP_TOKENIZER], 2, "tower"),
        ("openai-rn.pt", ["--tokenizer", CLIP_TOKENIZER], 2, "activation"),
        ("openai-vit.pt", ["--activation", "gelu"], 2, "--activation"),
        ("openai-vit.pt", ["--activation", "relu"], 2, "--activation"),
        ("nothing.pt", [], 4, "folder"),
        ("make.py", [], 4, "make.py"),
        ("clip-tokenizer", [], 4, "weights"),
        ("flax", ["--activation", "gelu"], 2, "--activation"),
    ],
)
def test_what_cannot_be_converted(
    source: str, arguments: list[object], status: int, words: str, clip: Clip, tmp_path: Path
) -> None:
    outcome = clip("models", "convert", DATA / source, tmp_path / "out", *arguments)
    assert (outcome.status, outcome.stdout) == (status, "")
    assert words in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_does_not_fit(clip: Clip, clip_checkpoint: Path, tmp_path: Path) -> None:
    outcome = clip("models", "convert", DATA / "openai-vit.pt", tmp_path / "out", "--tokenizer", clip_checkpoint)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert f"--tokenizer {clip_checkpoint} has" in outcome.stderr
    assert "has 514" in outcome.stderr


def test_a_folder_that_is_taken(clip: Clip, vit: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    assert clip("models", "convert", vit, taken).status == 0  # an empty one is as good as none
    before = sorted(taken.iterdir())
    outcome = clip("models", "convert", vit, taken)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "exists" in outcome.stderr
    assert sorted(taken.iterdir()) == before
    assert clip("models", "convert", vit, vit).status == 2


def test_a_full_disk_leaves_nothing_behind(
    clip: Clip, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    (tmp_path / "disk").mkdir()
    outcome = clip("models", "convert", vit, tmp_path / "disk" / "out")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert all(part in outcome.stderr for part in ("disk/out", "No space left on device"))
    assert "hint: " in outcome.stderr
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_cache_that_cannot_be_written(clip: Clip, vit: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # in place of a folder without permission, which nothing is to root
    outcome = clip(
        "classify", images, "-l", "cat,dog", "-m", vit, "--no-cache", CLIPCLI_CACHE_DIR=str(tmp_path / "file")
    )
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "Not a directory" in outcome.stderr
    assert "CLIPCLI_CACHE_DIR" in outcome.stderr


def test_a_network_that_does_not_hang_together(clip: Clip, tmp_path: Path) -> None:
    import torch

    saved = torch.load(DATA / "open_clip-custom.pt", weights_only=True)
    saved["state_dict"]["module.visual.ln_post.bias"] = torch.zeros(3)
    torch.save(saved, tmp_path / "wrong.pt")
    outcome = clip("models", "convert", tmp_path / "wrong.pt", tmp_path / "out", "--activation", "gelu",
                   "--tokenizer", CLIP_TOKENIZER)  # fmt: skip
    assert (outcome.status, outcome.stdout) == (4, "")
    assert all(part in outcome.stderr for part in ("wrong.pt", "config.json: vision_model.post_layernorm.bias"))
    assert not (tmp_path / "out").exists()


def test_a_file_with_a_revision(clip: Clip, vit: Path, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-m", vit, "--revision", "main")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "revisions" in outcome.stderr


def test_a_image_instead_of_a_model(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-m", images / "a.png")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "a.png" in outcome.stderr


def test_info_reads_a_file_and_writes_nothing(clip: Clip, vit: Path) -> None:
    outcome = clip("models", "info", vit)
    assert (outcome.status, outcome.remarks) == (0, "")
    (row,) = outcome.rows
    check_rows("clipcli.model-2", [row])
    assert (row["id"], row["family"], row["here"], row["default"]) == (str(vit), "clip", True, False)
    assert row["files"] == {"ViT-B-32.pt": vit.stat().st_size} and row["folder"] == str(vit.parent)
    assert row["text"]["vocab_size"] == 514 and row["converted"] is None
    assert not kept_conversions().path.exists()


def test_info_needs_no_tokenizer(clip: Clip) -> None:
    outcome = clip("models", "info", DATA / "chinese-rn.pt")
    assert (outcome.status, outcome.remarks) == (0, "")
    assert outcome.rows[0]["family"] == "chinese_clip"


def test_info_of_a_file_that_was_run_needs_no_second_look(
    clip: Clip, vit: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clip("models", "info", vit).rows[0]
    clip("classify", images, "-l", "cat,dog", "-m", vit)
    monkeypatch.delattr("clipcli.foreign.recognise.read_foreign")
    after = clip("models", "info", vit).rows[0]
    assert after == {**before, "converted": str(kept_conversions().folders[0])}


def test_path_of_a_file_is_where_its_conversion_lies(clip: Clip, vit: Path) -> None:
    outcome = clip("models", "path", vit)
    assert (outcome.status, outcome.stdout) == (0, f"{kept_conversions().folders[0]}\n")
    assert clip("models", "verify", outcome.stdout.strip()).status == 0
    assert clip("models", "path", vit, "--revision", "main").status == 2


@pytest.mark.parametrize("name", ["openai-vit.pt", "openai-rn.pt", "open_clip", "flax"])
def test_verify_reads_files_of_other_layouts(name: str, clip: Clip) -> None:
    outcome = clip("models", "verify", DATA / name)
    assert (outcome.status, outcome.remarks) == (0, "")
    check_rows("clipcli.verify-1", outcome.rows)
    assert {row["status"] for row in outcome.rows} == {"readable"}
    assert not kept_conversions().path.exists()


@pytest.mark.parametrize("name", ["openai-vit.pt", "open_clip-custom.pt"])
def test_verify_sees_one_wrong_byte(name: str, clip: Clip, tmp_path: Path) -> None:
    damaged = bytearray((DATA / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / name).write_bytes(damaged)
    outcome = clip("models", "verify", tmp_path / name)
    assert outcome.status == 4
    assert [row["status"] for row in outcome.rows] == ["damaged"]
    assert f"{name} (damaged)" in outcome.stderr and "clip models pull" not in outcome.stderr


def test_verify_refuses_what_is_not_a_checkpoint(clip: Clip, images: Path) -> None:
    outcome = clip("models", "verify", images / "a.png")
    assert (outcome.status, outcome.stdout) == (4, "")
    assert "a.png" in outcome.stderr


def test_a_file_as_the_default_model(
    clip: Clip, vit: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(vit.parent)
    assert clip("models", "default", "ViT-B-32.pt", CLIPCLI_MODEL="").stdout == f"{vit}\n"
    monkeypatch.chdir(tmp_path)
    outcome = clip("classify", images, "-l", "cat,dog", "--json", CLIPCLI_MODEL="")
    assert json.loads(outcome.stdout)["run"]["model"] == str(vit)
    rows = clip("models", "list", CLIPCLI_MODEL="").rows
    assert [row["id"] for row in rows if row["default"]] == [str(vit)]
    assert clip("models", "info", "openai/ViT-B-32.pt", CLIPCLI_MODEL="").rows[0]["default"] is True


def test_a_file_that_cannot_be_run_does_not_become_the_default(clip: Clip) -> None:
    before = clip("models", "default", CLIPCLI_MODEL="").stdout
    outcome = clip("models", "default", DATA / "openai-rn.pt", CLIPCLI_MODEL="")
    assert outcome.status == 2
    assert "activation" in outcome.stderr
    assert clip("models", "default", CLIPCLI_MODEL="").stdout == before


def test_a_file_can_be_neither_pulled_nor_removed(clip: Clip, vit: Path) -> None:
    for command in ("pull", "rm"):
        outcome = clip("models", command, vit)
        assert (outcome.status, outcome.stdout) == (2, "")
    assert vit.exists()


@pytest.fixture
def converted(clip: Clip, vit: Path) -> Path:
    """A model that was converted and is kept, beside a folder of the user's that only looks like ours."""
    assert clip("models", "path", vit).status == 0
    (kept_conversions().path / "my-models").mkdir()
    return kept_conversions().folders[0]


def test_cache_info_counts_converted_models(clip: Clip, converted: Path) -> None:
    (row,) = clip("cache", "info").rows
    check_rows("clipcli.cache-1", [row])
    size = sum(path.stat().st_size for path in converted.iterdir())
    assert row["converted"] == {"path": str(converted.parent), "models": 1, "size_bytes": size}
    assert "1 model, " in clip("cache", "info", "-f", "table").stdout


@pytest.mark.parametrize("arguments", [["--converted"], []])
def test_converted_models_are_cleared(arguments: list[str], clip: Clip, converted: Path) -> None:
    (converted.parent / f".{converted.name}.1.tmp").mkdir()  # of a run that was killed
    outcome = clip("cache", "clear", *arguments)
    assert (outcome.status, outcome.stdout) == (0, "")
    assert "2 converted models" in outcome.stderr and ("feature" in outcome.stderr) is (not arguments)
    assert [path.name for path in converted.parent.iterdir()] == ["my-models"]
    assert clip("cache", "info").rows[0]["converted"]["models"] == 0


@pytest.mark.parametrize("arguments", [["--images"], ["--text"]])
def test_converted_models_stay_when_features_go(arguments: list[str], clip: Clip, converted: Path) -> None:
    assert "converted" not in clip("cache", "clear", *arguments).stderr
    assert converted.is_dir()


def test_a_model_that_was_cleared_is_converted_again(clip: Clip, converted: Path, vit: Path) -> None:
    clip("cache", "clear", "--quiet")
    assert clip("models", "path", vit).stdout == f"{converted}\n"


def test_doctor_looks_at_a_file_and_writes_nothing(clip: Clip, vit: Path) -> None:
    outcome = clip("doctor", "--json", "-m", vit)
    assert (outcome.status, outcome.remarks) == (0, "")
    assert json.loads(outcome.stdout)["job"]["model"] == str(vit)
    assert not kept_conversions().path.parent.exists()


def test_doctor_sees_a_file_without_a_tokenizer(clip: Clip) -> None:
    outcome = clip("doctor", "-m", DATA / "openai-vit.pt")
    assert outcome.status == 1
    assert "openai-vit.pt carries no tokenizer" in outcome.stdout
    assert not kept_conversions().path.exists()
