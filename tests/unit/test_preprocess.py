import json
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.images.preprocess import FILTERS, Preprocessing
from tests.helpers.image_files import gradient

SOURCE = "model/preprocessor_config.json"


def _read(**config: Any) -> Preprocessing:
    return Preprocessing.from_config(config, SOURCE)


def test_an_empty_config_has_the_defaults_of_clip() -> None:
    preprocessing = _read()
    assert preprocessing == Preprocessing()
    assert preprocessing.output_size == (224, 224)
    assert preprocessing.size == 224
    assert preprocessing.resample == Image.Resampling.BICUBIC


def test_every_filter_is_one_of_pils() -> None:
    assert {each.value for each in Image.Resampling}.issuperset(FILTERS)


def test_null_means_the_default() -> None:
    assert _read(**dict.fromkeys(("size", "crop_size", "image_mean", "do_resize", "resample"))) == Preprocessing()


@pytest.mark.parametrize("kind", ["CLIPFeatureExtractor", "CLIPImageProcessorFast", "ChineseCLIPImageProcessor"])
def test_a_plain_number_is_the_shortest_edge_unless_the_file_says_otherwise(kind: str) -> None:
    assert _read(feature_extractor_type=kind, size=32).size == 32
    assert _read(image_processor_type=kind, size=32, default_to_square=True).size == (32, 32)


def test_every_form_of_the_sizes() -> None:
    assert _read(size={"shortest_edge": 30}, crop_size=20).output_size == (20, 20)
    assert _read(crop_size={"height": 20, "width": 10}).output_size == (20, 10)
    assert _read(size={"height": 20, "width": 10}, do_center_crop=False).output_size == (20, 10)
    assert _read(size=[20, 10], do_center_crop=False).output_size == (20, 10)
    assert _read(size={"shortest_edge": 30, "longest_edge": None}).size == 30


def test_images_of_a_size_that_the_tower_does_not_take() -> None:
    _read(size=48, crop_size=32).check_output_size(32, SOURCE, "config.json")
    for crop in (48, [32, 48], [48, 32]):
        with pytest.raises(DamagedModelError, match=rf"{SOURCE}.*image_size.*config\.json.*32"):
            _read(size=32, crop_size=crop).check_output_size(32, SOURCE, "config.json")


def test_the_size_that_decoding_must_keep_is_that_of_the_resize_not_of_the_crop() -> None:
    assert _read(size=256, crop_size=224).min_size == (256, 256)
    assert _read(size={"height": 20, "width": 10}, do_center_crop=False).min_size == (20, 10)
    assert _read(do_resize=False).min_size is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("do_resize", 1),
        ("do_center_crop", "true"),
        ("size", 0),
        ("size", "224"),
        ("size", {"height": 3}),
        ("size", {}),
        ("size", {"shortest_edge": 2.5}),
        ("size", True),
        ("crop_size", {"shortest_edge": 3}),
        ("crop_size", [1, 2, 3]),
        ("crop_size", -1),
        ("resample", 99),
        ("resample", "bicubic"),
        ("resample", True),
        ("resample", [3]),
        ("size", [30_000, 30_000]),
        ("size", {"shortest_edge": 30_000}),
        ("crop_size", 10**9),
        ("image_mean", 10**400),
        ("rescale_factor", 0),
        ("rescale_factor", "1/255"),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, None]),
        ("image_mean", [0.5, 0.5, float("nan")]),
        ("image_std", [0.5, 0.0, 0.5]),
        ("image_std", "x"),
    ],
)
def test_wrong_values_name_the_key_and_the_file(key: str, value: object) -> None:
    with pytest.raises(DamagedModelError, match=f"{SOURCE}.*{key}"):
        _read(**{key: value})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"size": {"shortest_edge": 224, "longest_edge": 500}}, "longest_edge"),
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": {"max_height": 3, "max_width": 3}}, "max_height"),
        ({"do_pad": True}, "do_pad"),
        ({"use_square_size": True}, "use_square_size"),
        ({"image_processor_type": "ViTImageProcessor"}, "ViTImageProcessor"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"do_center_crop": False, "do_resize": False, "size": [3, 3]}, "do_center_crop"),
    ],
)
def test_what_would_change_the_pixels_is_refused_by_name(config: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"^{SOURCE}: .*{named}"):
        _read(**config)


def test_patches_that_make_an_image_of_no_sane_size() -> None:
    kind = {"image_processor_type": "Siglip2ImageProcessor"}
    assert _read(**kind, max_num_patches=4096, patch_size=16).output_size is None
    with pytest.raises(DamagedModelError, match="max_num_patches"):
        _read(**kind, max_num_patches=4096, patch_size=128)


@pytest.mark.parametrize("kind", [[], {}, 7, ["CLIPImageProcessor"]])
def test_an_image_processor_whose_name_is_not_a_text(kind: object) -> None:
    with pytest.raises(UnsupportedModelError, match="image_processor_type is"):
        _read(image_processor_type=kind)


def test_unknown_keys_that_change_nothing_are_ignored() -> None:
    assert _read(processor_class="CLIPProcessor", do_pad=False, do_flip=None, use_square_size=False) == Preprocessing()


def test_one_number_stands_for_three_channels() -> None:
    assert _read(image_mean=0.5, image_std=0.25).image_std == (0.25, 0.25, 0.25)


