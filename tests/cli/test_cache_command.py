import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clipcli.cli.shell import progress
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace, cache_path, open_cache
from clipcli.features.labels import LabelEncoder
from tests.cli.conftest import SUMMARY, Clip
from tests.helpers.schemas import check_document, check_rows

LABELS = ("--labels", "cat,dog,bird")


@pytest.fixture
def old_images(images: Path) -> Path:
    for path in images.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    return images


def test_path_is_the_users_cache_folder(clip: Clip, tmp_path: Path) -> None:
    expected = Path(os.environ["XDG_CACHE_HOME"]) / "clipcli" / "features-3.sqlite"
    assert clip("cache", "path").stdout == f"{expected}\n"
    assert clip("cache", "path", CLIPCLI_CACHE_DIR=str(tmp_path)).stdout == f"{tmp_path / 'features-3.sqlite'}\n"
    assert not expected.exists()


def test_info_counts_what_runs_remember_and_find(clip: Clip, old_images: Path) -> None:
    clip("classify", old_images, *LABELS)
    (row,) = clip("cache", "info").rows
    assert row["path"] == str(cache_path()) and row["size_bytes"] > 0 and row["limit_bytes"] == 2048 * 2**20
    assert (row["text"]["features"], row["text"]["hits"], row["text"]["misses"]) == (3, 0, 3)
    assert (row["image"]["features"], row["image"]["hits"], row["image"]["misses"]) == (3, 0, 3)
    clip("classify", old_images, *LABELS)
    (row,) = clip("cache", "info").rows
    assert (row["text"]["features"], row["text"]["hits"]) == (3, 3)
    assert (row["image"]["features"], row["image"]["hits"]) == (3, 3)
    clip("classify", old_images, "--labels", "cat,dog,fish")
    (row,) = clip("cache", "info").rows
    assert (row["text"]["features"], row["text"]["hits"], row["text"]["misses"]) == (4, 5, 4)


def test_info_keeps_to_its_schema_in_every_format(clip: Clip, old_images: Path) -> None:
    clip("classify", old_images, *LABELS)
    check_document("clipcli.cache-1", json.loads(clip("cache", "info", "--json").stdout))
    check_rows("clipcli.cache-1", clip("cache", "info").rows)
    assert clip("cache", "info", "-f", "csv").stdout.startswith(
        "path,size_bytes,limit_bytes,files,image,text,converted\n"
    )
    table = clip("cache", "info", "-f", "table").stdout
    assert "texts      3 features, 192 B; 0 found, 3 not found\n" in table


def test_clear_takes_one_kind_or_all(clip: Clip, old_images: Path) -> None:
    clip("classify", old_images, *LABELS)
    outcome = clip("cache", "clear", "--text")
    assert (outcome.status, outcome.stdout) == (0, "") and "forgot 3 features" in outcome.stderr
    (row,) = clip("cache", "info").rows
    assert (row["text"]["features"], row["image"]["features"]) == (0, 3)
    clip("classify", old_images, *LABELS)
    assert clip("cache", "clear", "--images", "-q").stderr == ""
    (row,) = clip("cache", "info").rows
    assert (row["text"]["features"], row["image"]["features"], row["files"]) == (3, 0, 0)
    clip("classify", old_images, *LABELS)
    assert "forgot 6 features" in clip("cache", "clear").stderr


