"""Whole commands over the same web-size images: `clip eval`, `clip embed` of a folder, `clip embed` of shards.

    python -m tests.bench.jobs [--images 512] [--rounds 3] [--work DIR]

Beside them the zero-shot pipeline of `transformers` over these images (five labels, a batch more to warm up), and
open_clip's loop where that is installed. Shards need pyarrow. Every run is a process of its own, from its start to its
end, with nothing cached; they alternate.
"""

import argparse
import sys
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from tests.bench.first_answer import Cost, measure, table
from tests.bench.material import write_checkpoint, write_images

CLASSES = ("cat", "dog", "bird", "car", "tree")
SHARDS = 4


def write_labelled(images: Path, folder: Path) -> Path:
    """The images under folders of their labels, which are any; links, so that nothing is copied."""
    if not folder.exists():
        for i, path in enumerate(sorted(images.iterdir())):
            link = folder / CLASSES[i % len(CLASSES)] / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)
    return folder


def write_shards(images: Path, folder: Path) -> Path:
    """The same images as tars."""
    if not folder.exists():
        folder.mkdir()
        paths = sorted(images.iterdir())
        for i in range(SHARDS):
            with tarfile.open(folder / f"{i:05}.tar", "w") as shard:
                for path in paths[i::SHARDS]:
                    shard.add(path, path.name)
    return folder


def commands(checkpoint: Path, images: Path, labelled: Path, shards: Path, output: Path) -> dict[str, list[str]]:
    found = {}
    for peer in ("transformers", "open_clip"):
        if find_spec(peer):
            found[peer] = [sys.executable, "-m", "tests.bench.contenders", peer, str(checkpoint), str(images)]
    for dtype in ("float32", "int8"):
        options = ["-m", str(checkpoint), "--no-cache", "--quiet", "--device", "cpu", "--dtype", dtype]
        jobs = {
            "eval": ["eval", str(labelled)],
            "embed": ["embed", str(images), "--output", str(output / f"{dtype}.npy")],
            "shards": ["embed", f"{shards}/*.tar", "--output", f"{output}/{dtype}/"],
        }
        for name, arguments in jobs.items():
            found[f"{name} {dtype}"] = [sys.executable, "-m", "clipcli", *arguments, *options]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "clipcli-bench")
    args = parser.parse_args()
    work = args.work.resolve()
    with ProcessPoolExecutor(
        1, get_context("spawn")
    ) as pool:  # what this process has in memory counts as its children's
        checkpoint = pool.submit(write_checkpoint, work / "clip-b32", "b32").result()
        images = pool.submit(write_images, work / f"web-{args.images}", "web", args.images, None).result()
    labelled = write_labelled(images, work / f"labelled-{args.images}")
    shards = write_shards(images, work / f"shards-{args.images}")
    costs: dict[str, list[Cost]] = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as output:
            for name, command in commands(checkpoint, images, labelled, shards, Path(output)).items():
                costs.setdefault(name, []).append(measure(command, {"HF_HUB_OFFLINE": "1"}))
    table(f"{args.images} images of 640x480", costs, "transformers")


if __name__ == "__main__":
    main()
