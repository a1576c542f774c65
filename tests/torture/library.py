"""Libraries, killed at any moment while they are written.

A process of its own adds images, replaces, removes and compacts, and says after each step what it has done. It is
killed (SIGKILL) at a random moment, sometimes while a second writer adds images of its own. Afterwards the library must
open, every image that was said to be there must have its own features, every image that was said to be removed must be
gone, and it must take more.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from clipcli.library.index.description import Description, ModelIdentity
from clipcli.library.index.store import NewImage, Store
from clipcli.library.index.table import NewRow
from clipcli.scoring import Floats

DIMENSIONS = 64
MODEL = ModelIdentity("demo", None, "c", "p", "float32")
STEPS = ("add", "add", "add", "replace", "remove", "compact")


def features_of(name: str, version: int) -> Floats:
    """Features that only this version of this image has."""
    row = np.random.default_rng([*name.encode(), version]).standard_normal(DIMENSIONS).astype(np.float32)
    return np.asarray(row / np.linalg.norm(row), dtype=np.float32)


def new_image(name: str, version: int) -> NewImage:
    digest = version.to_bytes(32, "little")
    row = NewRow(f"/photos/{name}", None, digest, b"", 1, 1, 1, "PNG", None, "2024-01-01T00:00:00", None, None)
    return NewImage(row, features_of(name, version))


def write(folder: Path, who: str, seed: int) -> None:
    """Change a library for ever; prints each step before it begins and after it is done."""
    store, draw = Store(folder), random.Random(seed)
    versions: dict[str, int] = {}
    for number in range(10_000):
        step = draw.choice(STEPS) if versions else "add"
        if step == "compact" and who != "a":
            step = "add"
        count = draw.choice((1, 7, 200))
        if step == "add":
            names = [f"{who}{number}-{i}" for i in range(count)]
        else:
            names = draw.sample(sorted(versions), min(count, len(versions)))
        change = {name: -1 if step == "remove" else versions.get(name, -1) + 1 for name in names}
        if step == "compact":
            change = {}
        say({"begin": change})
        if step == "remove":
            store.remove(_numbers(store, names))
        elif step == "compact":
            store.compact()
        else:
            store.add([new_image(name, version) for name, version in change.items()])
        for name, version in change.items():
            if version < 0:
                versions.pop(name)
            else:
                versions[name] = version
        say({"done": change})


def say(step: object) -> None:
    sys.stdout.write(json.dumps(step) + "\n")
    sys.stdout.flush()


def trial(draw: random.Random, folder: Path) -> str:
    place = folder / "library"
    Store.create(place, Description(MODEL, DIMENSIONS, ("/photos",)))
    writers = ("a", "b") if draw.random() < 0.4 else ("a",)
    processes = [_start(place, who, draw.randrange(10**6)) for who in writers]
    first = [process.stdout.readline() for process in processes if process.stdout is not None]
    time.sleep(draw.uniform(0, 0.8))
    for process in draw.sample(processes, len(processes)):
        process.kill()
    check(place, [line + process.communicate()[0] for line, process in zip(first, processes, strict=True)])
    return f"{len(writers)} writer{'s' * (len(writers) > 1)} killed"


def check(place: Path, outputs: list[bytes]) -> None:
    """Compare a library with what its writers have said."""
    sure, unsure = _said(outputs)
    found = _versions(Store(place), unsure)
    for name, version in sure.items():
        assert found.get(name, -1) == version, (name, version, found.get(name))
    for name, versions in unsure.items():
        assert found.get(name, -1) in versions, (name, versions, found.get(name))
    assert not set(found) - set(sure) - set(unsure)
    store = Store(place)
    wrong, _ = store.check()
    assert not wrong
    store.add([new_image("after", 0)])
    store.compact()
    assert len(_versions(store, {})) == len(found) + 1


def _start(place: Path, who: str, seed: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", __name__, str(place), who, str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _said(outputs: list[bytes]) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """What must be there, by version (-1: gone), and what may be one or the other."""
    sure: dict[str, int] = {}
    unsure: dict[str, tuple[int, int]] = {}
    for output in outputs:
        for line in output.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                continue
            step = json.loads(line)
            if "begin" in step:
                unsure.update({name: (sure.get(name, -1), version) for name, version in step["begin"].items()})
            else:
                for name, version in step["done"].items():
                    sure[name] = version
                    unsure.pop(name, None)
    return {name: version for name, version in sure.items() if name not in unsure}, unsure


def _versions(store: Store, unsure: dict[str, tuple[int, int]]) -> dict[str, int]:
    """Every image, by the version whose features it has."""
    found = {}
    with store.snapshot() as snapshot:
        assert not snapshot.lost
        slots = snapshot.live_slots.tolist()
        for slot, image in zip(slots, snapshot.images(slots), strict=True):
            name = Path(image.path).name
            assert image.digest is not None
            version = int.from_bytes(image.digest, "little")
            assert np.array_equal(snapshot.matrix[slot], features_of(name, version)), name
            found[name] = version
    return found


def _numbers(store: Store, names: list[str]) -> list[int]:
    wanted = {f"/photos/{name}" for name in names}
    return [image.id for image in store.images() if image.path in wanted]


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
