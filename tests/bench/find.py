"""A folder is searched by a text: `clip search` beside rclip, alternating; medians and ratios.

    python -m tests.bench.find [--images 300] [--rounds 3] [--rclip PYTHON] [--work DIR]

Both run a ViT-B/32 for images of 256 pixels, which is what rclip has, with random weights, from files where they look
for what they have downloaded. `first` makes the index of the folder and answers, `again` is the same command again, and
`new text` asks what was not asked before; all look for changes in the folder first. Without rclip, `clip` runs alone.
"""

import argparse
import gzip
import os
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from tests.bench.first_answer import Cost, measure, table
from tests.bench.material import write_checkpoint, write_images

QUESTIONS = {"first": "a dog on a beach", "again": "a dog on a beach", "new text": "a red car"}
TOP = "20"
# The folder of rclip's model, by its model_download.py.
RCLIP_MODEL = "ViT-B-32-256-datacomp_s34b_b86k"


def write_rclip_model(checkpoint: Path, folder: Path) -> Path:
    """What rclip downloads, made from a checkpoint; kept if it is there already."""
    model, vocabulary = folder / RCLIP_MODEL, folder / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz"
    if vocabulary.exists():
        return folder
    from tests.bench.tower import export_image_tower, export_text_tower

    model.mkdir(parents=True, exist_ok=True)
    export_image_tower(checkpoint, model / "visual.onnx")
    export_text_tower(checkpoint, model / "textual.onnx")
    vocabulary.parent.mkdir(exist_ok=True)
    vocabulary.write_bytes(gzip.compress((checkpoint / "merges.txt").read_bytes().rstrip()))
    return folder


def ask_rclip(python: str, data: Path, images: Path) -> dict[str, Cost]:
    environment = {"RCLIP_DATADIR": str(data), "PYTHONPATH": ""}
    database = data / "db.sqlite3"
    database.unlink(missing_ok=True)
    costs = {
        f"rclip {question}": measure([python, "-m", "rclip", text, "-t", TOP], environment, images)
        for question, text in QUESTIONS.items()
    }
    with closing(sqlite3.connect(database)) as connection:  # rclip ends well whatever becomes of the images
        (indexed,) = connection.execute("SELECT count(*) FROM images").fetchone()
    assert indexed == len(list(images.iterdir())), f"rclip indexed {indexed} images"
    return costs


def ask_clip(checkpoint: Path, images: Path, dtype: str) -> dict[str, Cost]:
    options = ["-m", str(checkpoint), "--top", TOP, "--quiet", "--device", "cpu", "--dtype", dtype]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "CLIPCLI_CACHE_DIR": f"{folder}/cache",
            "CLIPCLI_LIBRARY_DIR": f"{folder}/libraries",
            "HF_HUB_OFFLINE": "1",
        }
        return {
            f"{dtype} {question}": measure(
                [sys.executable, "-m", "clipcli", "search", text, str(images), *options], environment
            )
            for question, text in QUESTIONS.items()
        }


def has_rclip(python: str) -> bool:
    environment = {**os.environ, "PYTHONPATH": ""}
    return not subprocess.run([python, "-c", "import rclip"], env=environment, capture_output=True).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rclip", metavar="PYTHON", default=sys.executable, help="the Python that has rclip")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "clipcli-bench")
    args = parser.parse_args()
    work = args.work.resolve()
    with ProcessPoolExecutor(
        1, get_context("spawn")
    ) as pool:  # what this process has in memory counts as its children's
        checkpoint = pool.submit(write_checkpoint, work / "clip-b32-256", "b32-256").result()
        images = pool.submit(write_images, work / f"web-{args.images}", "web", args.images, None).result()
        data = pool.submit(write_rclip_model, checkpoint, work / "rclip").result() if has_rclip(args.rclip) else None
    costs: dict[str, list[Cost]] = {}
    for _ in range(args.rounds):
        found = {**ask_clip(checkpoint, images, "float32"), **ask_clip(checkpoint, images, "int8")}
        if data is not None:
            found |= ask_rclip(args.rclip, data, images)
        for name, cost in found.items():
            costs.setdefault(name, []).append(cost)
    for question in QUESTIONS:
        rows = {name: each for name, each in costs.items() if name.endswith(f" {question}")}
        base = f"{'float32' if data is None else 'rclip'} {question}"
        table(f"{args.images} images of 640x480, {question}", rows, base)


if __name__ == "__main__":
    main()
