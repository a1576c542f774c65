"""The first answer: one image and two labels from the start of the process, beside `transformers`; medians and ratios.

    python -m tests.bench.first_answer CHECKPOINT IMAGE [--rounds 5] [--images FOLDER ...]

Every run is a process of its own, and they alternate. `hub` reads the checkpoint from a hub cache, `folder` from a
folder of the user's; nothing is cached but in `again`, the same command once more. Seconds on the clock mean little on
a busy machine: `cpu_s` is processor time, user and system, of the process and its threads. `answer_s` ends with the
first line, `wall_s` with the process, which hashes weights that were never hashed before it ends. With --images, `clip`
also runs over folders of any size, by numpy and by torch, to find the break-even.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

from tests.bench.compare import PIPELINE

COMMIT = "0" * 40
HUB_ID = "bench/clip"
LARGE = """
import sys
from clipcli.compute import backend
backend.SMALL_JOB = float(sys.argv.pop(1))
from clipcli.__main__ import main
main()
"""


@dataclass(frozen=True)
class Cost:
    """Seconds until the first line came and until the process had ended, its processor time, and its peak memory."""

    answer_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: list[str], environment: dict[str, str], folder: Path | None = None) -> Cost:
    """Run a command as users do, whose modules are compiled once."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, env={**inherited, **environment}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    answer_s = time.perf_counter() - begin
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    wall_s = time.perf_counter() - begin
    return Cost(answer_s, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def as_hub_cache(checkpoint: Path, cache: Path) -> None:
    """Lay a checkpoint out as huggingface_hub does, its weights a link to a blob named by their digest."""
    repository = cache / f"models--{HUB_ID.replace('/', '--')}"
    snapshot, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    if snapshot.exists():
        return
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for path in checkpoint.iterdir():
        with path.open("rb") as file:  # never all of it in memory: what this process had is counted as its children's
            blob = blobs / hashlib.file_digest(file, "sha256").hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(os.path.relpath(blob, snapshot))


def clip(image: str, model: str, *more: str) -> list[str]:
    options = ["--labels", "cat,dog", "-m", model, "--quiet", "--device", "cpu", *more]
    return [sys.executable, "-m", "clipcli", "classify", image, *options]


def table(title: str, costs: dict[str, list[Cost]], base: str) -> None:
    print(f"\n{title}, medians of {len(costs[base])}; load {os.getloadavg()[0]:.1f}")
    for name, rows in costs.items():
        line = f"  {name:14}"
        for field in fields(Cost):
            median, base_median = (
                statistics.median(getattr(cost, field.name) for cost in each) for each in (rows, costs[base])
            )
            line += f"  {field.name} {median:7.2f} (x{median / base_median:.3f})"
        print(line, flush=True)


def first_answers(checkpoint: Path, image: Path, work: Path, rounds: int) -> None:
    hub = work / "hub"
    as_hub_cache(checkpoint, hub)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub)}
    costs: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        pipeline = [sys.executable, "-c", PIPELINE, str(checkpoint), str(image)]
        costs.setdefault("transformers", []).append(measure(pipeline, offline))
        for name, model in (("hub", HUB_ID), ("folder", str(checkpoint))):
            with tempfile.TemporaryDirectory() as cache:
                environment = {**offline, "CLIPCLI_CACHE_DIR": cache}
                costs.setdefault(name, []).append(measure(clip(str(image), model), environment))
                costs.setdefault(f"{name} again", []).append(measure(clip(str(image), model), environment))
        table("one image, two labels", costs, "transformers")


def folders(checkpoint: Path, paths: list[Path], rounds: int) -> None:
    for path in paths:
        costs: dict[str, list[Cost]] = {}
        for _ in range(rounds):
            for name, limit in (("torch", "-1"), ("numpy", "inf")):
                command = clip(str(path), str(checkpoint), "--no-cache")
                command[1:3] = ["-c", LARGE, limit]
                costs.setdefault(name, []).append(measure(command, {"HF_HUB_OFFLINE": "1"}))
        table(f"{len(list(path.iterdir()))} images", costs, "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of images, one a size")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "clipcli-bench")
    args = parser.parse_args()
    first_answers(args.checkpoint, args.image, args.work, args.rounds)
    folders(args.checkpoint, args.images, args.rounds)


if __name__ == "__main__":
    main()
