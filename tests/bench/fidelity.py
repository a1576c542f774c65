"""How far each stage is from what other libraries compute: the largest differences, by family.

    python -m tests.bench.fidelity [CHECKPOINT ...]

Beside `transformers`, from tiny checkpoints of every family with random weights, and from folders in the hub's layout
that are named. `ids`: how many of 1,000 texts get other token ids. `pixels`: of the image processor. `states`: the last
hidden states of the plain networks, relative to the largest. `features` (unit length) and `cosines`: of the whole way
from files and words, by the encoders that commands use, the worse of NumPy's and PyTorch's. Then features of the same
ids and pixels, relative to the largest, beside the libraries whose files are converted: open_clip, OpenAI's CLIP,
Chinese-CLIP, and `transformers` with Flax and TensorFlow.
"""

import argparse
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import clipcli
from clipcli.checkpoints.config import read_config
from clipcli.hub import weight_files
from clipcli.images.preprocess import Patches
from clipcli.networks.loading import load_network
from tests.helpers.checkpoints import WRITERS
from tests.helpers.formats import FIXTURES, converted, expected
from tests.helpers.reference import Reference
from tests.helpers.texts import HARD, generated

STAGES = ("ids", "pixels", "image states", "text states", "image features", "text features", "cosines")
SHAPES = ((640, 480), (333, 500), (224, 224), (301, 40), (50, 133))
TEXTS = ["a photo of a cat", "two dogs on grass", "一张猫的照片", "a red car", "hello world"]
Row = dict[str, float]


def write_images(folder: Path) -> list[Path]:
    paths = []
    for i, shape in enumerate(SHAPES):
        noise = np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(noise).resize(shape, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def relative(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def of_ids(model: clipcli.Model, reference: Reference) -> float:
    texts = [*HARD, *generated(1000 - len(HARD))]
    tokenizer = model.checkpoint.tokenizer
    cut = {"truncation": True, "max_length": tokenizer.context_length}
    theirs = reference.tokenizer(reference.cased(texts), **cut)["input_ids"]
    return sum(list(ours.ids) != ids for ours, ids in zip(tokenizer.encode(texts), theirs, strict=True))


@torch.inference_mode()
def of_states(model: clipcli.Model, reference: Reference, folder: Path, paths: list[Path]) -> Row:
    """Of pixels, and of what both networks make of theirs."""
    network = load_network(read_config(folder), weight_files(folder))
    tokens = reference.tokens(TEXTS)
    real = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"])).bool()
    row = dict.fromkeys(("pixels", "image states", "text states"), 0.0)
    for path in paths:
        image = Image.open(path).convert("RGB")
        theirs = reference.processor([image], return_tensors="pt")
        preprocessing = model.checkpoint.preprocessing
        pixels = torch.from_numpy(preprocessing.normalize(preprocessing.pixels(image)[None]))
        ours, outputs = network(pixel_values=pixels, **tokens), reference.model(**theirs, **tokens)
        same = pixels
        if isinstance(preprocessing.size, Patches):
            edge = preprocessing.size.patch_size
            cut = pixels.unflatten(3, (-1, edge)).unflatten(2, (-1, edge))  # (1, 3, rows, edge, columns, edge)
            same = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        states = ours.vision_model_output.last_hidden_state
        found = {
            "pixels": float((same - theirs["pixel_values"][:, : same.shape[1]]).abs().max()),
            "image states": relative(states, outputs.vision_model_output.last_hidden_state[:, : states.shape[1]]),
            "text states": relative(
                ours.text_model_output.last_hidden_state[real], outputs.text_model_output.last_hidden_state[real]
            ),
        }
        row = {name: max(value, row[name]) for name, value in found.items()}
    return row


def of_features(model: clipcli.Model, reference: Reference, paths: list[Path]) -> Row:
    images, texts = model.encode_images(paths), model.encode_texts(TEXTS)
    their_images, their_texts = reference.image_features(paths), reference.text_features(TEXTS)
    return {
        "image features": float(np.abs(images - their_images).max()),
        "text features": float(np.abs(texts - their_texts).max()),
        "cosines": float(np.abs(images @ texts.T - their_images @ their_texts.T).max()),
    }


def beside_transformers(folder: Path, paths: list[Path]) -> Row:
    reference = Reference(folder)
    by_numpy, by_torch = (clipcli.load(str(folder), exact_decode=True, cache=False) for _ in range(2))
    _ = by_torch.encoders.image  # of any number of images: torch, which is then used for everything
    row = {"ids": of_ids(by_numpy, reference), **of_states(by_numpy, reference, folder, paths)}
    first, second = (of_features(model, reference, paths) for model in (by_numpy, by_torch))
    return {**row, **{name: max(value, second[name]) for name, value in first.items()}}


@torch.inference_mode()
def beside_its_library(name: str, folder: Path) -> Row:
    network = load_network(read_config(folder), weight_files(folder))
    tensors, mask = expected(name)
    return {
        "image features": relative(network.get_image_features(tensors["pixel_values"]), tensors["image_features"]),
        "text features": relative(network.get_text_features(tensors["input_ids"], mask), tensors["text_features"]),
    }


def show(title: str, row: Row) -> None:
    cells = {stage: f"{value:.0f}" if stage == "ids" or not value else f"{value:.1e}" for stage, value in row.items()}
    print(f"{title:22}" + "".join(f"{cells.get(stage, '-'):>16}" for stage in STAGES), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':22}" + "".join(f"{stage:>16}" for stage in STAGES))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        paths = write_images(work)
        for name, write in WRITERS.items():
            show(name, beside_transformers(write(work / name), paths))
        for folder in args.checkpoints:
            show(folder.name, beside_transformers(folder, paths))
        for name in FIXTURES:
            show(name, beside_its_library(name, converted(name, work / f"converted-{name}")))


if __name__ == "__main__":
    main()