def test_a_remembered_run_prints_the_same_and_imports_neither_torch_nor_the_tokenizer(
    clip: Clip, old_images: Path, clip_checkpoint: Path
) -> None:
    arguments = ["classify", str(old_images), *LABELS, "-t", "a photo of a {}.", "-t", "the {}.", "--json"]
    first = clip(*arguments)
    code = (
        "import sys\nfrom clipcli.cli.app import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "imported = {'torch', 'tokenizers', 'safetensors'} & set(sys.modules)\n"
        "assert not imported, imported"
    )
    environment = {**os.environ, "CLIPCLI_MODEL": str(clip_checkpoint)}
    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (again.returncode, SUMMARY.sub("", again.stderr)) == (0, "")
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_score_remembers_texts_too(clip: Clip, old_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clip("score", old_images, "--text", "a red car", "--text", "猫", "--json")
    monkeypatch.setattr(
        "clipcli.compute.numpy_backend.text_encoder.NumpyTextEncoder.encode", lambda *_: pytest.fail("encoded again")
    )
    assert clip("score", old_images, "--text", "a red car", "--text", "猫", "--json").stdout == first.stdout


def test_a_label_in_another_set_is_remembered(clip: Clip, old_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip("classify", old_images, *LABELS)
    monkeypatch.setattr(
        "clipcli.compute.numpy_backend.text_encoder.NumpyTextEncoder.encode", lambda *_: pytest.fail("encoded again")
    )
    assert clip("classify", old_images, "--labels", "bird,cat").status == 0


def test_no_cache_neither_reads_nor_writes(clip: Clip, old_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = clip("classify", old_images, *LABELS, "--no-cache").stdout
    assert not cache_path().parent.exists()
    clip("classify", old_images, *LABELS)
    _poison()
    before = cache_path().read_bytes()
    assert clip("classify", old_images, *LABELS).stdout != fresh, "the test would see it if features were read"
    assert clip("classify", old_images, *LABELS, "--no-cache").stdout == fresh
    monkeypatch.setenv("CLIPCLI_NO_CACHE", "1")
    assert clip("classify", old_images, *LABELS).stdout == fresh
    assert len(cache_path().read_bytes()) == len(before)


def _poison() -> None:
    """Turn every cached feature of a label around, by the cache itself: what others write fails its checksum."""
    with closing(sqlite3.connect(cache_path())) as file:
        rows = file.execute(
            "SELECT space.name, key, value, note FROM feature JOIN space ON space = space.id WHERE note != x''"
        ).fetchall()
    cache = open_cache()
    for name, key, value, note in rows:
        kind, _, checkpoint, preparation, numerics = name.split("\n")
        space = FeatureSpace(kind, checkpoint, preparation, numerics)
        cache.put(space, {key: CachedFeature(np.frombuffer(value, dtype="<f4")[::-1], note)})
    cache.close()


def test_what_changes_features_changes_the_key(clip: Clip, old_images: Path, clip_checkpoint: Path) -> None:
    import shutil

    def text_features() -> int:
        return int(clip("cache", "info").rows[0]["text"]["features"])

    clip("classify", old_images, *LABELS)
    assert text_features() == 3
    clip("classify", old_images, *LABELS, "--dtype", "bfloat16")
    assert text_features() == 6
    clip("classify", old_images, *LABELS, "-t", "the {}.")
    assert text_features() == 9
    copy = Path(os.environ["HOME"]) / "copy"
    shutil.copytree(clip_checkpoint, copy)
    clip("classify", old_images, *LABELS, "-m", copy)
    assert text_features() == 9, "the same checkpoint elsewhere"
    version, *merges = (copy / "merges.txt").read_text(encoding="utf-8").splitlines()
    (copy / "merges.txt").write_text("\n".join([version, *reversed(merges)]) + "\n", encoding="utf-8")
    clip("classify", old_images, *LABELS, "-m", copy)
    assert text_features() == 12, "another tokenizer"
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (copy / "config.json").write_text(json.dumps(config))
    clip("classify", old_images, *LABELS, "-m", copy)
    assert text_features() == 15, "another activation"


def test_labels_that_the_tokenizer_cannot_tell_apart_are_refused_by_name(clip: Clip, old_images: Path) -> None:
    for _ in range(2):
        outcome = clip("classify", old_images, "--labels", "turkey,cat,Turkey")
        assert (outcome.status, outcome.stdout) == (2, "")
        assert all(part in outcome.stderr for part in ("'turkey'", "'Turkey'"))
        # each may be remembered from a set without the other
        for label in ("turkey", "Turkey"):
            assert clip("classify", old_images, "--labels", f"{label},cat").status == 0


def test_labels_cut_to_the_same_tokens_are_refused_by_name(clip: Clip, old_images: Path) -> None:
    long = "very " * 90
    outcome = clip("classify", old_images, "--labels", f"{long}small dog,{long}large dog")
    assert outcome.status == 2
    assert outcome.stderr.count("very very") >= 2 and "tokens" in outcome.stderr


def test_a_template_that_cuts_labels_is_reported_once_with_both_also_when_remembered(
    clip: Clip, old_images: Path
) -> None:
    template = f"{'very ' * 20}nice {{}}, {'really ' * 20}it is"
    for _ in range(2):
        outcome = clip("classify", old_images, *LABELS, "-t", "a {}.", "-t", template)
        assert outcome.status == 0
        assert outcome.stderr.count("warning: ") == 1
        assert all(part in outcome.stderr for part in ("'cat'", f"{template!r}", "77"))


def test_an_unusable_cache_is_one_warning(clip: Clip, old_images: Path, tmp_path: Path) -> None:
    fresh = clip("classify", old_images, *LABELS, "--no-cache").stdout
    (tmp_path / "file").touch()
    outcome = clip("classify", old_images, *LABELS, CLIPCLI_CACHE_DIR=str(tmp_path / "file"))
    assert (outcome.status, outcome.stdout) == (0, fresh)
    assert outcome.stderr.count("warning") == 1 and "cache" in outcome.stderr
    cache_path().parent.mkdir(parents=True)
    cache_path().write_bytes(b"no database " * 1000)
    outcome = clip("classify", old_images, *LABELS)
    assert (outcome.status, outcome.stdout) == (0, fresh)
    assert outcome.stderr.count("warning") == 1 and "renamed" in outcome.stderr
    assert clip("classify", old_images, *LABELS).remarks == ""


def test_limit_that_is_not_a_number_is_a_mistake(clip: Clip) -> None:
    outcome = clip("cache", "info", CLIPCLI_CACHE_MB="lots")
    assert outcome.status == 2 and "CLIPCLI_CACHE_MB=lots" in outcome.stderr


class TestPromptBar:
    @pytest.fixture
    def terminal(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
        clock = {"now": 0.0}
        monkeypatch.setattr(progress, "can_show_bars", lambda: True)
        monkeypatch.setattr(progress.time, "monotonic", lambda: clock["now"])
        yield clock

    def test_appears_after_a_second(
        self, terminal: dict[str, float], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        with progress.prompt_bar() as show:
            show(1, 10)
            terminal["now"] = 0.9
            show(2, 10)
            assert capfd.readouterr().err == ""
            terminal["now"] = 1.1
            show(3, 10)
        captured = capfd.readouterr()
        assert "encoding prompts" in captured.err and "3/10" in captured.err and captured.out == ""

    def test_is_silent_when_asked(self, terminal: dict[str, float], capfd: pytest.CaptureFixture[str]) -> None:
        with progress.prompt_bar(quiet=True) as show:
            terminal["now"] = 5.0
            show(3, 10)
        assert capfd.readouterr().err == ""


def test_interrupted_encoding_keeps_what_is_finished(
    clip: Clip, old_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.api.texts.LabelEncoder", partial(LabelEncoder, prompts_at_once=2))
    calls = []

    def interrupted(self: FeatureCache, space: FeatureSpace, entries: dict[bytes, CachedFeature]) -> None:
        if space.kind == "text":
            calls.append(len(entries))
            if len(calls) == 3:
                raise KeyboardInterrupt
        original(self, space, entries)

    original = FeatureCache.put
    monkeypatch.setattr(FeatureCache, "put", interrupted)
    outcome = clip("classify", old_images, "--labels", "cat,dog,bird,car,tree,house", "-t", "a {}.", "-t", "the {}.")
    assert outcome.status == 130 and calls == [1, 1, 1]
    assert clip("cache", "info").rows[0]["text"]["features"] == 2
