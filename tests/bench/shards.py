"""How fast runs over shards are beside runs over files, what Ray adds, and what grows with the number of images.

    python -m tests.bench.shards files  [--images 20000] [--rounds 3] [--model demo|b32]
    python -m tests.bench.shards ray    [--images 20000] [--rounds 3] [--model demo|b32]
    python -m tests.bench.shards linear [--counts 1000,4000,16000] [--rows 1000]
    python -m tests.bench.shards driver [--counts 1000,10000,100000]

`files` embeds the same 640x480 JPEGs as tars and as files, in turns: what counts is the ratio of a round. `ray` does so
on a local cluster and without one; shards should take a minute, so give as many `--rows` as that needs (start-up is
measured by a run that has nothing left to do, and taken off). `linear` embeds JPEGs of 64 pixels from an object store
and prints processor seconds, bytes, requests and peak memory; slopes are of what a run takes beyond that of the first
count. `driver` keeps the books of so many shards of 10,000 images without any work, so that the last has a billion in
counts.
"""

import argparse
import io
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clipcli.scale.inputs.shard import Shard
from clipcli.scale.ledger import Counts, Ledger
from clipcli.scale.worker import attempt
from tests.bench.material import write_checkpoint, write_images
from tests.helpers.object_store import serving
from tests.helpers.shards import tar_bytes

_DISTINCT = 500


@dataclass(frozen=True)
class Run:
    """A command's time on the clock, processor seconds, and the most memory it held."""

    seconds: float
    processor_s: float
    peak_mb: float


