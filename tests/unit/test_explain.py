"""`Model.explain`: whether maps lie where things are, in whatever shape an image comes, and how they are drawn."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import clipcli
from clipcli.answers.maps import QUALITIES, ExplainOptions, Explanation, LabelMap
from clipcli.api.explain import patches_of
from clipcli.api.model import Model
from clipcli.demo import samples
from clipcli.errors import LabelSetError, UsageError
from clipcli.library.report.panels import (
    colors,
    columns_for,
    draw_maps,
    drawn_as_numbers,
    made_here,
    panel_size,
    panels,
    strip,
)
from tests.helpers.scenes import scene

FAMILIES = ("clip", "chinese_clip", "altclip", "metaclip_2", "siglip", "siglip2", "siglip2_naflex")
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def demo() -> Model:
    return clipcli.load("demo")


@pytest.fixture(scope="module")
def sample() -> Callable[[str], Image.Image]:
    def sample(name: str) -> Image.Image:
        (path,) = (path for path in samples() if path.stem == name)
        return Image.open(path).convert("RGB").resize((200, 200))

    return sample


def canvas(size: tuple[int, int], **images: tuple[Image.Image, tuple[int, int]]) -> Image.Image:
    made = Image.new("RGB", size, "white")
    for image, corner in images.values():
        made.paste(image, corner)
    return made


def explained(model: Model, image: object, labels: list[str], **options: object) -> Explanation:
    (found,) = model.explain([image], labels, options=ExplainOptions(**options))  # type: ignore[list-item,arg-type]
    assert found.error is None
    return found


@pytest.mark.parametrize("quality", QUALITIES)
def test_most_things_are_found_where_they_are(demo: Model, sample: Callable[[str], Image.Image], quality: str) -> None:
    names = [path.stem for path in samples()]
    found, own = 0, 0
    for left, right in zip(names[::2], names[1::2], strict=True):
        image = canvas((400, 400), one=(sample(left), (0, 0)), two=(sample(right), (200, 200)))
        maps = explained(demo, image, [left, right], quality=quality).maps
        for here, each in ((0, maps[0]), (1, maps[1])):
            found += each.x // 200 == each.y // 200 == here
            middle = each.cosines.shape[0] // 2
            quarters = each.cosines[:middle, :middle].mean(), each.cosines[-middle:, -middle:].mean()
            own += quarters[here] > quarters[1 - here]
    assert min(found, own) >= 0.75 * len(names), (found, own)


def test_what_moves_moves_its_peak_and_its_box(demo: Model, sample: Callable[[str], Image.Image]) -> None:
    for corner in ((0, 0), (400, 0), (0, 400), (400, 400)):
        image = canvas((600, 600), only=(sample("pizza"), corner))
        (found,) = explained(demo, image, ["pizza"]).maps
        assert corner[0] <= found.x <= corner[0] + 200 and corner[1] <= found.y <= corner[1] + 200
        assert abs((found.left + found.right) / 2 - corner[0] - 100) < 100


def test_the_edges_of_a_wide_image_are_looked_at(demo: Model, sample: Callable[[str], Image.Image]) -> None:
    wide = canvas((1000, 200), one=(sample("pizza"), (0, 0)), two=(sample("guitar"), (800, 0)))
    pizza, guitar = explained(demo, wide, ["pizza", "guitar"]).maps
    assert pizza.x < 200 and guitar.x > 800
    tall = explained(demo, wide.transpose(Image.Transpose.ROTATE_270), ["pizza"])
    assert (tall.width, tall.height) == (200, 1000)
    assert tall.maps[0].cosines.shape == pizza.cosines.shape[::-1]


def test_places_are_those_of_the_upright_image(
    demo: Model, sample: Callable[[str], Image.Image], tmp_path: Path
) -> None:
    image = canvas((440, 240), one=(sample("pizza"), (10, 20)))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # shown turned by a quarter
    path = tmp_path / "turned.png"
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = explained(demo, path, ["pizza"])
    assert (found.width, found.height) == (440, 240) and found.image is not None
    assert found.image.size == (440, 240)
    assert found.maps[0].x == explained(demo, image, ["pizza"]).maps[0].x < 220


@pytest.mark.parametrize("color", ["white", "gray", "black"])
def test_a_label_that_is_not_there_stays_dark(demo: Model, color: str) -> None:
    blank = Image.new("RGB", (300, 200), color)
    for found in explained(demo, blank, ["pizza", "dog"]).maps:
        assert found.heat.max() < 0.9
        assert np.ptp(found.cosines) < 0.5


def test_the_cosine_is_that_of_classify(demo: Model, sample: Callable[[str], Image.Image]) -> None:
    image = sample("dog")
    found = explained(demo, image, ["dog", "pizza"]).maps
    (classified,) = demo.classify([image], ["dog", "pizza"])
    cosines = {each.label: each.cosine for each in classified.predictions}
    assert {each.label: pytest.approx(each.cosine, abs=1e-6) for each in found} == cosines


def test_parts_are_what_the_cosine_is_made_of(demo: Model, sample: Callable[[str], Image.Image]) -> None:
    found = explained(demo, sample("dog"), ["dog", "pizza"], method="parts", quality="fast")
    assert found.heat == "part in the cosine"
    dog, pizza = (each.cosines.sum() for each in found.maps)
    assert dog > pizza
    assert found.heat_range == (0.0, pytest.approx(max(each.heat.max() for each in found.maps)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(1, 1), (3000, 3), (4, 900), (320, 240)])
def test_every_family_and_every_shape(request: pytest.FixtureRequest, family: str, size: tuple[int, int]) -> None:
    model = clipcli.load(str(request.getfixturevalue(f"{family}_checkpoint")), cache=False)
    found = explained(model, scene(1, size), ["cat", "dog"])
    assert (found.width, found.height) == size
    for each in found.maps:
        assert np.isfinite(each.heat).all() and each.heat.shape == each.cosines.shape
        assert 0 <= each.left < each.right <= size[0] and 0 <= each.top < each.bottom <= size[1]
    assert Image.open(io.BytesIO(draw_maps(found))).format == "PNG"


def test_one_image_costs_at_most_four_passes(demo: Model) -> None:
    """By the number of patches, with the pass for the cosine; what attention costs beyond that is little."""
    tower = demo.checkpoint.image_tower
    native = patches_of(tower, 1.0).max_num_patches
    assert native == tower.patches  # type: ignore[union-attr]
    passes = 1 + sum(patches_of(tower, factor).max_num_patches for factor in QUALITIES["good"]) / native
    assert passes <= 4
    shape = explained(demo, scene(2, (900, 300)), ["cat"]).maps[0].heat.shape
    assert shape[0] * shape[1] <= patches_of(tower, 1.5).max_num_patches


def test_the_best_labels_are_kept_in_their_order(demo: Model, sample: Callable[[str], Image.Image]) -> None:
    labels = ["piano", "dog", "moon", "cat"]
    every = explained(demo, sample("dog"), labels).maps
    best = sorted(every, key=lambda each: -each.cosine)[:2]
    kept = [each.label for each in explained(demo, sample("dog"), labels, top=2).maps]
    assert kept == [label for label in labels if label in {each.label for each in best}]


def test_a_bad_image_costs_only_itself(demo: Model, sample: Callable[[str], Image.Image], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    bad, missing, good = demo.explain([tmp_path / "text.jpg", tmp_path / "none.png", sample("dog")], ["dog"])
    assert [each.error.type for each in (bad, missing) if each.error] == ["UnreadableImage", "MissingFile"]
    assert good.error is None and good.maps
    assert bad.to_dict()["status"] == "error"
    with pytest.raises(ValueError):
        draw_maps(bad)


def test_what_no_maps_can_be_made_of(demo: Model, clip_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPForImageClassification

    with pytest.raises(LabelSetError):
        demo.explain([scene(0)], [])
    with pytest.raises(UsageError):
        demo.explain([scene(0)], "cat")
    config = CLIPConfig.from_pretrained(clip_checkpoint, id2label={0: "cat", 1: "dog"})
    CLIPForImageClassification(config).save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        if (clip_checkpoint / name).exists():
            (tmp_path / name).write_bytes((clip_checkpoint / name).read_bytes())
    with pytest.raises(UsageError):
        clipcli.load(str(tmp_path)).explain([scene(0)], ["cat"])


def made(size: tuple[int, int] = (300, 200), labels: tuple[str, ...] = ("cat", "dog")) -> Explanation:
    """Maps with their peak in the upper left patch."""
    heat = np.zeros((4, 6), dtype=np.float32)
    heat[0, 0] = 1
    x, y = size[0] / 6, size[1] / 4
    maps = tuple(LabelMap(label, 0.25, heat, heat, x / 2, y / 2, 0.0, 0.0, x, y) for label in labels)
    return Explanation("some.jpg", *size, maps, image=Image.new("RGB", size, "white"))


def test_panels_are_in_the_image_s_own_proportions_and_on_one_scale() -> None:
    sheet = panels(made(), panel_px=300)
    assert sheet.width >= 300 * columns_for(3, 300, 200)
    few, many = panels(made(labels=("cat",))), panels(made(labels=tuple("abcdefgh")))
    assert many.width * many.height > 2 * few.width * few.height
    for size in ((300, 200), (200, 300), (50, 50)):
        width, height = panel_size(size, 360)
        assert max(width, height) == 360 and width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert panel_size((10_000, 10), 360) == (360, 24)
    joined = strip(made(), 60, most=1)
    assert joined.height == 40 and 120 <= joined.width < 180


def test_hot_places_are_lighter_than_cold_ones() -> None:
    joined = np.asarray(strip(made(), 300, most=1).convert("L"), dtype=float)
    panel = joined[:, 312:]
    assert panel[40:44, 40:44].mean() < 256  # the cross of the peak
    assert panel[12:16, 20:24].mean() > panel[150:, 200:].mean() + 60


def test_colors_grow_lighter_evenly() -> None:
    """So they say the same to people who do not see all colors, and in gray."""
    ramp = colors(np.linspace(0, 1, 256, dtype=np.float32)).astype(float)
    lightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.5).all()
    steps = lightness[::32][1:] - lightness[::32][:-1]
    assert lightness[-1] - lightness[0] > 180 and steps.min() > 8
    assert (colors(np.array([-5, 5], dtype=np.float32)) == colors(np.array([0, 1], dtype=np.float32))).all()
    assert (colors(np.array([0.2], dtype=np.float32), (0, 0.2)) == colors(np.ones(1, dtype=np.float32))).all()


def test_a_label_without_letters_is_drawn_as_its_number() -> None:
    assert drawn_as_numbers(["cat", "Übergröße"]) == []
    assert drawn_as_numbers(["cat", "\U0010fff0"]) == ["\U0010fff0"]  # in no font
    assert panels(made(labels=("\U0010fff0",))).size == panels(made(labels=("label 1",))).size


def test_a_long_label_is_cut_to_its_panel() -> None:
    drawn, blank = panels(made(labels=("a very long label " * 20,))), panels(made(labels=("a",)))
    assert drawn.size == blank.size


def test_files_say_who_made_them(tmp_path: Path) -> None:
    path = tmp_path / "maps.png"
    path.write_bytes(draw_maps(made()))
    assert made_here(str(path))
    ImageDraw.Draw(image := Image.open(path).convert("RGB")).line((0, 0, 9, 9))
    image.save(tmp_path / "changed.png")
    (tmp_path / "text.png").write_text("no image")
    assert not any(made_here(str(tmp_path / name)) for name in ("changed.png", "text.png", "none.png"))
