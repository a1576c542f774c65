"""The README and the guides: every command and every line of Python in them is run.

Commands run in a home of the test's own, with the demo samples as its photos and the bundled model as the default; what
is fetched comes from a stand-in of the hub.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipcli import demo, hub
from man import generate
from tests.helpers import documents
from tests.helpers.documents import Example
from tests.helpers.hub_server import HubServer
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_rows
from tests.helpers.shards import rows_of as shard_rows
from tests.helpers.shards import write_tars

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
SAMPLES = Path(demo.__file__).parent / "samples"
KINDS = sorted(path.name for path in SAMPLES.glob("*.*"))
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(generate.MAN.glob("*.7")))
}
EXAMPLES = {name: list(documents.examples(name, text)) for name, text in DOCUMENTS.items()}

# Not run: they would install, run the tests inside the tests, or measure for minutes.
NOT_RUN = ("make ", "python -m tests.bench.", "clip serve")
# Named without arguments, to speak of them.
ONLY_NAMED = ("clip tag", "clip bench", "clip search", "clip library rm", "clip eval", "clip labels teach")


def sections(name: str) -> dict[str, str]:
    """What a reader would type in each section of a document."""
    found: dict[str, list[str]] = {}
    for example in EXAMPLES[name]:
        if example.language == "sh" and not all(line.startswith(NOT_RUN) for line in example.text.splitlines()):
            found.setdefault(example.heading, []).append(example.text)
    return {heading: "\n".join(texts) for heading, texts in found.items()}


SCRIPTS = {(name, heading): text for name in DOCUMENTS for heading, text in sections(name).items()}
FILES = {
    name: {kind[5:]: text for kind, text in ((e.language, e.text) for e in shown) if kind.startswith("file ")}
    for name, shown in EXAMPLES.items()
}
CODE = {name: "\n".join(e.text for e in shown if e.language == "python") for name, shown in EXAMPLES.items()}
ROWS = [(name, e.text) for name, shown in EXAMPLES.items() for e in shown if e.language == "json"]


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
def endpoint(clip_checkpoint: Path, chinese_clip_checkpoint: Path, siglip2_checkpoint: Path) -> Iterator[str]:
    served = {"vit-b32": clip_checkpoint, "chinese-b16": chinese_clip_checkpoint, "siglip2-b16": siglip2_checkpoint}
    with HubServer() as server:
        for alias, folder in served.items():
            row = hub.find_checkpoint(alias)
            assert row is not None
            server.add(row.hub_id, {path.name: path.read_bytes() for path in folder.iterdir()})
            if row.revision is not None:
                model = server.models[row.hub_id]
                model.commits[row.revision] = model.commits[model.refs["main"]]
        yield server.endpoint


@pytest.fixture(scope="module")
def warm_clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """How a shell calls a `clip` that has been imported already: there are two hundred commands to run."""
    path = tmp_path_factory.mktemp("warm") / "socket"
    server = subprocess.Popen(
        [sys.executable, str(HELPERS / "warm.py"), "serve", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while not path.exists() and server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.poll() is None, "the server could not start"
    yield shlex.join([sys.executable, "-I", "-S", str(HELPERS / "warm.py"), "run", str(path)])
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def programs(warm_clip: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with `clip`, and what a machine may lack; ExifTool only where it is really missing."""
    folder = tmp_path_factory.mktemp("bin")
    stand_ins = shlex.join([sys.executable, str(HELPERS / "stand_ins.py")])
    missing = ("jq", "curl", "inotifywait", *(() if shutil.which("exiftool") else ("exiftool",)))
    for name, command in {"clip": warm_clip, **{name: f"{stand_ins} {name}" for name in missing}}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cached features from one section to the next, which saves time and changes nothing."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def home(tmp_path: Path, endpoint: str, programs: Path, features: Path) -> Home:
    shutil.copytree(SAMPLES, tmp_path / "photos", ignore=shutil.ignore_patterns("LICENSE"))
    for name in ("inbox", "cats", ".venv/bin", "clipcli/demo"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()  # `clip` is on the PATH already
    (tmp_path / "clipcli/demo/samples").symlink_to(tmp_path / "photos")
    shutil.copy(SAMPLES / "rose.png", tmp_path / "inbox" / "rose (1).png")
    shutil.copy(SAMPLES / "car.jpg", tmp_path / "img.jpg")
    shutil.copy(SAMPLES / "guitar.png", tmp_path / "poster.png")
    formats = ROOT / "tests" / "data" / "formats"
    shutil.copy(formats / "openai-vit.pt", tmp_path / "ViT-B-32.pt")
    for path in (formats / "clip-tokenizer").iterdir():
        shutil.copy(path, tmp_path)
    for kind in ("cat", "dog"):
        (tmp_path / "labeled" / kind).mkdir(parents=True)
        for i in range(12):
            with Image.open(next(SAMPLES.glob(f"{kind}.*"))) as image:
                image.convert("RGB").resize((90 + i, 90)).save(tmp_path / "labeled" / kind / f"{i}.png")
    for number, place in enumerate(("grades/A", "grades/B", "my-pets/cat", "my-pets/dog")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        scene(number).save(tmp_path / place / "1.jpg")
    (tmp_path / "data").mkdir()
    write_tars(tmp_path / "data", 2, 3)
    (tmp_path / "my-labels.txt").write_text("cat\ndog\ncar\n")
    (tmp_path / "Downloads").mkdir()
    reviewed = [
        f"{path},{label}" for path, label in zip(sorted(SAMPLES.glob("*.*")), ["portrait", "child"] * 6, strict=True)
    ]
    (tmp_path / "Downloads" / "labels.csv").write_text("\n".join(["path,label", *reviewed]))
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


GUIDE = "clip-recipes.7"


def rows_of(text: str, schema: str = "clipcli.classify-2") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in text.splitlines()]
    check_rows(schema, rows)
    return rows


def check_counts(home: Home, out: str) -> None:
    assert sum(int(line.split()[0]) for line in out.splitlines()) == len(KINDS)


def check_found(home: Home, out: str) -> None:
    *pipeline, _ = SCRIPTS[GUIDE, "Images listed by find"].rstrip().split("|\n")
    rows = rows_of(home.script("|\n".join(pipeline)))
    assert {Path(row["path"]).name for row in rows} == {name for name in KINDS if name.endswith(".jpg")}
    assert out.splitlines() == [row["path"] for row in rows if row["label"] == "car"]
    assert f"{home.folder}/photos/car.jpg" in out.splitlines()


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
    home.script(SCRIPTS[GUIDE, "Sort images into folders, and undo it"].splitlines()[0])
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
    home.script(SCRIPTS[GUIDE, "A large folder, in several sessions"])
    assert (home.folder / "tags.jsonl").read_text() == whole
    assert (home.folder / "tags.html").read_text().startswith("<!doctype html>")


def check_inbox(home: Home, out: str) -> None:
    assert [row["path"] for row in rows_of(out)] == [f"{home.folder}/inbox/{name}" for name in ("car.jpg", "dog.jpg")]


def check_shards(home: Home, out: str) -> None:
    assert len(shard_rows(home.folder / "features")) == 6
    assert (home.folder / "kept.parquet").exists()


def check_network(home: Home, out: str) -> None:
    document, end = json.JSONDecoder().raw_decode(out)
    assert document["results"][0]["path"] == "-"
    (row,) = rows_of(out.splitlines()[-1])
    assert end < out.index('"img.jpg"')
    assert {prediction["label"] for prediction in row["predictions"]} == {"猫", "狗"}


CHECKS: dict[str, Callable[[Home, str], None]] = {
    "Count the images of each label": check_counts,
    "Images listed by find": check_found,
    "Run a command for each image of one label": check_cats,
    "The images that match a text best": check_ranking,
    "Sort images into folders, and undo it": check_sorting,
    "A spreadsheet": check_spreadsheet,
    "Keywords for photo programs": check_sidecars,
    "A large folder, in several sessions": check_resumed,
    "Each new image of a folder": check_inbox,
    "Datasets of shards": check_shards,
    "An image from the network, and labels in Chinese": check_network,
}


@pytest.mark.parametrize(("name", "heading"), SCRIPTS)
def test_every_command_runs(name: str, heading: str, home: Home) -> None:
    for file, text in FILES[name].items():
        (home.folder / file).write_text(text, encoding="utf-8")
    out = home.script(SCRIPTS[name, heading])
    if name == GUIDE and heading in CHECKS:
        CHECKS[heading](home, out)


def test_a_command_that_fails_is_noticed(home: Home) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        home.script("clip classify no-such-file.jpg --labels cat,dog")


def test_recipes_are_checked_for_what_they_do() -> None:
    assert set(CHECKS) <= {heading for name, heading in SCRIPTS if name == GUIDE}


@pytest.mark.parametrize("name", [name for name, text in CODE.items() if text])
def test_python_runs(name: str, home: Home) -> None:
    home.run(sys.executable, "-W", "error::DeprecationWarning", "-c", CODE[name])


def test_commands_within_sentences_of_the_readme_run(home: Home) -> None:
    inline = dict.fromkeys(" ".join(c.split()) for c in re.findall(r"`(clip [^`]+)`", DOCUMENTS["README.md"]))
    assert {tuple(command.split()[1:]) for command in ONLY_NAMED} <= set(generate.commands())
    home.script(
        "\n".join(command for command in inline if command not in ONLY_NAMED and not command.startswith(NOT_RUN))
    )


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.endswith(".7")])
def test_commands_within_sentences_of_guides_exist(name: str) -> None:
    tree = generate.commands()
    for words in (line.split() for line in re.findall(r"^\.Ql clip ([^.,;()\n]+)", DOCUMENTS[name], re.MULTILINE)):
        used = next((tree[tuple(words[:depth])] for depth in (2, 1) if tuple(words[:depth]) in tree), None)
        assert used is not None, words
        assert {word for word in words if word.startswith("-")} <= {option for p in used.params for option in p.opts}


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_rows_shown_are_of_todays_shape(name: str, row: str) -> None:
    check_rows("clipcli.classify-2", [json.loads(row)])


def test_nothing_is_shown_that_no_test_runs() -> None:
    kinds = {example.language.partition(" ")[0] for shown in EXAMPLES.values() for example in shown}
    assert kinds <= {"sh", "python", "json", "file", "text"}
    outside = re.sub(r"^```.*?^```", "", DOCUMENTS["README.md"], flags=re.DOTALL | re.MULTILINE)
    assert [line for line in outside.splitlines() if line.startswith(("    ", "\t", "~~~"))] == []


def test_examples_are_found_in_a_guide() -> None:
    guide = r"""
.Sh ONE
.Dl clip doctor
.Bd -literal -offset indent
clip search \(dqa dog\(dq \e
  ~/photos
.Ed
.\" python
.Bd -literal
print(1)
.Ed
.Sh TWO
.TS
lB lB
l l.
theirs	clipcli
old	clip classify
  on	  a.jpg
old	model.load()
.TE
"""
    assert list(documents.examples("x.7", guide)) == [
        Example("ONE", "sh", "clip doctor"),
        Example("ONE", "sh", 'clip search "a dog" \\\n  ~/photos'),
        Example("ONE", "python", "print(1)"),
        Example("TWO", "sh", "clip classify a.jpg"),
        Example("TWO", "python", "model.load()"),
    ]
