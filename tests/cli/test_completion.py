"""The Tab key, by the protocol that each shell's script speaks with the program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipcli import hub
from clipcli.cli.app import app
from clipcli.cli.shell import completion
from clipcli.labels.library import list_label_sets, list_templates

SHELLS = ("bash", "zsh", "fish")
every_shell = pytest.mark.parametrize("shell", SHELLS)


def request(shell: str, line: str) -> dict[str, str]:
    """What the shell's script puts into the environment when Tab is pressed at the end of a line."""
    words = line.split()
    return {
        "_CLIP_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) if line.endswith(" ") else len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }


def candidates(shell: str, line: str) -> list[str]:
    """What the shell would offer, without the words of explanation beside it."""
    done = CliRunner().invoke(app, [], env=request(shell, line), prog_name="clip", catch_exceptions=False)
    assert done.stderr == ""
    if shell == "zsh":
        return [found.replace(r"\\:", ":") for found in re.findall(r'^(?:.*\(\()?"([^"]+)"', done.stdout, re.MULTILINE)]
    return [found.partition("\t")[0] for found in done.stdout.splitlines() if found]


def run(environment: dict[str, str], code: str) -> "subprocess.CompletedProcess[str]":
    """Answer in a process of its own, as the script's `clip` does."""
    command = [sys.executable, "-c", f"from clipcli.__main__ import main; {code}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture
def own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    (prompts / "templates").mkdir(parents=True)
    (prompts / "my-birds.yaml").write_text("labels: [wren, robin]\n")
    (prompts / "templates" / "my-words.yaml").write_text('templates: ["my {}."]\n')
    monkeypatch.setenv("CLIPCLI_CONFIG_DIR", str(tmp_path))


@every_shell
def test_commands(shell: str) -> None:
    assert {"classify", "score", "tag", "labels", "models", "cache"} <= set(candidates(shell, "clip "))
    assert candidates(shell, "clip cl") == ["classify"]
    assert {"list", "show", "check", "new", "import", "teach"} == set(candidates(shell, "clip labels "))


@every_shell
def test_options(shell: str) -> None:
    expected = {"--no-exif", "--no-template", "--no-cache", "--no-progress"}
    assert set(candidates(shell, "clip classify --no-")) == expected


@every_shell
def test_models(shell: str) -> None:
    aliases = {row.alias for row in hub.CHECKPOINTS}
    assert aliases | {"demo"} == set(candidates(shell, "clip classify --model "))
    assert candidates(shell, "clip models pull vit-b") == ["vit-b32", "vit-b16"]


@every_shell
def test_label_sets_and_templates_with_the_users_own(shell: str, own_files: None) -> None:
    sets = {entry.name for entry in list_label_sets()}
    templates = {entry.name for entry in list_templates()}
    assert "my-birds" in sets and "my-words" in templates
    assert set(candidates(shell, "clip tag --label-set ")) == sets
    assert set(candidates(shell, "clip labels show ")) == sets
    assert set(candidates(shell, "clip classify --template ")) == templates
    assert candidates(shell, "clip labels check my-") == ["my-birds", "my-words"]


@every_shell
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("clip score --device ", ["auto", "cpu", "cuda", "mps"]),
        ("clip classify --dtype ", ["auto", "float32", "bfloat16", "float16", "int8"]),
        ("clip classify --format js", ["json", "jsonl"]),
        ("clip classify -f ", ["auto", "table", "json", "jsonl", "csv", "tsv"]),
        ("clip tag --format e", ["exiftool"]),
        ("clip score --scoring ", ["auto", "softmax", "sigmoid", "cosine"]),
        ("clip classify --alpha ", ["white", "drop"]),
    ],
)
def test_values(shell: str, line: str, expected: list[str]) -> None:
    assert candidates(shell, line) == expected


@every_shell
def test_images_and_paths_of_models_are_left_to_the_shell(shell: str) -> None:
    assert candidates(shell, "clip classify hol") == []
    assert candidates(shell, "clip classify --model ./my-") == []


def test_models_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = [
        hub.StoredModel("openai/clip-vit-base-patch32", "clip", "0" * 40, tmp_path, 1, ()),
        hub.StoredModel("me/mine", "clip", "0" * 40, tmp_path, 1, ()),
    ]
    monkeypatch.setattr(hub, "stored_models", lambda: tuple(models))
    assert [value[0] for value in completion.stored_models()] == ["vit-b32", models[0].hub_id, "me/mine"]
    assert ("me/mine", "clip, on this machine") in list(completion.models())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_explanations_are_whole(shell: str) -> None:
    assert "cuda:all" in run(request(shell, "clip classify --devi"), "main()").stdout.replace("\\", "")


@every_shell
def test_neither_torch_nor_rich_is_imported(shell: str) -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'rich.text'} & {*sys.modules}"
    code = f"import atexit, sys; atexit.register(lambda: sys.stderr.write(','.join({heavy}))); main()"
    for line in ("clip ", "clip classify --model ", "clip tag --label-set ", "clip score --dtype "):
        done = run(request(shell, line), code)
        assert done.stdout
        assert done.stderr == ""


@every_shell
def test_the_script_that_is_installed_asks_this_program(shell: str) -> None:
    done = run({"_CLIP_COMPLETE": f"source_{shell}"}, "main()")
    assert f"_CLIP_COMPLETE=complete_{shell}" in done.stdout


def test_zsh_answers_while_it_loads_the_script() -> None:
    code = "import sys; sys.argv[1:] = ['--show-completion', 'zsh']; main()"
    script = run({"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}, code).stdout.splitlines()
    assert script[0] == "#compdef clip"
    assert script[-1] == '[[ $zsh_eval_context[-1] == loadautofunc ]] && _clip_completion "$@"'
