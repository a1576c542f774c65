"""`clip doctor`: status, stdout and stderr; the report against its schema."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from clipcli.api import diagnose
from clipcli.api.diagnose import DeviceCheck, check_devices
from tests.cli.conftest import Clip, Outcome
from tests.helpers.hub_server import HubServer, commit_of
from tests.helpers.schemas import check_document
from tests.hub.conftest import cache_dir, checkpoint_files, hub

__all__ = ["cache_dir", "hub"]  # fixtures

B32 = "openai/clip-vit-base-patch32"


def report_of(outcome: Outcome) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(outcome.stdout)
    check_document("clipcli.doctor-2", report)
    assert (outcome.status == 0) is report["ok"] is (report["problem"] is None)
    return report


def test_a_machine_that_is_ready(clip: Clip, clip_checkpoint: Path) -> None:
    outcome = clip("doctor", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    report = report_of(outcome)
    assert report["job"] == {
        "model": str(clip_checkpoint),
        "revision": None,
        "here": True,
        "device": "cpu",
        "dtype": "float32",
    }
    assert {row["device"] for row in report["devices"] if row["ok"]} == {"cpu"}
    assert report["hub"]["offline"] and not report["hub"]["reachable"]
    assert "scale" in report["extras"]  # Ray is large, and the tests do without it
    extras = ("flax", "heif", "parquet", "sentencepiece", "serve", "tf")
    assert {name: there for name, there in report["extras"].items() if name != "scale"} == dict.fromkeys(extras, True)
    assert report["terminal"]["columns"] == 80


def test_the_verdict_comes_first(clip: Clip, clip_checkpoint: Path) -> None:
    outcome = clip("doctor")
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].endswith(f"ready: {clip_checkpoint} on cpu in float32")
    assert len(lines) < 15 and "versions" not in lines

    outcome = clip("doctor", "-m", "vit-b32")
    assert (outcome.status, outcome.stderr) == (1, "")
    lines = outcome.stdout.splitlines()
    assert "not ready: vit-b32 is not installed" in lines[0] and "clip models pull vit-b32" in lines[1]
    assert [line for line in lines if "vit-b32" in line][2:] == ["! model     vit-b32 is not installed"]


def test_everything_with_v(clip: Clip) -> None:
    outcome = clip("doctor", "-v")
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    titles = [line for line in lines[1:] if line and line[0].isalpha()]
    assert titles == ["versions", "devices", "extras", "settings", "terminal"]
    assert any(line.startswith("  cpu float32   computes correctly") for line in lines)
    assert any("not asked (offline)" in line for line in lines)
    assert all(len(line) <= 200 for line in lines)


def test_marks_that_a_terminal_can_show(clip: Clip) -> None:
    coloured = clip("doctor", FORCE_COLOR="1").stdout
    assert coloured.startswith("\x1b[32m\u2713\x1b[0m ready")
    assert "\x1b" not in clip("doctor").stdout


def test_no_model_and_no_network(clip: Clip) -> None:
    outcome = clip("doctor", "--json", "-m", "vit-b32")
    assert outcome.status == 1
    report = report_of(outcome)
    assert (report["job"]["model"], report["job"]["here"]) == ("vit-b32", False)
    assert outcome.stderr.startswith("clip: error: vit-b32 is not installed, and fetching it is forbidden (--offline")
    assert "--model demo" in outcome.stderr


def test_a_model_that_can_be_fetched(clip: Clip, hub: HubServer) -> None:
    outcome = clip("doctor", "--json", "-m", "vit-b32")
    assert (outcome.status, outcome.stderr) == (0, "")
    report = report_of(outcome)
    assert report["hub"]["reachable"] and report["hub"]["endpoint"] == hub.endpoint
    assert not report["job"]["here"]
    assert [request.method for request in hub.requests] == ["HEAD"]
    assert all("authorization" not in {key.lower() for key in request.headers} for request in hub.requests)


def test_another_revision_is_another_model(clip: Clip, hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    hub.add(B32, checkpoint_files(b"tagged"), revision="v2")
    assert clip("models", "pull", "vit-b32", "--quiet", CLIPCLI_REVISION="v2").status == 0
    for arguments, environment in ((["--revision", "v2"], {}), ([], {"CLIPCLI_REVISION": "v2"})):
        job = report_of(clip("doctor", "--json", "-m", "vit-b32", *arguments, **environment))["job"]
        assert job["here"] and job["revision"] == "v2"
        text = clip("doctor", "-m", "vit-b32", *arguments, **environment).stdout
        assert "model     vit-b32 at v2 is installed\n" in text
    assert not report_of(clip("doctor", "--json", "-m", "vit-b32"))["job"]["here"]
    outcome = clip("doctor", "-m", "demo", "--revision", "v2")
    assert outcome.status == 1
    assert "not ready: --revision v2 does not go with demo" in outcome.stdout


def test_the_hint_fetches_what_the_job_would_run(clip: Clip) -> None:
    outcome = clip("doctor", "-m", "vit-b32", CLIPCLI_REVISION="v2")
    assert outcome.status == 1
    assert "not ready: vit-b32 at v2 is not installed" in outcome.stdout
    assert "`clip models pull vit-b32` with --revision v2" in outcome.stdout


@pytest.mark.parametrize("writable", [True, False])
def test_the_folder_of_settings(writable: bool, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and (writable or path != tmp_path))
    setting = {"CLIPCLI_CONFIG_DIR": str(tmp_path)}
    settings = report_of(clip("doctor", "--json", **setting))["settings"]
    assert (settings["path"], settings["writable"]) == (str(tmp_path), writable)
    assert f"  folder  {tmp_path}{'' if writable else ', not writable'}\n" in clip("doctor", "-v", **setting).stdout
    assert (f"! settings  {tmp_path}, not writable\n" in clip("doctor", **setting).stdout) is not writable


def test_nobody_is_asked_with_offline(clip: Clip, hub: HubServer) -> None:
    assert clip("doctor", "--offline", "-m", "vit-b32").status == 1
    assert hub.requests == []


def test_a_hub_that_does_not_answer(clip: Clip, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    outcome = clip("doctor", "--json", "-m", "vit-b32")
    assert outcome.status == 1
    assert report_of(outcome)["hub"]["failure"] and "[Errno" not in outcome.stderr
    assert "hub" in outcome.stderr
    assert "HTTPS_PROXY" in outcome.stderr


def test_a_cache_folder_that_cannot_be_written(
    clip: Clip, hub: HubServer, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and Path(path) != cache_dir)
    cache_dir.mkdir()
    outcome = clip("doctor", "--json", "-m", "vit-b32")
    assert outcome.status == 1
    report = report_of(outcome)
    assert [row["writable"] for row in report["caches"] if row["name"] == "models"] == [False]
    assert all(part in outcome.stderr for part in (str(cache_dir), "vit-b32"))


def test_models_on_disk_with_their_digests(clip: Clip, hub: HubServer) -> None:
    hub.add(B32, checkpoint_files())
    assert clip("models", "pull", "vit-b32", "--quiet").status == 0
    whole, half = (report_of(clip("doctor", "--json", "--offline", "-m", name))["models"] for name in ("demo", "demo"))
    assert whole == half
    (row,) = whole
    assert (row["id"], row["missing"], row["revision"]) == (B32, [], hub.models[B32].refs["main"])
    blob = Path(os.readlink(Path(row["folder"]) / "model.safetensors")).name
    assert row["sha256"] == {"model.safetensors": blob}


def test_a_half_written_snapshot(clip: Clip, cache_dir: Path) -> None:
    commit = commit_of("half")
    folder = cache_dir / f"models--{B32.replace('/', '--')}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit / "config.json").symlink_to("../../blobs/gone")
    outcome = clip("doctor", "--json", "-m", "vit-b32")
    assert outcome.status == 1
    report = report_of(outcome)
    assert report["models"][0]["missing"] == ["config.json"]
    assert not report["job"]["here"]


def test_a_damaged_model(clip: Clip, clip_checkpoint: Path, tmp_path: Path) -> None:
    for path in clip_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 100 if path.suffix == ".safetensors" else None])
    outcome = clip("doctor", "--json", "-m", tmp_path)
    assert outcome.status == 1
    assert "model.safetensors" in report_of(outcome)["problem"]["message"]


def test_a_device_that_is_not_there(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = clip("doctor", "--json", "--device", "cuda:7")
    assert outcome.status == 1
    assert report_of(outcome)["job"]["device"] is None
    assert "machine" in outcome.stderr


@pytest.mark.parametrize(("dtype", "status"), [("float32", 1), ("bfloat16", 0)])
def test_wrong_numbers_matter_where_the_job_needs_them(
    dtype: str, status: int, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_in_float32() -> list[DeviceCheck]:
        wrong = {"ok": False, "errors": {"attention": 0.5}}
        return [replace(check, **(wrong if check.dtype == "float32" else {})) for check in check_devices()]

    monkeypatch.setattr(diagnose, "check_devices", wrong_in_float32)
    outcome = clip("doctor", "--json", "--dtype", dtype)
    assert outcome.status == status
    assert [row["dtype"] for row in report_of(outcome)["devices"] if not row["ok"]] == ["float32"]
    if status:
        assert "float32: attention" in outcome.stderr


def test_a_misspelled_model(clip: Clip) -> None:
    outcome = clip("doctor", "--json", "-m", "vit-b23")
    assert outcome.status == 1
    assert "vit-b32" in report_of(outcome)["problem"]["message"] + str(report_of(outcome)["problem"]["hint"])


def test_bad_settings(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("model = ")
    outcome = clip("doctor", "--json", CLIPCLI_MODEL="", CLIPCLI_CONFIG_DIR=str(tmp_path))
    assert outcome.status == 1
    assert "config.toml is not valid TOML" in report_of(outcome)["problem"]["message"]


def test_a_file_of_another_layout(clip: Clip) -> None:
    data = Path(__file__).parent.parent / "data" / "formats"
    outcome = clip("doctor", "--json", "-m", data / "openai-rn.pt")
    assert outcome.status == 1
    assert "activation" in report_of(outcome)["problem"]["message"]


def test_every_extra_has_a_purpose(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lines = clip("doctor", "-m", "demo").stdout.splitlines()
    assert len([line for line in lines if "pip install 'clipcli[" in line]) == 7
