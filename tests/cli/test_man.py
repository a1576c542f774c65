"""Man pages: generated parts are those of today's program, and what is written by hand speaks of what exists."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipcli.cli.options.output import Format
from clipcli.errors import ExitStatus
from man import generate

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(generate.MAN.glob("*.[157]"))}
COMMANDS = generate.commands()
ROOT = Path(__file__).parents[2]

every_page = pytest.mark.parametrize("name", PAGES)


def page_of(words: tuple[str, ...]) -> str:
    return PAGES["-".join(("clip", *words[:1])) + ".1"]


def options_of(words: tuple[str, ...]) -> set[str]:
    return {option for parameter in COMMANDS[words].params for option in parameter.opts if option.startswith("-")}


def test_pages_are_fresh() -> None:
    stale = [name for name, text in generate.pages().items() if PAGES.get(name) != text]
    assert stale == [], "run `make man`, and write the prose of a new page"


def test_every_command_has_its_page() -> None:
    assert {"-".join(("clip", *words)) + ".1" for words in COMMANDS if len(words) < 2} <= set(PAGES)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_explained_in_a_list(words: tuple[str, ...]) -> None:
    page = page_of(words)
    items = " ".join(re.findall(r"^\.It (.*)$", page, re.MULTILINE))
    for option in options_of(words):
        assert f"Fl {option[1:]}" in items, option


def test_every_variable_is_listed() -> None:
    for words, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.envvar:
                assert parameter.envvar in PAGES["clip.1"], (words, parameter.envvar)
    for path in (ROOT / "clipcli").rglob("*.py"):
        for name in re.findall(r"environ(?:\.get\(|\[)\"(CLIPCLI_\w+)", path.read_text(encoding="utf-8")):
            assert name in PAGES["clip.1"], (path, name)


def test_every_exit_status_is_listed() -> None:
    listed = re.findall(r"^\.It (\d+)$", PAGES["clip-output.5"].split(".Sh EXIT STATUS")[1], re.MULTILINE)
    assert [int(status) for status in listed] == sorted(ExitStatus)


def test_every_format_is_explained() -> None:
    formats = PAGES["clip-output.5"].split(".Ss Formats")[1].split("\n.El")[0]
    explained = re.findall(r"^\.It Cm (.*)$", formats, re.MULTILINE)
    assert {name for names in explained for name in names.split(" , ")} >= {*Format} - {Format.auto}


def properties(node: Any) -> Iterator[str]:
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("properties"), dict):
        yield from node["properties"]
    for part in parts:
        yield from properties(part)


def test_every_document_has_its_schema() -> None:
    """All but those for this program alone: a sorting's manifest, a library's description, the books of runs."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "clipcli").rglob("*.py"))
    named = set(re.findall(r"\bclipcli\.[a-z_]+/\d+\b", sources)) - {
        *("clipcli.sorted/1", "clipcli.library/1", "clipcli.scale/1", "clipcli.run/2")
    }
    described = {path: json.loads(path.read_text())["properties"] for path in generate.SCHEMAS.glob("*.json")}
    assert {path.stem.replace("-", "/") for path in described} == named
    for path, fields in described.items():
        assert fields["schema"] == {"const": path.stem.replace("-", "/")}


def test_every_field_of_every_schema_is_listed() -> None:
    page = PAGES["clip-output.5"]
    for path in generate.SCHEMAS.glob("*.json"):
        section = page.partition(f".Ss {path.stem.replace('-', '/')}\n")[2].partition("\n.Ss")[0]
        shared = page.partition(".Ss Fields that classify, score and tag have\n")[2].partition("\n.Ss")[0]
        listed = re.findall(r"^\.It Li (\S+)$", section + shared, re.MULTILINE)
        assert f"clipcli.{path.stem.partition('.')[2].replace('-', '/')}" in section
        assert set(properties(json.loads(path.read_text()))) <= {
            name.removesuffix("[]") for field in listed for name in field.split(".")
        }


@every_page
def test_sections_come_in_the_usual_order(name: str) -> None:
    found = re.findall(r"^\.Sh (.+)$", PAGES[name], re.MULTILINE)
    usual = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "ENVIRONMENT",
        "FILES",
        "EXIT STATUS",
        "EXAMPLES",
        "SEE ALSO",
        "CAVEATS",
    ]
    assert [section for section in found if section in usual] == [section for section in usual if section in found]
    needed = {
        "1": {"NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"},
        "5": {"NAME", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"},
        "7": {"NAME", "DESCRIPTION", "SEE ALSO"},
    }
    assert needed[name[-1]] <= set(found)


def test_every_page_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert data == {f"man/{name}": f"share/man/man{name[-1]}/{name}" for name in PAGES}


def test_the_programs_page_names_every_guide() -> None:
    assert [name for name in PAGES if name[-1] == "7" and f".Xr {name[:-2]} 7" not in PAGES["clip.1"]] == []


@every_page
def test_lists_and_displays_are_closed(name: str) -> None:
    macros = re.findall(r"^\.(B[ld]|E[ld])\b", PAGES[name], re.MULTILINE)
    open_ones: list[str] = []
    for macro in macros:
        if macro[0] == "B":
            open_ones.append(macro[1])
        else:
            assert open_ones.pop() == macro[1]
    assert open_ones == []
    assert PAGES[name].count('.\\" begin generated') == PAGES[name].count('.\\" end generated')


@every_page
def test_references_lead_somewhere(name: str) -> None:
    for title, section in re.findall(r"^\.Xr (\S+) (\d)", PAGES[name], re.MULTILINE):
        assert f"{title}.{section}" in PAGES or title in ("man", "jq", "exiftool")


@every_page
def test_what_is_written_by_hand_uses_options_that_exist(name: str) -> None:
    every = set().union(*map(options_of, COMMANDS)) | {"--help", "-h"}
    prose = re.sub(r'\.\\" begin generated.*?\.\\" end generated', "", PAGES[name], flags=re.DOTALL)
    assert {f"--{option}" for option in re.findall(r"\bFl -([a-z][a-z0-9-]*)", prose)} <= every
    for line in re.findall(r"^(?:\.Dl )?(?:.*\| |.*=\S+ |  )?(clip [a-z][^|\n]*)", prose, re.MULTILINE):
        words = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", line).split()[1:]
        used = next((tuple(words[:depth]) for depth in (2, 1) if tuple(words[:depth]) in COMMANDS), None)
        assert used is not None, line
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= options_of(used), line


def test_remarks_on_what_does_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "commands", lambda: {(): COMMANDS[()]})
    with pytest.raises(ValueError, match="--none-of-these"):
        generate.pages()


def test_text_becomes_mdoc() -> None:
    text = "Use --top, or `clip labels list`. Backslash \\ stays.\n\n.hidden files"
    assert generate.mdoc(text) == (
        "Use\n.Fl -top ,\nor\n.Ql clip labels list .\nBackslash \\e stays.\n.Pp\n\\&.hidden files\n"
    )


def test_a_new_command_gets_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    command = type(COMMANDS[("score",)])(name="dance", help="Dance with images.\n\n\b\nclip dance a.jpg", params=[])
    monkeypatch.setattr(generate, "commands", lambda: {**COMMANDS, ("dance",): command})
    page = generate.pages()["clip-dance.1"]
    assert ".Nd dance with images\n" in page
    assert '.\\" begin generated synopsis\n.Nm clip dance\n' in page
    assert "\nclip dance a.jpg\n.Ed\n" in page
    assert ".Xr clip-dance 1 .\n" in generate.pages()["clip.1"]
