"""README and CONTRIBUTING: every command in them is run, and every table is that of today's program.

Commands run in a home of the test's own, with the demo samples as its photos and the bundled model as the default; what
is fetched comes from a stand-in of the hub.
"""

import csv
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipcli import demo, hub
from clipcli.cli.app import app
from clipcli.errors import ExitStatus
from man import generate, readme
from tests.helpers.hub_server import HubServer
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_rows
from tests.helpers.shards import rows_of as shard_rows
from tests.helpers.shards import write_tars

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SAMPLES = Path(demo.__file__).parent / "samples"
KINDS = sorted(path.name for path in SAMPLES.glob("*.*"))

# Not run: they would install, run the tests inside the tests, or measure for minutes. That they exist is checked below.
NOT_RUN = ("make ", "python -m tests.bench.")
# Named without arguments, to speak of them; `bench` has tests of its own.
ONLY_NAMED = ("clip tag", "clip bench", "clip search", "clip library rm")


@dataclass(frozen=True)
class Block:
    """One fenced block of the README."""

    heading: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    heading = language = ""
    lines: list[str] = []
    for line in README.splitlines():
        if line.startswith("```"):
            if language:
                yield Block(heading, language, "\n".join(lines))
            language, lines = "" if language else line[3:], []
        elif language:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


BLOCKS = tuple(blocks())
SCRIPTS = {block.heading: block.text for block in BLOCKS if block.language == "sh"}
RUN = {
    heading: text
    for heading, text in SCRIPTS.items()
    if not all(line.startswith(NOT_RUN) for line in text.splitlines())
}
INLINE = dict.fromkeys(re.findall(r"`(clip [^`]+)`", README))


