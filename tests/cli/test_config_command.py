"""Defaults from `config.toml`: which value wins, what is refused, what `clip config` and `clip doctor` say of it."""

import json
from pathlib import Path

import pytest

from clipcli.settings import config_file
from tests.cli.conftest import Clip, Outcome
from tests.helpers.schemas import check_document


def write(text: str) -> Path:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(text)
    return config_file()


def classify(clip: Clip, images: Path, *arguments: object, **variables: str) -> Outcome:
    return clip("classify", images / "a.png", "-l", "cat,dog", *arguments, **variables)


def test_the_command_line_wins_then_variables_then_the_profile_then_the_file(clip: Clip, images: Path) -> None:
    write('dtype = "bfloat16"\nformat = "json"\n[profile.exact]\ndtype = "float32"\n')

    def dtype(*arguments: object, **variables: str) -> str:
        return str(json.loads(classify(clip, images, "--no-cache", *arguments, **variables).stdout)["run"]["dtype"])

    assert dtype() == "bfloat16"
    assert dtype("--profile", "exact") == "float32"
    assert dtype(CLIPCLI_PROFILE="exact") == "float32"
    assert dtype(CLIPCLI_DTYPE="float32") == "float32"
    assert dtype("--profile", "exact", CLIPCLI_DTYPE="bfloat16") == "bfloat16"
    assert dtype("--dtype", "bfloat16", "--profile", "exact", CLIPCLI_DTYPE="float32") == "bfloat16"


def test_a_model_by_default(clip: Clip, images: Path) -> None:
    write('model = "demo"\nformat = "json"\n')
    named = clip("classify", images / "a.png", "-l", "cat,dog", "-m", "demo").stdout
    assert json.loads(named)["run"]["model"] == "demo"
    assert clip("models", "pull").status == 2  # an argument of the same name takes nothing from the settings


def test_what_is_typed_says_the_format(clip: Clip, images: Path, tmp_path: Path) -> None:
    write('format = "table"\n')
    assert json.loads(classify(clip, images, "--json").stdout)["schema"] == "clipcli.classify/2"
    assert classify(clip, images, "-o", tmp_path / "x.csv").status == 0
    assert (tmp_path / "x.csv").read_text().startswith("path,")
    assert classify(clip, images).stdout.startswith("image")


def test_a_format_that_a_command_lacks_is_not_its_default(clip: Clip, images: Path) -> None:
    write('format = "exiftool"\n')
    assert classify(clip, images).rows[0]["status"] == "ok"
    assert clip("tag", images / "a.png", "-l", "cat,dog", "--threshold", "0").stdout.startswith("-")


def test_switches(clip: Clip, images: Path) -> None:
    write("quiet = true\n[profile.loud]\nquiet = false\n")
    assert classify(clip, images, "nowhere.jpg").stderr == ""
    assert "1 failed" in classify(clip, images, "nowhere.jpg", "--profile", "loud").stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('devise = "cpu"', "devise"),
        ('revision = "v2"', "revision"),
        ("device = [1]", "device"),
        ("workers = 1.5", "workers"),
        ('format = "xml"', "xml"),
        ("profile = 3", "profile"),
        ('profile = ["work"]', "profile"),
        ('[profile.work]\ndevise = "cpu"', "devise"),
        ("model =", "config.toml"),
        ("[a]\nb = 1", "option"),
    ],
)
def test_settings_that_hold_something_else(text: str, named: str, clip: Clip, images: Path) -> None:
    path = write(text + "\n")
    for outcome in (classify(clip, images), clip("labels", "list")):
        assert outcome.status in (1, 2) and outcome.stdout == ""
        assert str(path) in outcome.stderr and named in outcome.stderr
    assert clip("classify", "--help").status == 0
    report = json.loads(clip("doctor", "--offline", "--json", "-m", "demo").stdout)
    assert not report["ok"] and named in report["problem"]["message"]


def test_a_value_that_an_option_refuses_is_traced_to_the_file(clip: Clip, images: Path) -> None:
    path = write('device = "gpu"\n')
    outcome = classify(clip, images)
    assert outcome.status == 2
    assert "--device gpu" in outcome.stderr and str(path) in outcome.stderr
    assert str(path) not in classify(clip, images, "--device", "gpu").stderr


@pytest.mark.parametrize("text", ["", '[profile.home]\nmodel = "demo"\n'])
def test_a_profile_that_is_not_there(text: str, clip: Clip, images: Path) -> None:
    write(text)
    outcome = classify(clip, images, "--profile", "work")
    assert outcome.status == 2 and outcome.stdout == ""
    assert "--profile work" in outcome.stderr and (" home" in outcome.stderr) == bool(text)


def test_it_is_shown(clip: Clip) -> None:
    path = write('device = "cpu"\nworkers = 2\n[profile.work]\nworkers = 3\n')
    document = json.loads(clip("config", "--json", "--profile", "work", CLIPCLI_DTYPE="float32").stdout)
    check_document("clipcli.config-1", document)
    assert document["file"] == str(path)
    rows = {row["option"]: (row["value"], row["origin"]) for row in document["results"]}
    assert rows["device"] == ("cpu", str(path)) and rows["workers"] == (3, "profile work")
    assert rows["dtype"] == ("float32", "CLIPCLI_DTYPE") and rows["offline"] == (False, "the program")
    assert "--workers" in clip("config", "-f", "table").stdout
    report = json.loads(clip("doctor", "--offline", "--json", "-m", "demo").stdout)
    assert {"option": "device", "value": "cpu", "origin": str(path)} in report["settings"]["options"]


def test_where_there_is_none(clip: Clip) -> None:
    outcome = clip("config", "-f", "table")
    assert outcome.status == 0 and str(config_file()) in outcome.stderr
    assert clip("config", "-q").status == 2
