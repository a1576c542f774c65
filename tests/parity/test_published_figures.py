"""Figures that the authors published for their weights on images of theirs.

`pytest -m weights` runs them. They fail, not skip, where the weights are not in the hub's cache, or the images not
in the folder that `PUBLISHED_IMAGES` names (they are not ours to ship).
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import clipcli
from clipcli.answers.classify import ClassifyOptions

pytestmark = pytest.mark.weights

FOLDER = Path(os.environ.get("PUBLISHED_IMAGES", "published-images"))
# Two images go by the name of pokemon.jpeg, with other figures; this is the authors' own, of July 2022.
POKEMON_SHA256 = "0ad09b84"
SOURCES = {
    "000000039769.jpg": "http://images.cocodataset.org/val2017/000000039769.jpg",
    "pokemon.jpeg": "https://raw.githubusercontent.com/OFA-Sys/Chinese-CLIP/master/examples/pokemon.jpeg",
    "CLIP.png": "https://raw.githubusercontent.com/openai/CLIP/main/CLIP.png",
}


def image(name: str) -> Path:
    path = FOLDER / name
    if not path.is_file():
        pytest.fail(f"{path} is missing: fetch {SOURCES[name]} and name its folder in PUBLISHED_IMAGES")
    return path


def scores(model: clipcli.Model, path: Path, texts: list[str]) -> list[float]:
    """Softmax over whole texts, in their order."""
    (result,) = model.score([path], texts)
    return [row.score if row.score is not None else float("nan") for row in result.scores]


def test_clip_on_the_coco_cats() -> None:
    """Source: test_modeling_clip.py of transformers."""
    model = clipcli.load("openai/clip-vit-base-patch32", device="cpu", dtype="float32", offline=True)
    (result,) = model.score([image("000000039769.jpg")], ["a photo of a cat", "a photo of a dog"])
    assert [row.logit for row in result.scores] == pytest.approx([24.5701, 19.3049], rel=1e-3, abs=1e-3)


def test_clip_on_its_diagram() -> None:
    """Source: the README of openai/CLIP."""
    model = clipcli.load("openai/clip-vit-base-patch32", device="cpu", dtype="float32", offline=True)
    found = scores(model, image("CLIP.png"), ["a diagram", "a dog", "a cat"])
    assert found == pytest.approx([0.9927937, 0.00421068, 0.00299572], abs=0.01)


def test_chinese_clip_on_pokemon() -> None:
    """Source: chinese_clip.md of transformers; the authors' README agrees to 2e-4."""
    path = image("pokemon.jpeg")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(POKEMON_SHA256), "the other pokemon.jpeg"
    model = clipcli.load("OFA-Sys/chinese-clip-vit-base-patch16", device="cpu", dtype="float32", offline=True)
    found = scores(model, path, ["杰尼龟", "妙蛙种子", "小火龙", "皮卡丘"])
    assert found == pytest.approx([1.2686e-03, 5.4499e-02, 6.7968e-04, 9.4355e-01], abs=2e-4)


def test_chinese_clip_classifies_without_templates() -> None:
    path = image("pokemon.jpeg")
    model = clipcli.load("OFA-Sys/chinese-clip-vit-base-patch16", device="cpu", dtype="float32", offline=True)
    labels = ["杰尼龟", "妙蛙种子", "小火龙", "皮卡丘"]
    (result,) = model.classify([path], labels, templates=["{}"], options=ClassifyOptions(top=4))
    assert result.label == "皮卡丘"


def test_altclip_on_the_coco_cats() -> None:
    """Source: test_modeling_altclip.py of transformers."""
    model = clipcli.load("BAAI/AltCLIP", device="cpu", dtype="float32", offline=True)
    found = scores(model, image("000000039769.jpg"), ["一张猫的照片", "一张狗的照片"])
    assert found == pytest.approx([0.99942, 5.7805e-04], abs=5e-3)


def test_siglip_on_the_coco_cats() -> None:
    """Source: test_modeling_siglip.py of transformers."""
    model = clipcli.load("google/siglip-base-patch16-224", device="cpu", dtype="float32", offline=True)
    (result,) = model.score([image("000000039769.jpg")], ["a photo of 2 cats", "a photo of 2 dogs"])
    assert [row.logit for row in result.scores] == pytest.approx([-0.7567, -10.3354], rel=1e-3, abs=1e-3)
    assert result.scores[0].score == pytest.approx(0.3194, abs=1e-3)


def test_metaclip_2_on_the_coco_cats() -> None:
    """Source: test_modeling_metaclip_2.py of transformers."""
    name = "facebook/metaclip-2-worldwide-huge-quickgelu"
    model = clipcli.load(name, device="cpu", dtype="float32", offline=True)
    (result,) = model.score([image("000000039769.jpg")], ["a photo of a cat", "a photo of a dog"])
    assert [row.logit for row in result.scores] == pytest.approx([19.9799, 13.6169], rel=1e-3, abs=1e-3)


NAFLEX = {
    "circle": (1.0195, -0.0280, -1.4468),
    "ellipsoid": (-4.5395, -6.2269, -1.5667),
    "blue circle on red background": (4.1757, 5.0358, 3.5159),
    "blue circle with green border on red background": (9.4264, 10.1879, 6.3353),
    "green circle on red background": (2.4409, 3.1058, 4.5491),
    "a dog": (-12.3230, -13.7355, -13.4632),
    "a blue dog with a green border on a red background": (1.1520, 1.1687, -1.9647),
}


def circle(height: int, width: int) -> Image.Image:
    """A blue circle outlined in green on red; the radius is 7/8 of what fits, in whole pixels."""
    drawn = Image.new("RGB", (width, height), "red")
    x, y = width // 2, height // 2
    radius = min(x, y) // 8 * 7
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(drawn).ellipse(box, fill="blue", outline="green", width=width // 20)
    return drawn


def test_naflex_on_images_of_three_shapes() -> None:
    """Source: test_modeling_siglip2.py of transformers; the images are drawn, so nothing but the weights is needed."""
    model = clipcli.load("google/siglip2-base-patch16-naflex", device="cpu", dtype="float32", offline=True)
    found = model.score([circle(224, 224), circle(1024, 1024), circle(224, 1024)], list(NAFLEX))
    logits = [[row.logit for row in result.scores] for result in found]
    assert np.transpose(logits) == pytest.approx(np.array([*NAFLEX.values()]), rel=1e-3, abs=1e-3)