@dataclass(frozen=True)
class Home:
    """A user's home, and how commands run in it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def script(self, text: str) -> str:
        return self.run("bash", "-c", f"set -euo pipefail\n{text}")


@pytest.fixture(scope="module")
def endpoint(clip_checkpoint: Path, chinese_clip_checkpoint: Path) -> Iterator[str]:
    with HubServer() as server:
        for alias, folder in (("vit-b32", clip_checkpoint), ("chinese-b16", chinese_clip_checkpoint)):
            row = hub.find_checkpoint(alias)
            assert row is not None
            server.add(row.hub_id, {path.name: path.read_bytes() for path in folder.iterdir()})
            if row.revision is not None:
                model = server.models[row.hub_id]
                model.commits[row.revision] = model.commits[model.refs["main"]]
        yield server.endpoint


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with `clip`, and what a machine may lack; ExifTool only where it is really missing."""
    folder = tmp_path_factory.mktemp("bin")
    python, stand_ins = (
        shlex.quote(str(path)) for path in (sys.executable, ROOT / "tests" / "helpers" / "stand_ins.py")
    )
    missing = ("jq", "curl", "inotifywait", *(() if shutil.which("exiftool") else ("exiftool",)))
    for name, command in {"clip": "-m clipcli", **{name: f"{stand_ins} {name}" for name in missing}}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {python} {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CachedFeature from one block to the next, which saves time and changes nothing."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def home(tmp_path: Path, endpoint: str, programs: Path, features: Path) -> Home:
    shutil.copytree(SAMPLES, tmp_path / "photos", ignore=shutil.ignore_patterns("LICENSE"))
    for name in ("inbox", "cats"):
        (tmp_path / name).mkdir()
    shutil.copy(SAMPLES / "car.jpg", tmp_path / "img.jpg")
    shutil.copy(SAMPLES / "guitar.png", tmp_path / "poster.png")
    formats = ROOT / "tests" / "data" / "formats"
    shutil.copy(formats / "openai-vit.pt", tmp_path / "ViT-B-32.pt")
    for path in (formats / "clip-tokenizer").iterdir():
        shutil.copy(path, tmp_path)
    for kind in ("cat", "dog"):
        (tmp_path / "labelled" / kind).mkdir(parents=True)
        for i in range(12):
            with Image.open(next(SAMPLES.glob(f"{kind}.*"))) as image:
                image.convert("RGB").resize((90 + i, 90)).save(tmp_path / "labelled" / kind / f"{i}.png")
    for number, place in enumerate(("grades/A", "grades/B", "my-pets/cat", "my-pets/dog")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        scene(number).save(tmp_path / place / "1.jpg")
    (tmp_path / "data").mkdir()
    write_tars(tmp_path / "data", 2, 3)
    (tmp_path / "my-labels.txt").write_text("cat\ndog\ncar\n")
    settings = {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_ENDPOINT": endpoint,
        "NO_PROXY": "127.0.0.1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CLIPCLI_MODEL": "demo",
        "CLIPCLI_CACHE_DIR": str(features),
        "OMP_NUM_THREADS": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    return Home(tmp_path, {**kept, **settings})


def rows_of(text: str, schema: str = "clipcli.classify-2") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in text.splitlines()]
    check_rows(schema, rows)
    return rows


def check_counts(home: Home, out: str) -> None:
    assert sum(int(line.split()[0]) for line in out.splitlines()) == len(KINDS)


def check_found(home: Home, out: str) -> None:
    *pipeline, _ = RUN["Whatever find finds"].rstrip().split("|\n")
    rows = rows_of(home.script("|\n".join(pipeline)))
    assert {Path(row["path"]).name for row in rows} == {name for name in KINDS if name.endswith(".jpg")}
    assert out.splitlines() == [row["path"] for row in rows if row["label"] == "car"]
    assert f"{home.folder}/photos/car.jpg" in out.splitlines()


def check_shards(home: Home, out: str) -> None:
    assert len(shard_rows(home.folder / "features")) == 6
    assert (home.folder / "kept.parquet").exists()


def check_cats(home: Home, out: str) -> None:
    assert "cat.png" in os.listdir(home.folder / "cats")


def check_ranking(home: Home, out: str) -> None:
    cosines = [float(line.split("\t")[0]) for line in out.splitlines()]
    assert len(cosines) == 5
    assert cosines == sorted(cosines, reverse=True)


def check_sorting(home: Home, out: str) -> None:
    tagged = {Path(row["path"]).name for row in rows_of(out, "clipcli.tag-2") if row["tags"]}
    folder = home.folder / "sorted"
    assert tagged
    assert not folder.exists()
    home.script(RUN["Sort images into folders, and back"].splitlines()[0])
    assert {path.name for path in folder.glob("*/*") if path.is_symlink()} == tagged


def check_spreadsheet(home: Home, out: str) -> None:
    rows = list(csv.DictReader((home.folder / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert Counter(row["rank"] for row in rows) == dict.fromkeys("123", len(KINDS))


def check_sidecars(home: Home, out: str) -> None:
    printed = out.splitlines()
    rows = rows_of("\n".join(printed[: len(KINDS)]), "clipcli.tag-2")
    shown = dict(line.split("\t") for line in printed[len(KINDS) :])
    keywords = {Path(row["path"]).stem: ", ".join(tag["label"] for tag in row["tags"]) for row in rows}
    assert shown == {f"{stem}.xmp": words for stem, words in keywords.items() if words}


def check_resumed(home: Home, out: str) -> None:
    whole = (home.folder / "tags.jsonl").read_text()
    assert [Path(row["path"]).name for row in rows_of(whole, "clipcli.tag-2")] == KINDS
    home.script(RUN["A large library, in several sittings"])
    assert (home.folder / "tags.jsonl").read_text() == whole
    assert (home.folder / "tags.html").read_text().startswith("<!doctype html>")


def check_inbox(home: Home, out: str) -> None:
    assert [row["path"] for row in rows_of(out)] == [f"{home.folder}/inbox/{name}" for name in ("car.jpg", "dog.jpg")]


def check_network(home: Home, out: str) -> None:
    document, end = json.JSONDecoder().raw_decode(out)
    assert document["results"][0]["path"] == "-"
    (row,) = rows_of(out.splitlines()[-1])
    assert end < out.index('"img.jpg"')
    assert {prediction["label"] for prediction in row["predictions"]} == {"猫", "狗"}


RECIPES: dict[str, Callable[[Home, str], None]] = {
    "What is in this folder, counted": check_counts,
    "Whatever find finds": check_found,
    "Do something with each image of one kind": check_cats,
    "The images that fit a text best": check_ranking,
    "Datasets of shards": check_shards,
    "Sort images into folders, and back": check_sorting,
    "A spreadsheet": check_spreadsheet,
    "Keywords for photo programs": check_sidecars,
    "A large library, in several sittings": check_resumed,
    "Each new image of a folder": check_inbox,
    "An image from the network, and labels in Chinese": check_network,
}


@pytest.mark.parametrize("heading", RUN)
def test_every_command_runs(heading: str, home: Home) -> None:
    out = home.script(RUN[heading])
    RECIPES.get(heading, lambda home, out: None)(home, out)


def test_there_are_ten_recipes_and_each_is_checked_for_what_it_does() -> None:
    section = README.partition("\n## Ten recipes\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", section, re.MULTILINE) == list(RECIPES)
    assert len(RECIPES) == 10


def test_commands_within_sentences_run(home: Home) -> None:
    assert set(ONLY_NAMED) <= set(INLINE)
    assert {tuple(command.split()[1:]) for command in ONLY_NAMED} <= set(generate.commands())
    home.script("\n".join(command for command in INLINE if command not in ONLY_NAMED))


@pytest.mark.parametrize("block", [block.text for block in BLOCKS if block.language == "python"])
def test_python_runs(block: str, home: Home) -> None:
    home.run(sys.executable, "-W", "error::DeprecationWarning", "-c", block)


def test_the_row_shown_is_of_todays_shape() -> None:
    (block,) = (block.text for block in BLOCKS if block.language == "json")
    check_rows("clipcli.classify-2", [json.loads(block)])


def test_nothing_is_shown_that_no_test_runs() -> None:
    assert {block.language for block in BLOCKS} == {"sh", "python", "json"}
    assert len(SCRIPTS) == sum(block.language == "sh" for block in BLOCKS), "two blocks under one heading"
    outside = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    assert [line for line in outside.splitlines() if line.startswith(("    ", "\t", "~~~"))] == []


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
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", outside)) <= options | {"--help", "--no-onnx"}


def test_the_table_of_models_is_the_registry() -> None:
    assert all(f"| `{row.alias}` | {row.hub_id} |" in README for row in hub.CHECKPOINTS)
    assert README == readme.with_models(README), "run `make readme`"


def test_every_exit_status_is_explained() -> None:
    listed = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert [int(status) for status in listed] == sorted(ExitStatus)


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


def test_the_image_asks_nothing_of_the_network_and_has_colours() -> None:
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
