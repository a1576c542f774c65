"""Commands that write, on a disk that is full after so many bytes of a file.

What is held: status 0, or another one with a sentence and no traceback; under the name of an output lies what was there
before or a whole file, or one that `--resume` continues; no temporary file is left; no image is lost; with room again
the same command succeeds, and all its outputs are whole.
"""

import csv
import functools
import json
import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from clipcli.cli.app import app
from clipcli.errors import ExitStatus
from clipcli.labels.library import find_label_set
from tests.helpers.full_disk import full_disk
from tests.torture import campaign

COUNT = 5
ROOM = [0, 1, 30, 100, 500, 1000, 2000, 4096, 8192, 20_000, 60_000, 200_000, 10**6]
ANSWER = ("-m", "demo", "-l", "cat,dog", "--quiet")
RESUMABLE = (".jsonl", ".npy")
# What writes, {} its folder; `photos` holds images.
COMMANDS = [
    "classify photos {answer} -o {}/out.jsonl", "classify photos {answer} -o {}/out.json",
    "classify photos {answer} -o {}/out.csv", "classify photos {answer} -o {}/out.jsonl --report {}/out.html",
    "classify photos {answer} -o {}/out.jsonl --resume", "tag photos {answer} -o {}/out.jsonl --resume",
    "tag photos {answer} --threshold 0 --write-sidecars", "tag photos {answer} --threshold 0 --sort-into {}/sorted",
    "tag photos {answer} --threshold 0 --sort-into {}/sorted --copy",
    "tag photos {answer} --threshold 0 --sort-into {}/sorted --move",
    "embed photos -m demo --quiet -o {}/out.npy", "embed photos -m demo --quiet -o {}/out.parquet",
    "embed photos -m demo --quiet -o {}/out.npy --resume", "explain photos {answer} -o {}/maps",
    "dedupe photos -m demo --quiet -o {}/out.jsonl", "dedupe photos -m demo --quiet --report {}/out.html",
    "search cat photos -m demo --quiet -o {}/out.csv --contact-sheet {}/out.html", "labels new {}/new.yaml",
    "labels import prompts.json {}/new.yaml", "library create photos -m demo --quiet --library {}/library",
    "models default demo",
]  # fmt: skip


def trial(rng: random.Random, folder: Path) -> str:
    """One command, first without room, then with."""
    photos, out = folder / "photos", folder / "out"
    _photos(photos)
    out.mkdir()
    (folder / "prompts.json").write_text('{"cat": ["a cat", "the cat"], "dog": ["a dog"]}')
    text = rng.choice(COMMANDS)
    arguments = [part.replace("{}", str(out)) for part in text.replace("{answer}", " ".join(ANSWER)).split()]
    arguments = [str(folder / part) if part in ("photos", "prompts.json") else part for part in arguments]
    kind = " ".join(
        part for part in text.split() if "{" not in part and part not in ("photos", "-m", "demo", "--quiet")
    )
    with campaign.variables(CLIPCLI_CACHE_DIR=str(folder / "cache"), CLIPCLI_CONFIG_DIR=str(folder / "config")):
        if rng.random() < 0.05:
            return _full_output(arguments)
        if rng.random() < 0.5 and text.split()[0] not in ("labels", "library"):  # what an earlier run left
            _again(arguments, out, photos)
        before = _contents(folder)
        with full_disk(rng.choice(ROOM)):
            result = CliRunner().invoke(app, arguments)
        _check_status(result, arguments)
        _check_files(folder, before, torn=RESUMABLE if result.exit_code == ExitStatus.FAILED else ())
        _again(arguments, out, photos)
        _check_files(folder, before)
    return f"{kind}: {ExitStatus(result.exit_code).name.lower()}"


@functools.cache
def _images() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 24, 32, 3), np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def _photos(folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(_images()):
        image.save(folder / f"{number}.png")


def _check_status(result: Result, arguments: list[str]) -> None:
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{arguments}: a traceback") from result.exception
    if result.exit_code not in (ExitStatus.OK, ExitStatus.FAILED, ExitStatus.PARTIAL):
        raise AssertionError(f"{arguments}: status {result.exit_code}: {result.stderr[-500:]}")
    if result.exit_code == ExitStatus.FAILED and "clip: error: " not in result.stderr:
        raise AssertionError(f"{arguments}: no sentence: {result.stderr[-500:]!r}")


def _again(arguments: list[str], out: Path, photos: Path) -> None:
    """Run a command with room; what refuses to replace its own output gets another place."""
    if any(out.glob("sorted/*.jsonl")) and "--move" in arguments:
        CliRunner().invoke(app, ["tag", "--undo", str(out / "sorted")])
    for name in (out / "new.yaml", out / "library"):
        if name.exists():
            name.rename(name.with_stem(f"{name.stem}-{len(list(out.iterdir()))}"))
    if len(list(photos.glob("*.png"))) != COUNT:
        raise AssertionError("images are not back")
    result = CliRunner().invoke(app, arguments)
    if result.exit_code != ExitStatus.OK:
        raise AssertionError(f"{arguments}: with room again, status {result.exit_code}: {result.output[-800:]}")


def _full_output(arguments: list[str]) -> str:
    """Results go to a device without room, by redirection."""
    command = [part for part in arguments if not part.startswith(("-o", "--report")) and "/out/" not in part]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipcli", *command], stdout=full, stderr=subprocess.PIPE, check=False
        )
    if done.returncode not in (0, 1, 2) or b"Traceback" in done.stderr or (done.returncode and not done.stderr):
        raise AssertionError(f"{command} > /dev/full: status {done.returncode}: {done.stderr[-800:]!r}")
    return f"to /dev/full: status {done.returncode}"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "cache" not in path.parts}


def _check_files(folder: Path, before: dict[Path, bytes], torn: tuple[str, ...] = ()) -> None:
    found = _contents(folder)
    for path, content in found.items():
        if path.suffix in (".tmp", ".clip-tmp") or (path.name.startswith(".") and "library" not in str(path)):
            raise AssertionError(f"{path.name} lies about")
        if before.get(path) != content and path.suffix in WHOLE and path.suffix not in torn:
            try:
                WHOLE[path.suffix](path)
            except Exception as error:
                raise AssertionError(f"{path.name} is not whole: {error!r}") from error
    if lost := {content for path, content in before.items() if path.suffix == ".png"} - set(found.values()):
        raise AssertionError(f"{len(lost)} images are lost")


def _rows(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n") or not text, "a torn row"
    for line in text.splitlines():
        json.loads(line)


def _table(path: Path) -> None:
    rows = list(csv.reader(path.open(newline="")))
    assert len({len(row) for row in rows}) == 1 and path.read_bytes().endswith(b"\n")


def _page(path: Path) -> None:
    assert path.read_text().rstrip().endswith(">")


def _parquet(path: Path) -> None:
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(path).num_rows == COUNT


def _features(path: Path) -> None:
    assert np.load(path).shape[0] == COUNT


def _label_set(path: Path) -> None:
    assert len(find_label_set(str(path)).labels) > 1


WHOLE: dict[str, Callable[[Path], object]] = {
    ".jsonl": _rows,
    ".json": lambda path: json.loads(path.read_text()),
    ".csv": _table,
    ".html": _page,
    ".npy": _features,
    ".parquet": _parquet,
    ".xmp": ET.parse,
    ".yaml": _label_set,
    ".png": lambda path: Image.open(path).verify(),
}