def clip(*arguments: object, **environment: str) -> Run:
    """Run the program to its end."""
    command = [sys.executable, "-m", "clipcli", *map(str, arguments), "--no-progress", "--quiet"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment})
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{arguments} ended with {os.waitstatus_to_exitcode(status)}"
    return Run(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def divided(data: Sequence[bytes], count: int, rows: int) -> Iterator[bytes]:
    """Tars of so many images each, from a few images again and again."""
    for first in range(0, count, rows):
        numbers = range(first, min(first + rows, count))
        yield tar_bytes((f"{number:08}.jpg", data[number % len(data)]) for number in numbers)


def web_images(work: Path, count: int, rows: int) -> tuple[Path, Path]:
    """A folder of files and one of tars with the same images; kept if they are there already."""
    files, tars = work / f"files-{count}", work / f"tars-{count}-{rows}"
    distinct = sorted(write_images(work / "web-shards", "web", min(count, _DISTINCT), None).iterdir())
    data = [path.read_bytes() for path in distinct]
    if not files.exists():
        files.mkdir(parents=True)
        for number in range(count):
            (files / f"{number:08}.jpg").write_bytes(data[number % len(data)])
    if not tars.exists():
        tars.mkdir(parents=True)
        for number, tar in enumerate(divided(data, count, rows)):
            (tars / f"{number:06}.tar").write_bytes(tar)
    return files, tars


def against_files(work: Path, model: object, images: int, rows: int, rounds: int) -> None:
    """The rate of shards and that of files."""
    files, tars = web_images(work, images, rows)
    common = ("--model", model, "--no-cache", "--output")
    ratios = []
    for _ in range(rounds):
        (work / "features.npy").unlink(missing_ok=True)
        shutil.rmtree(work / "out", ignore_errors=True)
        plain = clip("embed", files, *common, work / "features.npy")
        sharded = clip("embed", f"{tars}/*.tar", *common, f"{work / 'out'}/")
        ratios.append(plain.seconds / sharded.seconds)
        print(
            f"files {images / plain.seconds:7.1f}/s {plain.peak_mb:5.0f} MB, "
            f"shards {images / sharded.seconds:7.1f}/s {sharded.peak_mb:5.0f} MB, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"rate of shards: {statistics.median(ratios):.2f} of that of files (bar: 0.90)")


def against_ray(work: Path, model: object, images: int, rows: int, rounds: int) -> None:
    """What a cluster costs beside one process."""
    _, tars = web_images(work, images, rows)
    overheads = []
    for _ in range(rounds):
        times = []
        for engine in ((), ("--ray", "local")):
            shutil.rmtree(work / "out", ignore_errors=True)
            command = (
                "embed",
                f"{tars}/*.tar",
                "--model",
                model,
                "--no-cache",
                *engine,
                "--output",
                f"{work / 'out'}/",
            )
            whole, again = clip(*command).seconds, clip(*command).seconds
            times.append((whole, again))
        (alone, alone_again), (ray, ray_again) = times
        overheads.append((ray - ray_again) / (alone - alone_again) - 1)
        print(
            f"in one process {alone:6.1f} s (start {alone_again:.1f}), on Ray {ray:6.1f} s (start {ray_again:.1f}), "
            f"overhead {overheads[-1]:+.1%}",
            flush=True,
        )
    print(f"overhead of Ray: {statistics.median(overheads):+.1%} (bar: 10%)")


def linear(model: object, counts: Sequence[int], rows: int) -> None:
    """What grows with the number of images, and how."""
    small = [jpeg(number) for number in range(_DISTINCT)]
    figures: dict[str, list[float]] = {"processor_s": [], "megabytes": [], "requests": [], "peak_mb": []}
    with serving() as (server, address):
        variables = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }
        for count in counts:
            server.objects.clear()
            for number, tar in enumerate(divided(small, count, rows)):
                server.objects[f"bucket/in/{number:06}.tar"] = tar
            server.requests.clear()
            server.sent = 0
            command = ("embed", "s3://bucket/in/*.tar", "--model", model, "--no-cache", "--output", "s3://bucket/out/")
            done = clip(*command, **variables)
            assert "bucket/out/_SUCCESS" in server.objects
            found = (done.processor_s, server.sent / 1e6, sum(server.requests.values()), done.peak_mb)
            for name, value in zip(figures, found, strict=True):
                figures[name].append(value)
            said = ", ".join(f"{name} {values[-1]:,.1f}" for name, values in figures.items())
            print(f"{count:7,} images: {said}", flush=True)
    for name, values in list(figures.items())[:-1]:
        print(f"slope of {name} beyond the first run: {slope(counts, values):.2f} (bar: 0.95 to 1.05)")
    print(f"peak memory grows by {figures['peak_mb'][-1] / figures['peak_mb'][0] - 1:+.1%}")


class Books:
    """A store in memory that finds names quickly, and counts requests."""

    path = "memory"

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, bytes]] = {}
        self.requests = 0

    def at(self, name: str) -> str:
        return name

    def _group(self, name: str) -> dict[str, bytes]:
        self.requests += 1
        folder, _, base = name.rpartition("/")
        return self.groups.setdefault(f"{folder}/{base.partition('.')[0]}." if "attempts" in folder else folder, {})

    def read(self, name: str) -> bytes:
        try:
            return self._group(name)[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def find(self, prefix: str = "") -> Iterator[str]:
        group = self._group(prefix)
        self.requests += len(group) // 1000  # a page has a thousand names
        return iter(sorted(name for name in group if name.startswith(prefix)))

    def create(self, name: str, data: bytes) -> bool:
        return self._group(name).setdefault(name, data) is data


def driver(counts: Sequence[int]) -> None:
    """What the books of a run cost by themselves."""
    for count in counts:
        status, store = os.fork(), Books()
        if status:
            _, code, usage = os.wait4(status, 0)
            assert code == 0
            print(f"{'':7} peak memory {usage.ru_maxrss / 1024:.0f} MB, the store's own objects among it", flush=True)
            continue
        begin = time.process_time()
        shards = [Shard(f"{number:06}", f"s3://bucket/{number:06}.tar", "tar", 4 * 10**8) for number in range(count)]
        ledger = Ledger(store)  # type: ignore[arg-type]
        for shard in ledger.begin({"model": "m"}, lambda planned=shards: planned):  # type: ignore[misc]
            report = attempt(shard, ledger, lambda shard: ({f"data/{shard.id}.parquet": b""}, Counts(10_000, 10_000)))
            assert report.state == "done"
        assert ledger.finish(shards)
        work, requests, begin = time.process_time() - begin, store.requests, time.process_time()
        again = Ledger(store)  # type: ignore[arg-type]
        assert not {shard.id for shard in again.begin({"model": "m"}, list)} - again.done()
        rows = again.counts(again.done()).rows
        print(
            f"{count:7,} shards, {rows:,} images: {work:.1f} s of processor, {requests / count:.1f} requests a shard; "
            f"looking again {time.process_time() - begin:.1f} s",
            flush=True,
        )
        os._exit(0)


def jpeg(number: int) -> bytes:
    """A small image of its own."""
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 20 + number % 80).convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


def slope(counts: Sequence[int], values: Sequence[float]) -> float:
    """Of logarithms, by least squares, of what each run takes beyond the first, in which the start is."""
    if len(counts) < 3:
        return math.nan
    more_images = [math.log(count - counts[0]) for count in counts[1:]]
    return statistics.linear_regression(more_images, [math.log(value - values[0]) for value in values[1:]]).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("files", "ray", "linear", "driver"))
    parser.add_argument("--work", type=Path, default=Path("build/bench"))
    parser.add_argument("--model", choices=("demo", "b32"), default="b32")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1000, help="images of a shard")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", default="1000,4000,16000")
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]
    if options.what == "driver":
        driver(counts)
        return
    model: object = "demo" if options.model == "demo" else write_checkpoint(options.work / "clip-b32", "b32")
    if options.what == "linear":
        linear(model, counts, options.rows)
    else:
        measure = against_files if options.what == "files" else against_ray
        measure(options.work.resolve(), model, options.images, options.rows, options.rounds)


if __name__ == "__main__":
    main()
