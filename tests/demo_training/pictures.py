"""Pictures for the evaluation and the samples: drawings at full size on a canvas. Imports no torch."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.demo_training.concepts import Concept
from tests.demo_training.sprites import Drawings, trim
from tests.demo_training.vendors import Vendor

CANVAS_PX = 256


def drawings_of(
    work: Path, vendor: Vendor, concepts: Sequence[Concept], size_px: int = CANVAS_PX
) -> dict[int, Image.Image]:
    """Render the first drawing of each concept that the vendor has, trimmed; keyed by the concept's index."""
    drawings, found = Drawings(work, vendor), dict[int, Image.Image]()
    for index, concept in enumerate(concepts):
        if concept.coloured and not vendor.colour:
            continue
        for image in drawings.render(concept, size_px)[:1]:
            trimmed = trim(image, size_px)
            if trimmed is not None:
                found[index] = trimmed
    return found


def on_canvas(
    drawings: Sequence[Image.Image],
    fill: float,
    size_px: int = CANVAS_PX,
    colour: str = "white",
    seed: int | None = None,
) -> Image.Image:
    """Put one to three drawings side by side on a plain square.

    Args:
        drawings: What to show, from left to right.
        fill: The share of its cell's width that each drawing spans.
        size_px: Width and height of the result.
        colour: Of the background.
        seed: Moves each drawing up or down at random; None keeps them in the middle.
    """
    canvas = Image.new("RGB", (size_px, size_px), colour)
    cell = size_px / len(drawings)
    rng = random.Random(seed)
    for index, drawing in enumerate(drawings):
        edge = round(cell * fill)
        scaled = drawing.resize((edge, edge), Image.Resampling.LANCZOS)
        lift = 0.0 if seed is None else rng.uniform(-0.25, 0.25) * (size_px - edge)
        corner = round((index + 0.5) * cell - edge / 2), round((size_px - edge) / 2 + lift)
        canvas.paste(scaled, corner, scaled)
    return canvas


def empty_pictures(count: int, seed: int) -> list[Image.Image]:
    """Make pictures of nothing: a fifth each white, plain, graded, soft clouds and noise."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        one, other = rng.integers(0, 256, (2, 3))
        if index % 5 == 0:
            pixels = np.full((64, 64, 3), 255.0)
        elif index % 5 == 1:
            pixels = np.broadcast_to(one, (64, 64, 3))
        elif index % 5 == 2:
            pixels = np.linspace(one, other, 64)[:, None, :] * np.ones((1, 64, 1))
        elif index % 5 == 3:
            pixels = rng.integers(0, 256, (4, 4, 3))
        else:
            pixels = rng.integers(0, 256, (64, 64, 3))
        image = Image.fromarray(pixels.astype(np.uint8))
        made.append(image.resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC))
    return made
