import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from clipcli.cli.app import app
from tests.helpers.hub_server import HubServer


def test_the_first_run_fetches_the_model_and_the_second_asks_nobody(
    hub: HubServer, clip_checkpoint: Path, tmp_path: Path
) -> None:
    hub.add("me/tiny", {path.name: path.read_bytes() for path in clip_checkpoint.iterdir()})
    image = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(image)
    command = ["classify", str(image), "--labels", "cat,dog", "--model", "me/tiny", "--json"]

    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert len(hub.fetched("model.safetensors")) == 1

    hub.requests.clear()
    second = CliRunner().invoke(app, command)
    assert hub.requests == []
    assert json.loads(second.stdout)["run"]["revision"] == hub.models["me/tiny"].refs["main"]
    assert json.loads(second.stdout)["results"] == json.loads(first.stdout)["results"]


def test_a_model_that_cannot_be_had_is_exit_4(hub: HubServer, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")

    result = CliRunner().invoke(app, ["classify", str(tmp_path), "--labels", "a,b", "-m", "vit-b32", "--offline"])

    assert result.exit_code == 4
    assert result.stdout == ""
    assert "openai/clip-vit-base-patch32" in result.stderr and "--model demo" in result.stderr
    assert hub.requests == []
