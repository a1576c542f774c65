"""How well `clip explain` finds things: two drawings on a canvas, at boxes that are known.

    python -m tests.demo_training.maps [--scenes 200] [--vendors twemoji openmoji]

Pointing: the hottest place lies in the label's own box (chance is the share of the canvas). Swap: the map of one label
is higher in its own box than in the other's, in the mean, or at its peak. Box: intersection over union with the box at
half maximum. Below the methods stand two that must fail: the last states of the patches as they are, and a last layer
of random weights.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import clipcli
from clipcli.answers.maps import ExplainOptions, LabelMap, Quality, resized
from clipcli.api.explain import Explainer
from clipcli.api.model import Model
from clipcli.api.questions import labels_of
from clipcli.compute.torch_backend.located import LocatedEncoder
from clipcli.images.find import ImageSource
from clipcli.images.prepare import Pixels
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.transformer import EncoderLayer
from clipcli.networks.vision import VisionTransformer
from clipcli.scoring import Floats, MapMethod
from tests.demo_training.concepts import load_concepts
from tests.demo_training.pictures import CANVAS_PX, drawings_of
from tests.demo_training.vendors import VENDORS

Box = tuple[int, int, int, int]
EDGES_PX = (80, 120)
RANDOM_LAYERS = 4
RANDOM_QUALITIES: tuple[Quality, ...] = ("fast", "good")
MEASURES = ("pointing", "swap", "swap of peaks", "box", "chance")
SETTINGS: tuple[tuple[MapMethod, Quality], ...] = (
    ("keys", "fast"),
    ("keys", "good"),
    ("keys", "best"),
    ("values", "good"),
    ("parts", "good"),
)


class PlainTokens:
    """The last states of patches, put where the class token's is: what a map must not be made of."""

    def __init__(self, model: Model) -> None:
        self._network, self._preprocessing = model.network(text=False), model.checkpoint.preprocessing

    @torch.inference_mode()
    def encode(self, pixels: Pixels, method: MapMethod) -> Floats:
        tower = self._network.vision_model
        assert isinstance(tower, VisionTransformer)
        normalized = torch.from_numpy(self._preprocessing.normalize(pixels[None]))
        x = tower.pre_layrnorm(tower.embeddings(normalized))
        for layer in tower.encoder.layers:
            x = layer(x, None, _Nobody())
        features = nn.functional.normalize(self._network.visual_projection(tower.post_layernorm(x[0, 1:])), dim=-1)
        size = tower.config.patch_size
        found: Floats = features.unflatten(0, (pixels.shape[0] // size, -1)).numpy()
        return found


class _Nobody:
    wants_attentions = False


def random_last_layer(model: Model, seed: int) -> LocatedEncoder:
    """An encoder whose last layer has learned nothing."""
    network = model.network(text=False)
    _randomize(network, seed)
    return LocatedEncoder(network, model.checkpoint.preprocessing, torch.device("cpu"), torch.float32)


def _randomize(network: DualEncoder, seed: int) -> None:
    tower = network.vision_model
    assert isinstance(tower, VisionTransformer)
    last = tower.encoder.layers[-1]
    assert isinstance(last, EncoderLayer)
    random_numbers = torch.Generator().manual_seed(seed)
    for weight in last.parameters():
        if weight.ndim == 2:
            weight.data = torch.randn(weight.shape, generator=random_numbers) * weight.shape[1] ** -0.5


class Scenes:
    """Canvases with two drawings each, and where these are."""

    def __init__(self, work: Path, vendor: str, count: int, seed: int = 0) -> None:
        concepts = [concept for concept in load_concepts(work) if not concept.held_out]
        chosen = next(each for each in VENDORS if each.name == vendor)
        drawings = drawings_of(work, chosen, concepts)
        rng = random.Random(seed)
        self.names: list[tuple[str, str]] = []
        self.images: list[Image.Image] = []
        self.boxes: list[list[Box]] = []
        for _ in range(count):
            one, other = rng.sample(sorted(drawings), 2)
            image, boxes = compose([drawings[one], drawings[other]], rng)
            self.names.append((concepts[one].name, concepts[other].name))
            self.images.append(image)
            self.boxes.append(boxes)


def compose(drawings: Sequence[Image.Image], rng: random.Random) -> tuple[Image.Image, list[Box]]:
    """Put two drawings side by side, one above the other, or anywhere, on white or on clouds."""
    canvas = Image.new("RGB", (CANVAS_PX, CANVAS_PX), "white")
    if rng.random() < 0.5:
        clouds = np.random.default_rng(rng.randrange(2**32)).integers(90, 256, (8, 8, 3), dtype=np.uint8)
        canvas = Image.fromarray(clouds).resize(canvas.size, Image.Resampling.BICUBIC)
    half = CANVAS_PX // 2
    middles = {
        "beside": [(half // 2, half), (3 * half // 2, half)],
        "above": [(half, half // 2), (half, 3 * half // 2)],
    }
    way = rng.choice(["beside", "above", "anywhere"])
    boxes = [_around(middle, rng) for middle in middles[way]] if way in middles else _apart(rng)
    for drawing, (left, top, right, bottom) in zip(drawings, boxes, strict=True):
        scaled = drawing.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        canvas.paste(scaled, (left, top), scaled)
    return canvas, boxes


def _around(middle: tuple[int, int], rng: random.Random) -> Box:
    edge = rng.randint(*EDGES_PX)
    left, top = (place - edge // 2 for place in middle)
    return left, top, left + edge, top + edge


def _apart(rng: random.Random) -> list[Box]:
    """Two boxes anywhere that do not meet."""
    while True:
        boxes = []
        for _ in range(2):
            edge = rng.randint(*EDGES_PX)
            left, top = rng.randint(0, CANVAS_PX - edge), rng.randint(0, CANVAS_PX - edge)
            boxes.append((left, top, left + edge, top + edge))
        one, other = boxes
        if one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]:
            return boxes


def measure(model: Model, scenes: Scenes, options: ExplainOptions) -> dict[str, float]:
    """Means over all labels of all scenes, in percent; `error` is one standard error of pointing."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    features = model.encode_images(scenes.images)
    for image, of_image, names, boxes in zip(scenes.images, features, scenes.names, scenes.boxes, strict=True):
        explainer = Explainer(model, labels_of(names), options, ["{}"])
        explanation = explainer.explain(ImageSource("scene", image=image), of_image)
        for i, each in enumerate(explanation.maps):
            own, other = boxes[i], boxes[1 - i]
            found["pointing"].append(own[0] <= each.x < own[2] and own[1] <= each.y < own[3])
            one, two = _within(each.cosines, own), _within(each.cosines, other)
            found["swap"].append(one.mean() > two.mean())
            found["swap of peaks"].append(one.max() > two.max())
            found["box"].append(_overlap(each, own))
            found["chance"].append((own[2] - own[0]) * (own[3] - own[1]) / CANVAS_PX**2)
    means = {name: 100 * float(np.mean(values)) for name, values in found.items()}
    share, count = means["pointing"] / 100, len(found["pointing"])
    return {**means, "error": 100 * (share * (1 - share) / count) ** 0.5}


def _within(cosines: Floats, box: Box) -> Floats:
    left, top, right, bottom = box
    return resized(cosines, CANVAS_PX, CANVAS_PX)[top:bottom, left:right]


def _overlap(found: LabelMap, box: Box) -> float:
    width = min(found.right, box[2]) - max(found.left, box[0])
    height = min(found.bottom, box[3]) - max(found.top, box[1])
    both = max(width, 0) * max(height, 0)
    areas = (found.right - found.left) * (found.bottom - found.top), (box[2] - box[0]) * (box[3] - box[1])
    return both / (sum(areas) - both)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.demo_training.maps", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/clipcli-train-demo")
    parser.add_argument("--vendors", nargs="*", default=["twemoji", "openmoji"])
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    model = clipcli.load("demo")
    own = model.encoders.located
    for vendor in options.vendors:
        scenes = Scenes(options.work, vendor, options.scenes)
        for method, quality in SETTINGS:
            _say(vendor, f"{method} {quality}", measure(model, scenes, ExplainOptions(method, quality)))
        model.encoders.located = PlainTokens(model)  # type: ignore[assignment]
        _say(vendor, "plain tokens", measure(model, scenes, ExplainOptions()))
        for seed in range(RANDOM_LAYERS):
            model.encoders.located = random_last_layer(model, seed)
            for quality in RANDOM_QUALITIES:
                _say(vendor, f"random {quality} {seed}", measure(model, scenes, ExplainOptions(quality=quality)))
        model.encoders.located = own


def _say(vendor: str, name: str, means: dict[str, float]) -> None:
    print(
        f"{vendor:9} {name:14} pointing {means['pointing']:5.1f} ±{means['error']:.1f} (chance {means['chance']:.1f})  "
        f"swap {means['swap']:5.1f} (of peaks {means['swap of peaks']:.1f})  box {means['box']:5.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
