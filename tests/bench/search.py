"""How fast a library answers, is compared with its folder, and is looked through for copies.

    python -m tests.bench.search [--rows 100000] [--scan 1000000] [--work DIR] [--only index]

The library has random features and empty files, so nothing is decoded. A query is one of a text that is cached, by the
command, from the start of its process. Machines are rarely quiet: take the least of several times.
"""

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipcli import scoring
from clipcli.answers.duplicates import Looks, groups_of_copies
from clipcli.answers.search import SearchOptions, best, products, scan
from clipcli.files import FileStamp
from clipcli.images.fingerprint import FINGERPRINT_BYTES
from clipcli.library.index.store import Snapshot
from clipcli.scoring import Floats

TEXT = "a dog on a beach"
FILES_A_FOLDER = 1000


def timed(action: Callable[[], object], times: int = 5) -> list[float]:
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        found.append(time.perf_counter() - begin)
    return found


def report(what: str, seconds: list[float], bar_s: float | None = None) -> None:
    bar = f"  (bar {bar_s:g} s)" if bar_s is not None else ""
    print(f"{what:52} least {min(seconds):7.3f} s  median {statistics.median(seconds):7.3f} s{bar}", flush=True)


def features_of(count: int, dimensions: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return scoring.normalize(random.standard_normal((count, dimensions), dtype=np.float32))


def bench_scan(count: int) -> None:
    matrix, query = features_of(count, 512), features_of(1, 512, seed=1)[0]
    report(
        f"exact scan and the best 20 of {count:,} x 512",
        timed(lambda: best(scan(matrix, query), None, SearchOptions())),
        0.25,
    )
    report("  the product alone", timed(lambda: products(matrix, query)))
    scales = np.abs(matrix).max(axis=1)
    small = np.empty(matrix.shape, dtype=np.int8)
    for begin in range(0, count, 65536):
        part = slice(begin, begin + 65536)
        small[part] = np.round(matrix[part] / scales[part, None] * 127)

    def scan_int8() -> Floats:
        rough = np.concatenate([small[i : i + 4096].astype(np.float32) @ query for i in range(0, count, 4096)]) * scales
        rows = np.argpartition(-rough, 200)[:200]
        return matrix[rows] @ query

    report("  int8, the best 200 again in float32", timed(scan_int8))


def write_library(work: Path, count: int) -> tuple[Path, Path]:
    """A folder of empty files, and a library that says it has encoded them."""
    from clipcli.api.libraries.library import identity_of
    from clipcli.api.load import load
    from clipcli.library.index.description import Description
    from clipcli.library.index.store import NewImage, Store
    from clipcli.library.index.table import NewRow
    from tests.bench.material import write_checkpoint

    model = load(write_checkpoint(work / "clip-b32", "b32"))
    model.encode_texts([TEXT])
    photos, library = work / f"photos-{count}", work / f"library-{count}"
    if library.exists():
        return photos, library
    names = [photos / f"{i // FILES_A_FOLDER:04}" / f"{i:07}.jpg" for i in range(count)]
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
        os.utime(name, (1e9, 1e9))
    store = Store.create(library, Description(identity_of(model), 512, (os.path.realpath(photos),)))
    matrix = features_of(count, 512)
    for begin in range(0, count, 10_000):
        rows = []
        for i in range(begin, min(begin + 10_000, count)):
            path = os.path.realpath(names[i])
            stamp, digest = FileStamp.of(path).to_bytes(), i.to_bytes(32, "little")
            row = NewRow(path, None, digest, stamp, 0, 4000, 3000, "JPEG", None, "2001-09-09T03:46:40", None, None)
            rows.append(NewImage(row, matrix[i]))
        store.add(rows)
    store.finish_update()
    return photos, library


def bench_library(work: Path, count: int) -> None:
    environment = {**os.environ, "CLIPCLI_CACHE_DIR": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    os.environ.update(environment)
    _, library = write_library(work, count)
    command = [sys.executable, "-m", "clipcli", "search", TEXT, "--library", str(library), "--format", "json", "-q"]

    def run(*options: str) -> None:
        done = subprocess.run([*command, *options], env=environment, capture_output=True, check=True)
        assert len(json.loads(done.stdout)["results"]) == 20

    nothing = [sys.executable, "-m", "clipcli", "cache", "path"]
    report(
        "another command, from process start", timed(lambda: subprocess.run(nothing, capture_output=True, check=True))
    )
    report(f"a cached text, {count:,} rows, from process start", timed(lambda: run("--no-update")), 0.35)
    report("the same, looking for changes first", timed(run))
    from clipcli.library.index.store import Store
    from clipcli.library.index.update import update

    report(f"walk of {count:,} unchanged files", timed(lambda: list(update(Store(library), lambda sources: ())), 3), 3)


def like_clip(count: int, queries: int) -> tuple[Floats, Floats]:
    """Features that lie as CLIP's do: images in one narrow cone, around topics, and texts in another.

    Cosines between images are 0.56 with a standard deviation of 0.06, those of texts and images 0.01 and 0.07; the best
    of a text is near 0.4. Returns rows of images, and of texts of the same topics.
    """
    random = np.random.default_rng(0)
    scales = (1 + np.arange(512)) ** -0.4
    turn = np.linalg.qr(random.standard_normal((512, 512)))[0] * (scales / np.linalg.norm(scales))[:, None]

    def draw(rows: int) -> Floats:
        return random.standard_normal((rows, 512), dtype=np.float32) @ turn.astype(np.float32)

    center, gap = scoring.normalize(draw(2))
    subjects = max(100, count // 200)
    topics = 0.6 * draw(300)[random.integers(0, 300, subjects)] + 0.8 * draw(subjects)
    images = np.empty((count, 512), dtype=np.float32)
    for begin in range(0, count, 65536):
        part = images[begin : begin + 65536]
        drawn = topics[random.integers(0, subjects, len(part))]
        part[:] = scoring.normalize(0.75 * center + 0.45 * drawn + 0.5 * draw(len(part)))
    drawn = topics[random.integers(0, subjects, queries)]
    return images, scoring.normalize(0.65 * gap + 0.3 * draw(1) + 0.3 * drawn + 0.25 * draw(queries))


def bench_index(work: Path, count: int) -> None:
    from clipcli.library.index import approximate
    from clipcli.progress import unobserved

    images, texts = like_clip(count, 200)
    begin, cpu = time.perf_counter(), time.process_time()
    work.mkdir(parents=True, exist_ok=True)
    path, facts = approximate.build(work, 0, images, np.arange(count), texts, unobserved)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(f"index of {count:,} x 512: {facts.graph[0] / 1e6:,.0f} MB, {seconds:.0f} s, {cpu:.0f} s of processor time")
    print(f"  recall@10 of texts {facts.recall[0]:.3f}, of images {facts.recall[1]:.3f}")
    approximate.publish(work, path, facts)
    snapshot = Snapshot(sqlite3.connect(":memory:"), images, None, None, 0, 0)
    index = approximate.Approximate(work, snapshot)

    def ask() -> None:
        rows = index.candidates(texts[0], 20, snapshot)
        assert rows is not None
        best(index.scan(texts[0], rows, snapshot), None, SearchOptions())

    report("  the best 20 by the index", timed(ask, 20))
    report("  the same by an exact scan", timed(lambda: best(scan(images, texts[0]), None, SearchOptions())))
    approximate.remove(work)


def bench_duplicates(count: int) -> None:
    """Every hundredth image is a copy of the one before it."""
    random = np.random.default_rng(0)
    features = features_of(count, 512)
    prints = random.integers(0, 256, (count, FINGERPRINT_BYTES), dtype=np.uint8)
    copies = np.arange(99, count, 100)
    features[copies] = scoring.normalize(features[copies - 1] + 0.002 * features[copies])
    prints[copies] = prints[copies - 1]
    begin, cpu = time.perf_counter(), time.process_time()
    groups = list(groups_of_copies(Looks(features, prints), np.arange(count)))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    assert len(groups) == len(copies), len(groups)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report(f"all pairs of {count:,}, {len(groups):,} groups", [seconds], 240)
    print(f"  {cpu:.0f} s of processor time, peak {peak:.2f} GB (bar 1 GB, with the features in memory)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--scan", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "clipcli-bench")
    parser.add_argument("--only", nargs="*", choices=["library", "scan", "duplicates", "index"])
    args = parser.parse_args()
    wanted = args.only or ["duplicates", "library", "scan"]
    if "duplicates" in wanted:
        bench_duplicates(args.rows)
    if "library" in wanted:
        bench_library(args.work, args.rows)
    if "scan" in wanted:
        bench_scan(args.scan)
    if "index" in wanted:
        bench_index(args.work / "index", args.scan)


if __name__ == "__main__":
    main()
