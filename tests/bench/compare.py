"""This tool beside `transformers`, and open_clip and ONNX Runtime where installed: alternating, medians, ratios.

    python -m tests.bench.compare [--size b32] [--rounds 3] [--images 64] [--photos DIR] [--work DIR] [--cold]

Every run is a process of its own. Machines differ and are rarely quiet, so take the ratios, not the seconds; `cpu` is
processor time, which other programs disturb less.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.bench.material import SIZES, write_checkpoint, write_images

CONTENDERS = (
    ("transformers", "float32"),
    ("clipcli", "float32"),
    ("clipcli", "int8"),
    ("open_clip", "float32"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
)
PIPELINE = """
import sys
from transformers import pipeline
pipe = pipeline("zero-shot-image-classification", model=sys.argv[1], device="cpu")
print(pipe(sys.argv[2], candidate_labels=["cat", "dog"], hypothesis_template="a photo of a {}."))
"""


def measure(contender: str, dtype: str, checkpoint: Path, images: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.contenders", contender, str(checkpoint), str(images)]
    command += ["--dtype", dtype]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare_throughput(kind: str, checkpoint: Path, images: Path, rounds: int) -> None:
    results: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for contender in (each for each in CONTENDERS if find_spec(each[0])):
            results.setdefault(contender, []).append(measure(*contender, checkpoint, images))
    medians = {
        contender: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for contender, rows in results.items()
    }
    base = medians["transformers", "float32"]
    print(f"\n{kind}: {SIZES[kind][0]}x{SIZES[kind][1]}, medians of {rounds}")
    for (name, dtype), row in medians.items():
        speed, cpu = row["images_per_s"] / base["images_per_s"], base["cpu_ms_per_image"] / row["cpu_ms_per_image"]
        print(
            f"  {name:12} {dtype:8} {row['images_per_s']:7.2f} images/s (x{speed:.2f})  "
            f"{row['cpu_ms_per_image']:6.0f} ms cpu (x{cpu:.2f})  peak {row['peak_mb']:.0f} MB"
        )


def compare_cold(checkpoint: Path, image: Path, rounds: int) -> None:
    """One image and two labels: nothing remembered, and the same command again."""
    peer = [sys.executable, "-c", PIPELINE, str(checkpoint), str(image)]
    clip = [sys.executable, "-m", "clipcli", "classify", str(image), "--labels", "cat,dog", "-m", str(checkpoint)]
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        cache = tempfile.mkdtemp()
        for name, command in (("transformers", peer), ("clip", clip), ("clip again", clip)):
            environment = {**os.environ, "CLIPCLI_CACHE_DIR": cache, "HF_HUB_OFFLINE": "1"}
            begin = time.perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True)
            times.setdefault(name, []).append(time.perf_counter() - begin)
        shutil.rmtree(cache)
    base = statistics.median(times["transformers"])
    print(f"\none image, two labels, medians of {rounds}")
    for name, seconds in times.items():
        print(f"  {name:12} {statistics.median(seconds):6.2f} s (x{statistics.median(seconds) / base:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["b32", "b16", "l14"], default="b32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--kinds", nargs="*", choices=[*SIZES], default=[*SIZES])
    parser.add_argument("--photos", type=Path, help="cut images from these instead of drawing them")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "clipcli-bench")
    parser.add_argument("--cold", action="store_true", help="time one image from the start of the process, too")
    args = parser.parse_args()
    checkpoint = write_checkpoint(args.work / f"clip-{args.size}", args.size)
    for kind in args.kinds:
        images = write_images(args.work / f"{kind}-{args.images}", kind, args.images, args.photos)
        compare_throughput(kind, checkpoint, images, args.rounds)
    if args.cold:
        image = write_images(args.work / "web-1", "web", 1, args.photos) / "00000.jpg"
        compare_cold(checkpoint, image, args.rounds)


if __name__ == "__main__":
    main()
