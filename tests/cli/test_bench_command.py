import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipcli.cli.app import app
from tests.helpers.schemas import check_document


def bench(*args: str) -> str:
    result = CliRunner().invoke(app, ["bench", *args])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipcli.api.benchmark.MODEL_SECONDS", 0.01)


def test_drawn_images_are_measured(clip_checkpoint: Path) -> None:
    report = json.loads(bench("-m", str(clip_checkpoint), "--count", "5", "--megapixels", "0.02", "--json"))
    check_document("clipcli.bench-2", report)
    assert report["images"] == 5
    assert report["prompts"] == 40


def test_nobody_is_warned_of_words_they_did_not_write() -> None:
    result = CliRunner().invoke(app, ["bench", "-m", "demo", "--count", "2", "--megapixels", "0.02"])
    assert (result.exit_code, result.stderr) == (0, "")


def test_images_that_are_named_are_taken_instead(clip_checkpoint: Path, images: Path) -> None:
    report = json.loads(bench(str(images), "-m", str(clip_checkpoint), "--count", "2", "--json"))
    assert report["images"] == 2


def test_the_table_says_where_the_time_goes(clip_checkpoint: Path) -> None:
    table = bench("-m", str(clip_checkpoint), "--count", "2", "--megapixels", "0.02", "--dtype", "int8")
    for part in ("int8 on cpu", "decoding", "scaling", "in the model", "writing", "prompts", "images"):
        assert part in table


def test_what_is_remembered_is_not_measured(clip_checkpoint: Path, tmp_path: Path) -> None:
    bench("-m", str(clip_checkpoint), "--count", "2", "--megapixels", "0.02")
    assert not list(tmp_path.rglob("*.sqlite"))


def test_a_closed_standard_output_is_an_error(
    clip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    arguments = ["bench", "-m", str(clip_checkpoint), "--count", "1", "--megapixels", "0.02"]
    assert app(arguments, standalone_mode=False) == 1
    assert capsys.readouterr().err.startswith("clip: error: standard output is closed\n")
