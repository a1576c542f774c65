"""Sortings that move, killed at any moment, alone or beside another one; then undone, and killed again meanwhile.

Most trials have a process of their own do what `clip tag --sort-into --move` and `--undo` do; some run the program.
What is held: whatever was killed when, every content is still there; at the end everything is back under its old name,
and nothing but empty folders lies about.
"""

import atexit
import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from clipcli.library.events import LeftAlone
from clipcli.library.sorting import placing
from clipcli.library.sorting import sorter as sorting
from clipcli.library.sorting.manifest import Move
from clipcli.library.sorting.sorter import Sorter
from clipcli.library.sorting.undo import undo
from tests.helpers.snapshots import snapshot
from tests.torture import campaign

COUNT, NAMES = 120, 15
HANGS_AFTER_S = 120
LABELS = ("cat", "dog", "house/red", "house/blue")
OTHER_DISK = Path("/dev/shm")


def trial(rng: random.Random, folder: Path) -> str:
    """One or two sortings into one folder."""
    away = rng.random() < 0.3 and _is_another_disk(OTHER_DISK, folder)
    with tempfile.TemporaryDirectory(prefix="torture-", dir=OTHER_DISK if away else folder) as elsewhere:
        target, photos = Path(elsewhere).resolve() / "sorted", folder / "photos"
        inputs = [_photos(rng, photos / name) for name in rng.choice([["one"], ["one"], ["one", "two"]])]
        if len(inputs) == 1 and rng.random() < 0.6:
            inputs *= rng.choice([2, 2, 3])  # programs want the same images
        before = snapshot(photos)
        with campaign.variables(CLIPCLI_CACHE_DIR=str(_cache())):
            killed = _sort(rng, inputs, target)
            _check(before, photos, target)
            _undo(rng, target)
        after = snapshot(photos)
        if after != before:
            raise AssertionError(f"not back: {sorted({name for name, _ in after.items() ^ before.items()})[:10]}")
    return f"{'across disks, ' if away else ''}{len(inputs)} at once, {killed} killed"


def _is_another_disk(place: Path, folder: Path) -> bool:
    """Whether there is another file system to write to: onto it, moving is copying."""
    return place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != folder.stat().st_dev


@functools.cache
def _cache() -> Path:
    """Features of all the images there are, so that a sorting has little else to do than to move."""
    folder = Path(tempfile.mkdtemp(prefix="torture-sorting-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _photos(rng: random.Random, folder: Path) -> Path:
    """Images, all different, some below folders, some with sidecars, under names that come again in other folders."""
    for number in range(COUNT):
        place = folder / rng.choice(["", "a", "a/b", "c d"]) / f"{number % NAMES}{rng.choice(['', '-2'])}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        color = (number, rng.choice([0, 255]), 255 * (folder.name == "two"))
        Image.new("RGB", (8, 8), color).save(place)
        if rng.random() < 0.3:
            place.with_suffix(rng.choice([".xmp", ".png.xmp"])).write_text(f"sidecar of {place}")
    return folder


def _start(module: str, *arguments: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _sort(rng: random.Random, photos: list[Path], target: Path) -> int:
    """Sort all at the same time, and kill some of those that sort; returns how many."""
    if rng.random() < 0.1:
        asked = ("-m", "demo", "-l", ",".join(LABELS), "--threshold", "0", "--sort-into", target, "--move", "--quiet")
        processes = [_start("clipcli", "tag", folder, *asked) for folder in photos]
    else:
        # Some die between noting a step and carrying it out.
        steps = [rng.randrange(COUNT) if rng.random() < 0.5 else -1 for _ in photos]
        processes = [_start(__name__, folder, target, step) for folder, step in zip(photos, steps, strict=True)]
    for process in rng.sample(processes, len(processes)):
        if rng.random() < 0.5:
            _kill_once_it_sorts(rng, process, target)
            process.wait()
    for process in processes:
        _finish(process, {0, 1, 3} if len(photos) > 1 and photos[0] == photos[1] else {0})
    return sum(process.returncode < 0 for process in processes)


def _kill_once_it_sorts(rng: random.Random, process: "subprocess.Popen[bytes]", target: Path) -> None:
    while process.poll() is None and not target.exists():
        time.sleep(0.001)
    time.sleep(rng.choice([0, rng.uniform(0, 0.02), rng.uniform(0, 0.2)]))
    process.kill()


def _undo(rng: random.Random, target: Path) -> None:
    """Undo, killed at times, until it is done."""
    for _ in range(10):
        if not target.exists() or not any(path.is_file() for path in target.rglob("*")):
            return
        process = _start("clipcli", "tag", "--undo", target) if rng.random() < 0.1 else _start(__name__, target)
        if rng.random() < 0.4:
            time.sleep(rng.uniform(0.05, 0.6))
            process.kill()
            process.wait()
        else:
            _finish(process, {0})
    raise AssertionError("there is no end to undoing")


def _finish(process: "subprocess.Popen[bytes]", allowed: set[int]) -> None:
    try:
        _, stderr = process.communicate(timeout=HANGS_AFTER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode not in {*allowed, -9} or b"Traceback" in stderr:
        raise AssertionError(f"status {process.returncode}: {stderr.decode(errors='replace')[-2000:]}")


def _check(before: dict[str, str], *folders: Path) -> None:
    """Hold that every content is there: once, or twice where a move was killed between its two steps."""
    wanted = Counter(content for content in before.values() if content != "folder")
    after = [snapshot(folder) for folder in folders if folder.exists()]
    found = Counter(content for contents in after for content in contents.values())
    if missing := wanted - found:
        raise AssertionError(f"{missing.total()} contents are lost")


def _dying_at(step: int) -> Callable[[Move, str], None]:
    """Carry out steps, and die before the one of a number."""
    steps = itertools.count()

    def carry_out(move: Move, root: str) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        placing.carry_out(move, root)

    return carry_out


def main(*arguments: str) -> None:
    """Sort one folder into another, or take what was sorted into one back; in a process that can be killed."""
    if len(arguments) == 1:
        left = [event for event in undo(arguments[0]) if isinstance(event, LeftAlone)]
        sys.exit("; ".join(f"{event.path}: {event.reason}" for event in left[:5]) or 0)
    photos, target, step = arguments
    paths = [os.path.join(place, name) for place, _, names in os.walk(photos) for name in names]
    images = [path for path in paths if path.endswith(".png")]
    random.shuffle(images)  # so that two of them want other images under the same names
    sorter = Sorter(target, "move", {label: label.split("/") for label in LABELS})
    with patch.object(sorting, "carry_out", _dying_at(int(step))):
        list(sorter.sort((image, LABELS[len(os.path.basename(image)) % len(LABELS)]) for image in images))


if __name__ == "__main__":
    main(*sys.argv[1:])