def test_the_digest_tells_every_field() -> None:
    base = Preprocessing()
    changed: dict[str, Any] = {
        "size": (224, 224),
        "resample": 2,
        "crop_size": (224, 223),
        "rescale_factor": 0.5,
        "image_mean": (0.0, 0.0, 0.0),
        "image_std": (1.0, 1.0, 1.0),
    }
    variants = [
        replace(base, **{field.name: changed.get(field.name, not getattr(base, field.name))})
        for field in fields(Preprocessing)
    ]
    assert len({variant.digest for variant in [base, *variants]}) == len(variants) + 1
    again = subprocess.run(
        [sys.executable, "-c", "from clipcli.images.preprocess import Preprocessing as P; print(P().digest)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == base.digest


def test_reading_a_config_needs_neither_numpy_nor_torch() -> None:
    program = (
        "import json, sys\n"
        "from clipcli.images.preprocess import Preprocessing\n"
        "Preprocessing.from_config(json.loads(sys.argv[1]), 'x').digest\n"
        "print([name for name in ('numpy', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps({"resample": 3})], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_crop_larger_than_the_image_is_padded_with_black() -> None:
    white = Image.new("RGB", (3, 2), "white")
    pixels = _read(do_resize=False, crop_size={"height": 4, "width": 6}).pixels(white)
    assert pixels.shape == (4, 6, 3)
    assert pixels[..., 0].tolist() == [
        [0] * 6,
        [0, 0, 255, 255, 255, 0],
        [0, 0, 255, 255, 255, 0],
        [0] * 6,
    ]


@pytest.mark.parametrize("size", [(2, 35_000), (35_000, 2), (1, 17_000)])
def test_long_strips_are_resized_where_the_crop_is(size: tuple[int, int]) -> None:
    strip = gradient(*size)
    width, height = (32 * side // min(size) for side in size)  # more pixels than are resized at once
    left, top = (width - 32) // 2, (height - 32) // 2
    whole = strip.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    pixels = _read(size=32, crop_size=32).pixels(strip)
    assert np.abs(pixels - np.asarray(whole).astype(int)).max() <= 1


def test_a_strip_that_would_be_resized_to_gigabytes_is_not() -> None:
    pixels = Preprocessing().pixels(gradient(1, 60_000))
    assert pixels.shape == (224, 224, 3)
    assert np.ptp(pixels[..., 1]) <= 1


def test_normalizing_follows_the_formula_and_is_contiguous() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    preprocessing = _read(image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.25, 2.0], rescale_factor=0.01)
    normalized = preprocessing.normalize(batch)
    want = (batch * 0.01 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.25, 2.0])
    assert normalized.dtype == np.float32
    assert normalized.flags.c_contiguous
    assert np.allclose(normalized, want.transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "want"),
    [
        ({"do_normalize": False}, [0.0, 0.2, 1.0]),
        ({"do_rescale": False, "image_mean": 100, "image_std": 2}, [-50.0, -24.5, 77.5]),
        ({"do_rescale": False, "do_normalize": False}, [0.0, 51.0, 255.0]),
    ],
)
def test_rescaling_and_normalizing_can_each_be_off(config: dict[str, Any], want: list[float]) -> None:
    batch = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=-1)
    assert np.allclose(_read(**config).normalize(batch)[0, 1, 0], want)


def test_an_empty_batch() -> None:
    assert Preprocessing().normalize(np.zeros((0, 224, 224, 3), dtype=np.uint8)).shape == (0, 3, 224, 224)


def noise(width: int, height: int) -> Image.Image:
    """Detail at every scale, so that a shift by a fraction of a pixel shows."""
    random, image = np.random.default_rng(0), Image.new("RGB", (width, height))
    for edge in (4, 16, 64, 256):
        layer = Image.fromarray(random.integers(0, 256, (edge, edge, 3), dtype=np.uint8))
        image = Image.blend(image, layer.resize(image.size, Image.Resampling.BICUBIC), 0.4)
    return image


# Neither is a multiple of a whole factor: images that lose a strip at their edge are shifted.
@pytest.mark.parametrize("size", [{"size": 32}, {"size": {"height": 32, "width": 32}}])
def test_large_images_may_be_scaled_in_two_steps(size: dict[str, Any]) -> None:
    preprocessing, image = _read(**size, crop_size=32), noise(1001, 733)
    exact = preprocessing.pixels(image).astype(int)
    fast = preprocessing.pixels(image, exact=False)
    assert 0 < np.abs(exact - fast).mean() < 0.5
    assert np.abs(exact - fast).max() < 8


def test_images_of_less_than_six_times_the_size_are_scaled_in_one_step() -> None:
    preprocessing, image = _read(size=32, crop_size=32), noise(191, 191)
    assert np.array_equal(preprocessing.pixels(image), preprocessing.pixels(image, exact=False))


@pytest.mark.parametrize(("size", "most"), [((1000, 750), 1e-3), ((750, 1003), 1e-3), ((640, 480), 0), ((100, 640), 0)])
def test_of_large_images_only_what_the_crop_keeps_is_scaled(size: tuple[int, int], most: float) -> None:
    preprocessing, image = _read(size=224, crop_size=224), noise(*size)
    exact, fast = (preprocessing.pixels(image, exact=exact).astype(int) for exact in (True, False))
    assert exact.shape == fast.shape
    assert np.abs(exact - fast).max() <= 1 and (exact != fast).mean() <= most
