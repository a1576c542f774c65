"""`clip models` as a user runs it: a process of its own for what touches the network, in this one otherwise."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from clipcli.cli.app import app
from clipcli.cli.commands.models import models_app
from clipcli.hub import resolve as resolve_module
from tests.helpers.hub_server import HubServer
from tests.helpers.schemas import check_document, check_rows
from tests.hub.conftest import B32, WEIGHTS, checkpoint_files

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def clip(hub: HubServer, tmp_path: Path) -> Run:
    """Run `clip models ...` with the stand-in for a hub, an empty cache, and nobody at the keyboard."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = os.environ | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-m", "clipcli", "models", *arguments],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def test_pull_path_verify_rm(hub: HubServer, clip: Run, tmp_path: Path) -> None:
    commit = hub.add(B32, checkpoint_files())
    folder = tmp_path / "hf" / "hub" / "models--openai--clip-vit-base-patch32"

    pulled = clip("pull", "vit-b32")
    assert (pulled.returncode, pulled.stdout) == (0, f"{folder / 'snapshots' / commit}\n")
    license, fetching = pulled.stderr.splitlines()[:2]
    assert license.startswith(f"clip: {B32}") and "MIT" in license
    assert fetching.startswith("clip: ") and "vit-b32" in fetching
    assert str(B32) in pulled.stderr
    again = clip("pull", "vit-b32")
    assert again.stdout == pulled.stdout and "fetching" not in again.stderr
    assert str(B32) in again.stderr and commit in again.stderr

    requests = len(hub.requests)
    path = clip("path", "vit-b32")
    assert (path.returncode, path.stdout, path.stderr) == (0, pulled.stdout, "")

    weights = folder / "snapshots" / commit / "model.safetensors"
    weights.write_bytes(WEIGHTS[::-1])
    verified = clip("verify", B32, "--format", "tsv")
    assert verified.returncode == 4
    assert f"model.safetensors\t{len(WEIGHTS)}\tdamaged" in verified.stdout.splitlines()
    assert "pull" in verified.stderr

    unasked = clip("rm", B32)
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr and folder.exists()
    removed = clip("rm", B32, "--yes")
    assert removed.returncode == 0 and removed.stdout == ""
    assert "2.1 MB" in removed.stderr
    assert not folder.exists()
    assert len(hub.requests) == requests


def test_revision_and_token_from_the_environment(hub: HubServer, clip: Run) -> None:
    hub.add("me/mine", checkpoint_files())
    tagged = hub.add("me/mine", checkpoint_files(b"tagged"), revision="v2")
    hub.models["me/mine"].private = True

    refused = clip("pull", "me/mine")
    assert refused.returncode == 4
    assert "me/mine" in refused.stderr and "HF_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr

    pulled = clip("pull", "me/mine", "--quiet", HF_TOKEN=hub.token, CLIPCLI_REVISION="v2")
    assert pulled.returncode == 0
    assert pulled.stdout.strip().endswith(tagged)
    assert pulled.stderr == ""


def test_pull_offline_asks_nobody(hub: HubServer, clip: Run) -> None:
    hub.add(B32, checkpoint_files())

    result = clip("pull", "vit-b32", HF_HUB_OFFLINE="1")

    assert result.returncode == 4
    assert "HF_HUB_OFFLINE" in result.stderr
    assert hub.requests == []


