"""How many copies of images are found, and how many images are taken for copies that are none.

    python -m tests.bench.twins FOLDER [--model demo] [--images 240] [--limit 0.7]

Every image is changed in twelve ways, and each changed image is compared with all originals: one of them is its own.
Images of the folder that look like another one are left out first.
"""

import argparse
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

import clipcli
from clipcli.answers.duplicates import COPY_DISTANCE, Looks
from clipcli.images.fingerprint import fingerprint

EDGE_PX = 640
ALIKE = 0.35


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def crop(share: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        x, y = image.width * share / 2, image.height * share / 2
        return image.crop((round(x), round(y), round(image.width - x), round(image.height - y)))

    return change


def border(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, max(1, round(0.05 * min(image.size))), (128, 128, 128))


def light(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.2)).enhance(1.2)


def text(image: Image.Image) -> Image.Image:
    image, size = image.copy(), max(9, image.height // 16)
    style = {"fill": "white", "stroke_fill": "black", "stroke_width": 1, "font": ImageFont.load_default(size)}
    ImageDraw.Draw(image).text((image.width * 0.1, image.height * 0.8), "Sample 2026", **style)
    return image


def rotate(image: Image.Image) -> Image.Image:
    corner = image.getpixel((0, 0))
    return image.rotate(5, Image.Resampling.BICUBIC, fillcolor=corner)  # type: ignore[arg-type]


def straighten(image: Image.Image) -> Image.Image:
    return crop(0.09)(image.rotate(5, Image.Resampling.BICUBIC))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 30": jpeg(30),
    "JPEG, quality 60": jpeg(60),
    "JPEG, quality 90": jpeg(90),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "cropped by 5 %": crop(0.05),
    "cropped by 10 %": crop(0.1),
    "gray border of 5 %": border,
    "brighter, more contrast": light,
    "text over it": text,
    "rotated by 5 degrees": rotate,
    "rotated and cropped": straighten,
    "mirrored": ImageOps.mirror,
}


def prints(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.frombuffer(fingerprint(image), dtype=np.uint8) for image in images])


def distinct(images: list[Image.Image], count: int) -> list[Image.Image]:
    """Images of which none looks like another."""
    looks = Looks(np.ones((len(images), 1), dtype=np.float32), prints(images))
    kept: list[int] = []
    for i in range(len(images)):
        if not kept or looks.distances(i, np.array(kept)).min() > ALIKE:
            kept.append(i)
    return [images[i] for i in kept[:count]]


def load(folder: Path, count: int) -> list[Image.Image]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    random.Random(0).shuffle(paths)
    images = []
    for path in paths[: 2 * count]:
        try:
            image = Image.open(path).convert("RGB")
        except OSError:
            continue
        image.thumbnail((EDGE_PX, EDGE_PX))
        images.append(image)
    return distinct(images, count)


def measure(
    model: clipcli.Model, originals: list[Image.Image]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Distances of copies from their originals by change, and of all from other images."""
    count, own, others = len(originals), {}, []
    features, looks = model.encode_images(originals), prints(originals)
    for name, change in CHANGES.items():
        changed = [change(image) for image in originals]
        both = Looks(np.concatenate([features, model.encode_images(changed)]), np.concatenate([looks, prints(changed)]))
        distances = np.stack([both.distances(count + i, np.arange(count)) for i in range(count)])
        own[name] = np.diag(distances)
        others.append(distances[~np.eye(count, dtype=np.bool_)])
    return own, np.concatenate(others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--limit", type=float, default=COPY_DISTANCE)
    args = parser.parse_args()
    originals = load(args.folder, args.images)
    own, others = measure(clipcli.load(args.model), originals)
    plain = {name: distances for name, distances in own.items() if name != "mirrored"}
    every = np.concatenate([*own.values()])
    limits = np.sort(every[np.isfinite(every)])
    precise = [limit for limit in limits if (every <= limit).sum() >= 99 * (others <= limit).sum()]
    for limit in (args.limit, precise[-1]):
        found = {name: float((distances <= limit).mean()) for name, distances in own.items()}
        wrong = int((others <= limit).sum())
        precision = (every <= limit).sum() / ((every <= limit).sum() + wrong)
        recall = float(np.mean([found[name] for name in plain]))
        print(
            f"\n{len(originals)} images, distance at most {limit:.3f}: recall {recall:.3f}, precision {precision:.4f}"
        )
        for name, share in found.items():
            print(f"  {name:26} {share:.3f}")


if __name__ == "__main__":
    main()
