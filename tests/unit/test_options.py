"""Option groups: Typer sees each field as an option of the command, which gets the group back."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from clipcli.cli.app import app
from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.output import Format, HitFormat, OutputOptions, TagFormat
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.help import GroupedCommand
from clipcli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Colours:
    colour: Annotated[str, typer.Option("--colour", "-c", help="Which.", rich_help_panel="Paint")] = "red"
    coats: Annotated[int, typer.Option(rich_help_panel="Paint")] = 1


def run(*arguments: str) -> tuple[int, str]:
    tool = typer.Typer(rich_markup_mode=None)

    @tool.command(cls=GroupedCommand)
    @expand_options
    def paint(colours: Colours, *, wall: Annotated[str, typer.Option()] = "north") -> None:
        """Paint a wall."""
        typer.echo(f"{wall} {colours.colour} {colours.coats}")

    result = CliRunner().invoke(tool, list(arguments))
    return result.exit_code, result.stdout


def test_fields_become_options_and_come_back_as_the_group() -> None:
    assert run() == (0, "north red 1\n")
    assert run("-c", "blue", "--coats", "2", "--wall", "south") == (0, "south blue 2\n")
    assert run("--coats", "two")[0] == 2


def test_help_lists_options_in_their_groups() -> None:
    help = run("--help")[1]
    assert "Paint a wall." in help
    paint, options = help.index("Paint:"), help.index("Options:")
    assert paint < help.index("--colour") < help.index("--coats") < options < help.index("--wall")


@pytest.mark.parametrize("command", ["classify", "score"])
def test_help_of_the_commands_has_the_groups_of_the_contract(command: str) -> None:
    help = CliRunner().invoke(app, [command, "--help"]).stdout
    groups = [line.rstrip(":") for line in help.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert groups == ["Examples", "Labels", "Inputs", "Scoring", "Sorting", "Shards", "Model", "Output", "Options"]
    assert all(len(line) <= 80 for line in help.splitlines())
    assert "\\b" not in help


def test_what_does_not_go_together() -> None:
    with pytest.raises(UsageError, match=r"--json.*--format"):
        OutputOptions(format=Format.csv, json=True)
    with pytest.raises(UsageError, match=r"--template.*--no-template"):
        LabelOptions(labels=["a"], template=["{}"], no_template=True).read()
    with pytest.raises(UsageError, match="--max-megapixels"):
        InputOptions(max_megapixels=float("nan"))


def test_the_chosen_format() -> None:
    assert OutputOptions(json=True).chosen_format() is Format.json
    assert OutputOptions(format=Format.tsv).chosen_format() is Format.tsv
    assert OutputOptions(output="x").chosen_format() is Format.jsonl


def test_what_someone_may_yet_write_is_not_a_file(tmp_path: Path) -> None:
    pipe, listed = tmp_path / "pipe", tmp_path / "list.txt"
    os.mkfifo(pipe)
    listed.write_text("a.png\n")
    for there in (["a.png", "*.jpg", str(tmp_path)], [str(listed)], None):
        assert InputOptions(images=there).are_files
    assert InputOptions(from_file=str(listed)).are_files
    for awaited in (["a.png", "-"], [str(pipe)]):
        assert not InputOptions(images=awaited).are_files
    for awaited_list in ("-", str(pipe)):
        assert not InputOptions(from_file=awaited_list).are_files


def test_tags_and_hits_have_every_format_and_one_more() -> None:
    assert {*TagFormat} == {*Format, "exiftool"}
    assert {*HitFormat} == {*Format, "paths"}