def test_pull_through_a_proxy_that_is_not_there(clip: Run) -> None:
    result = clip("pull", "vit-b32", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9", NO_PROXY="")

    assert result.returncode == 4
    assert "Traceback" not in result.stderr
    assert "fetched" in result.stderr or "reached" in result.stderr


def test_list_imports_neither_torch_nor_the_client(tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.argv = ['clip', 'models', 'list']\n"
        "try: runpy.run_module('clipcli', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'transformers', 'httpx2', 'huggingface_hub.file_download', 'rich'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert result.stderr == ""
    assert json.loads(result.stdout.splitlines()[0])["alias"] == "vit-b32"


def test_list_says_what_is_where(cache_dir: Path) -> None:
    write_model(cache_dir, B32)
    write_model(cache_dir, "me/finetuned")

    document = json.loads(invoke("list", "--json").stdout)

    assert document["schema"] == "clipcli.models/2"
    rows = {row["id"]: row for row in document["results"]}
    assert rows[B32]["here"] is True and rows[B32]["default"] is True
    assert rows[B32]["folder"] == str(cache_dir / "models--openai--clip-vit-base-patch32" / "snapshots" / COMMIT)
    assert rows["me/finetuned"]["alias"] is None and rows["me/finetuned"]["family"] == "clip"
    assert rows["BAAI/AltCLIP"]["here"] is False and rows["BAAI/AltCLIP"]["folder"] is None
    assert rows["demo"]["alias"] == "demo"
    assert rows["BAAI/AltCLIP"]["pinned"] is None and len(rows[B32]["pinned"]) == 40
    here = [row["id"] for row in map(json.loads, invoke("list", "--installed").stdout.splitlines())]
    assert {B32, "me/finetuned"} <= set(here) and "BAAI/AltCLIP" not in here


@pytest.mark.usefixtures("cache_dir")
def test_list_as_a_table_and_as_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    table = invoke("list", "--format", "table").stdout
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "chinese-l14-336" in table and "48.3 zh" in table
    monkeypatch.setenv("COLUMNS", "400")
    assert "OFA-Sys/chinese-clip-vit-large-patch14-336px" in invoke("list", "--format", "table").stdout

    rows = list(csv.DictReader(io.StringIO(invoke("list", "--format", "csv").stdout)))
    assert rows[0]["parameters"] == "151277313"
    assert next(row for row in rows if row["alias"] == "altclip")["languages"] == "en | zh"


@pytest.mark.usefixtures("cache_dir")
def test_info_without_and_with_files(clip_checkpoint: Path) -> None:
    absent = json.loads(invoke("info", "chinese-b16").stdout)
    assert absent["id"] == "OFA-Sys/chinese-clip-vit-base-patch16" and absent["here"] is False

    there = json.loads(invoke("info", str(clip_checkpoint)).stdout)
    assert there["family"] == "clip" and there["vision"]["patch_size"] == 8
    assert there["files"]["model.safetensors"] == (clip_checkpoint / "model.safetensors").stat().st_size

    unknown = invoke("info", "me/none")
    assert unknown.exit_code == 4 and unknown.stdout == ""
    assert "me/none" in unknown.stderr


def type_on_a_terminal(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    keyboard = io.StringIO(text)
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", keyboard)


def test_rm_asks_on_a_terminal(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(cache_dir, B32)

    type_on_a_terminal(monkeypatch, "n\n")
    assert models_app(["rm", "vit-b32"], standalone_mode=False) == 1 and folder.exists()

    type_on_a_terminal(monkeypatch, "y\n")
    assert not models_app(["rm", "vit-b32"], standalone_mode=False) and not folder.exists()


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_rm_asks_nobody_where_a_stream_is_closed(
    closed: str, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(cache_dir, B32)
    type_on_a_terminal(monkeypatch, "y\n")
    monkeypatch.setattr(sys, closed, None)
    assert models_app(["rm", "vit-b32"], standalone_mode=False) == 2
    assert ("nobody" in capsys.readouterr().err) == (closed != "stderr")
    assert folder.exists()


@pytest.mark.usefixtures("cache_dir")
def test_verify_files_that_are_whole_but_do_not_fit(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_checkpoint, tmp_path / "model"))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert invoke("verify", str(folder)).exit_code == 0
    (folder / "merges.txt").write_text("\n".join(merges[:-9]) + "\n", encoding="utf-8")

    result = invoke("verify", str(folder))

    assert {row["status"] for row in map(json.loads, result.stdout.splitlines())} == {"readable"}
    assert result.exit_code == 4
    assert f"{folder / 'merges.txt'} has {len(merges) - 10} merges" in result.stderr


@pytest.mark.usefixtures("cache_dir")
def test_rm_takes_only_what_was_fetched(clip_checkpoint: Path) -> None:
    assert invoke("rm", str(clip_checkpoint), "--yes").exit_code == 2
    assert invoke("rm", "demo", "--yes").exit_code == 2
    assert invoke("rm", "vit-b32", "--yes").exit_code == 4
    assert (clip_checkpoint / "model.safetensors").exists()


@pytest.mark.usefixtures("cache_dir")
def test_default(clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("default").stdout == f"{B32}\n"
    assert invoke("default", "chinese-b16").stdout == "OFA-Sys/chinese-clip-vit-base-patch16\n"
    assert invoke("default").stdout == "OFA-Sys/chinese-clip-vit-base-patch16\n"
    rows = json.loads(invoke("list", "--json").stdout)["results"]
    assert [row["alias"] for row in rows if row["default"]] == ["chinese-b16"]

    monkeypatch.chdir(clip_checkpoint.parent)
    assert invoke("default", clip_checkpoint.name).stdout == f"{clip_checkpoint}\n"
    wrong = invoke("default", "chinese-b61")
    assert wrong.exit_code == 4 and "chinese-b16" in wrong.stderr
    assert invoke("default").stdout == f"{clip_checkpoint}\n"
    monkeypatch.setenv("CLIPCLI_MODEL", "vit-l14")
    assert "CLIPCLI_MODEL=vit-l14" in invoke("default").stderr


def test_a_path_that_is_not_utf8(clip_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"mo\xff")
    path.symlink_to(clip_checkpoint)
    assert invoke("path", str(path)).stdout_bytes == os.fsencode(path) + b"\n"
    refused = invoke("default", str(path))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"clip: error: {tmp_path}/mo\\udcff is not UTF-8")
    assert invoke("default").stdout == f"{B32}\n"


def test_the_demo_is_a_model_like_any_other(clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "demo_folder", lambda: clip_checkpoint)

    assert invoke("path", "demo").stdout == f"{clip_checkpoint}\n"


def test_output_keeps_to_its_schemas(cache_dir: Path, clip_checkpoint: Path) -> None:
    write_model(cache_dir, "me/finetuned")
    for arguments, schema in {
        ("list",): "clipcli.models-2",
        ("info", "altclip"): "clipcli.model-2",
        ("info", str(clip_checkpoint)): "clipcli.model-2",
        ("verify", str(clip_checkpoint)): "clipcli.verify-1",
    }.items():
        check_document(schema, json.loads(invoke(*arguments, "--json").stdout))
        check_rows(schema, list(map(json.loads, invoke(*arguments).stdout.splitlines())))


COMMIT = "0123456789" * 4


def test_list_calls_here_only_what_the_usual_revision_finds(cache_dir: Path) -> None:
    refs = write_model(cache_dir, "me/tagged") / "refs"
    (refs / "main").rename(refs / "v1")
    (write_model(cache_dir, "me/lost") / "refs" / "main").unlink()

    rows = {row["id"]: row for row in json.loads(invoke("list", "--json").stdout)["results"]}
    for name, revision in (("me/tagged", "v1"), ("me/lost", COMMIT)):
        row = rows[name]
        assert (row["here"], row["missing"], row["only_at"], row["revision"]) == (False, [], revision, COMMIT)
        assert invoke("path", name).exit_code == 4
        assert invoke("path", name, "--revision", revision).stdout == f"{row['folder']}\n"
        refused = invoke("info", name)
        assert (refused.exit_code, refused.stdout) == (4, "")
        assert all(part in refused.stderr for part in ("--revision", str(revision)))
    table = invoke("list", "--installed", "--format", "table").stdout
    assert [line.split()[1:] for line in table.splitlines() if line.strip().startswith("me/")] == [
        ["at", COMMIT[:8]],
        ["at", "v1"],
    ]


def write_model(cache_dir: Path, hub_id: str) -> Path:
    """A model in the cache as huggingface_hub leaves it."""
    folder = cache_dir / f"models--{hub_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    for number, (name, content) in enumerate(checkpoint_files().items()):
        if "/" not in name:
            (folder / "blobs" / str(number)).write_bytes(content)
            (snapshot / name).symlink_to(f"../../blobs/{number}")
    return folder


def test_the_list_marks_the_default_apart_from_what_is_installed() -> None:
    lines = invoke("list", "--format", "table").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("* ")] == ["vit-b32"]
    assert [line.split()[0] for line in lines if line.endswith(" yes")] == ["demo"]
    assert all(len(line.split()) > 2 for line in lines)
    assert {line.split()[0] for line in invoke("list", "--installed", "-f", "table").stdout.splitlines()[1:]} == {
        "demo"
    }


def test_info_for_people(clip_checkpoint: Path) -> None:
    absent = invoke("info", "altclip", "--format", "table").stdout
    assert "864 million" in absent and "clip models pull altclip" in absent
    there = invoke("info", str(clip_checkpoint), "--format", "table").stdout
    assert "2 layers, width 32, 4 heads, patches of 8 pixels" in " ".join(there.split())
    for text in (absent, there):
        assert not re.search("_|None|false", text.replace(str(clip_checkpoint), "").partition("files")[0])
