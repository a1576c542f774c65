"""Figures that the authors published for their weights on images of theirs.

`pytest -m weights` runs them. They fail, not skip, where the weights are not in the hub's cache, or the images not
in the folder that `PUBLISHED_IMAGES` names (they are not ours to ship).
"""

import hashlib
import os
from pathlib import Path

import pytest

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
