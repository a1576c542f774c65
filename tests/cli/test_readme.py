"""README and CONTRIBUTING: what they name exists, and every table and image is that of today's program.

That what the README shows can be run is tested in `test_documents.py`.
"""

import importlib.util
import re
import sys
import threading
import tomllib
import xml.etree.ElementTree as ET
from itertools import chain
from pathlib import Path
from types import FrameType

import pytest
from typer.testing import CliRunner

from clipcli import demo
from clipcli.cli.app import app
from man import generate, readme

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SAMPLES = Path(demo.__file__).parent / "samples"


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_what_is_not_run_exists(page: str) -> None:
    for target in re.findall(r"(?:^\s*|`)make ([a-z-]+)", page, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for extra in re.findall(r"pip install '\.\[(\w+)\]'", page):
        assert extra in EXTRAS, extra
    for module, rest in re.findall(r"python -m (tests\.bench\.\w+)([^#\n`]*)", page):
        found = importlib.util.find_spec(module)
        assert found is not None and found.origin is not None
        source = Path(found.origin).read_text(encoding="utf-8")
        assert [option for option in re.findall(r"--[a-z-]+", rest) if f'"{option}"' not in source] == []
    for name in re.findall(r"`man ([a-z-]+)`", page):
        assert name in {path.stem for path in generate.MAN.glob("*.[157]")}, name


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_links_and_paths_lead_somewhere(page: str) -> None:
    paths = re.findall(r"\]\((?!https://)([^)#]+)\)", page)
    paths += re.findall(r"`((?:clipcli|prompts|tests|man)/[a-z0-9_./-]*)`", page)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_contributing_names_commands_and_options_that_exist() -> None:
    tree = generate.commands()
    commands = re.findall(r"`clip ([^`]+)`", CONTRIBUTING)
    assert commands
    for command in commands:
        words = command.split()
        used = next(tree[tuple(words[:depth])] for depth in (2, 1) if tuple(words[:depth]) in tree)
        assert {word for word in words if word.startswith("-")} <= {name for p in used.params for name in p.opts}


def test_options_in_sentences_exist() -> None:
    options = {option for command in generate.commands().values() for p in command.params for option in p.opts}
    outside = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", outside)) <= options | {"--help"}


def words(svg: str) -> list[list[str]]:
    """The words of each line of a terminal image."""
    rows: dict[str, list[str]] = {}
    for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        rows.setdefault(text.get("y", ""), []).extend((text.text or "").split())
    return [row for row in rows.values() if row]


def alike(one: str, other: str) -> bool:
    """Whether two words say the same: numbers to two units of the last digit, bars to a cell."""
    if re.fullmatch(r"-?\d+\.\d+", one) and re.fullmatch(r"-?\d+\.\d+", other):
        digits = len(one.partition(".")[2])
        return abs(float(one) - float(other)) < 2.5 * 10**-digits
    if set(one + other) <= set("▏▎▍▌▋▊▉█"):
        return abs(len(one) - len(other)) <= 1
    return one == other


def test_the_image_shows_what_the_program_prints_now() -> None:
    committed, fresh = words(readme.IMAGE.read_text(encoding="utf-8")), words(readme.image())
    assert "$ clip classify" in " ".join(fresh[1])
    assert [len(row) for row in committed] == [len(row) for row in fresh], "run `make readme`"
    pairs = zip(chain.from_iterable(committed), chain.from_iterable(fresh), strict=True)
    assert [pair for pair in pairs if not alike(*pair)] == [], "run `make readme`"


def test_the_image_asks_nothing_of_the_network_and_has_colors() -> None:
    svg = readme.IMAGE.read_text(encoding="utf-8")
    assert "url(http" not in svg and "href" not in svg
    assert len(set(re.findall(r"\.clip-r\d+ \{ fill: (#\w+)", svg))) > 2
    assert re.search(r"!\[[^]]{40,}\]\(man/classify\.svg\)", README), "it has words for those who cannot see it"


def called_by(*arguments: object) -> set[str]:
    """Names of the package's modules and functions that a command goes through, in all threads."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        if event == "call" and module.startswith("clipcli."):
            name = module.removeprefix("clipcli.")
            seen.update((name, f"{name}.{frame.f_code.co_qualname.removesuffix('.__init__')}"))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert outcome.exit_code == 0, outcome.output
    return seen


def test_the_ten_steps_of_classify_are_those_it_takes() -> None:
    flow = CONTRIBUTING.partition("from argv to stdout:")[2]
    assert re.findall(r"^(\d+)\. ", flow, re.MULTILINE) == [str(step) for step in range(1, 11)]
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", flow))
    aside = {"labels.library"}  # not taken with --labels
    taken = called_by("classify", SAMPLES / "cat.png", "--labels", "cat,dog", "--model", "demo")
    assert len(names) > 15
    assert aside <= names
    assert sorted(names - aside - taken) == []


def test_the_table_of_models_is_that_of_today() -> None:
    assert readme.with_models(README) == README
