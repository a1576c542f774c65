"""What a Python user gives and gets: images that are no files, generators, paths and torch's own names."""

import io
import os
import pydoc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import clipcli
from clipcli.api.model import Model
from clipcli.errors import ModelNotFoundError, UnreadableImage, UnsupportedModelError, UsageError
from tests.helpers.errors import about

ORIENTATION = 0x0112
LONG_AGO_NS = 10**18


def has_encoder(model: Model) -> bool:
    """Whether a tower was made, in numpy or torch."""
    return any(name.endswith(("_text", "_image")) for name in vars(model.encoders))


@pytest.fixture(scope="module")
def model(clip_checkpoint: Path) -> Model:
    return clipcli.load(str(clip_checkpoint))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.effect_noise((60, 40), 90).convert("RGB").save(path)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))  # a file of just now is read each time
    return str(path)


def noise(mode: str, size: tuple[int, int] = (50, 40)) -> Image.Image:
    """An image that no other seed would give twice, in any mode."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    rgba = Image.fromarray(values, "RGBA")
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def test_a_image_is_the_same_as_path_image_and_bytes(model: Model, photo: str) -> None:
    path, data = Path(photo), Path(photo).read_bytes()
    copy = Image.open(photo).convert("RGB")
    results = model.classify([photo, path, Image.open(photo), copy, data], ["cat", "dog"])
    assert [result.path for result in results] == [photo, photo, photo, "image 3", "image 4"]
    for result in results:
        assert (result.error, result.label) == (None, results[0].label)
        assert result.predictions[0].cosine == pytest.approx(results[0].predictions[0].cosine, abs=1e-6)
    rows = model.encode_images([photo, Image.open(photo), copy, data])
    np.testing.assert_allclose(rows, rows[:1].repeat(4, axis=0), atol=1e-6)
    scores = model.score(iter([photo, copy]), ["a cat", "a dog"])
    assert scores[0].scores[0].cosine == pytest.approx(scores[1].scores[0].cosine, abs=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "CMYK", "I;16"])
def test_every_mode_is_prepared_as_its_file_is(mode: str, model: Model, tmp_path: Path) -> None:
    image, path = noise(mode), tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    rows = model.encode_images([path, image])
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-6)


@pytest.mark.parametrize("change", [lambda image: image, lambda image: image.copy()], ids=["opened", "copied"])
def test_an_image_is_set_upright_as_its_file_is(
    change: Callable[[Image.Image], Image.Image], model: Model, tmp_path: Path
) -> None:
    image, path = noise("RGB", (90, 30)), tmp_path / "x.png"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.save(path, exif=exif)
    turned, plain, file = model.encode_images([change(Image.open(path)), image, path])
    np.testing.assert_allclose(turned, file, atol=1e-6)
    assert np.abs(plain - file).max() > 1e-3


def test_the_users_image_is_left_as_it_is(model: Model) -> None:
    image = noise("P")
    image.info["transparency"] = 3
    before, info = image.tobytes(), dict(image.info)
    dropping = clipcli.load(str(model.checkpoint.files.folder))
    object.__setattr__(dropping.options.decode, "alpha", "drop")
    for each in (model, dropping):
        each.encode_images([image])
        assert (image.mode, image.info, image.tobytes()) == ("P", info, before)


def test_an_image_that_was_changed_is_not_taken_for_the_file_it_came_from(model: Model, photo: str) -> None:
    model.encode_images([photo])
    image = Image.open(photo)
    image.paste("red", (0, 0, *image.size))
    changed, file = model.encode_images([image, photo])
    np.testing.assert_allclose(changed, model.encode_images([Image.new("RGB", image.size, "red")])[0], atol=1e-6)
    assert np.abs(changed - file).max() > 1e-3
    assert model.encode_images([photo])[0].tolist() == file.tolist()


def test_bytes_are_remembered_by_content_and_images_not_at_all(clip_checkpoint: Path, photo: str) -> None:
    data = Path(photo).read_bytes()
    (first,) = clipcli.load(clip_checkpoint).encode_images([data])
    for image, remembered in ((data, True), (photo, True), (Image.open(photo), False)):
        model = clipcli.load(clip_checkpoint)
        np.testing.assert_allclose(model.encode_images([image])[0], first, atol=1e-6)
        assert has_encoder(model) is not remembered


def test_an_image_given_many_times_is_loaded_once(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    noise("RGB", (900, 700)).save(path)
    image = Image.open(path)
    rows = model.encode_images([image] * 12)
    np.testing.assert_allclose(rows, rows[:1].repeat(12, axis=0), atol=1e-6)


def test_images_in_memory_fail_one_by_one(model: Model, photo: str) -> None:
    cut = Image.open(io.BytesIO(Path(photo).read_bytes()[:500]))
    closed = Image.open(photo)
    closed.close()
    images = [cut, closed, b"no image", b"", Image.new("RGB", (0, 0)), Image.open(photo)]
    *failed, good = model.classify(images, ["cat", "dog"])
    assert good.error is None
    for i, result in enumerate(failed):
        assert result.error is not None
        assert result.error.type == "UnreadableImage"
        assert result.path in (f"image {i}", photo)
        assert result.error.message.startswith(result.path)
        assert len(result.error.message) < 80 + len(photo)
    with pytest.raises(UnreadableImage, match="image 0"):
        model.encode_images(images)


@pytest.mark.parametrize(
    ("image", "kind"),
    [(np.zeros((4, 4, 3), np.uint8), "numpy.ndarray"), (None, "NoneType"), (7, "int"), (io.BytesIO(), "_io.BytesIO")],
)
def test_what_is_not_an_image_is_named_before_anything_is_computed(
    image: object, kind: str, clip_checkpoint: Path, photo: str
) -> None:
    fresh = clipcli.load(str(clip_checkpoint))
    for images in ([photo, image], (photo, image)):
        for ask in (
            lambda images: fresh.classify(images, ["cat", "dog"]),
            lambda images: fresh.score(images, ["a cat"]),
            fresh.encode_images,
        ):
            with pytest.raises(TypeError, match=f"{kind}.*PIL"):
                ask(images)
    assert not has_encoder(fresh)
    with pytest.raises(TypeError, match=rf"^image 1 is .* {kind}"):
        fresh.encode_images(iter([photo, image]))


@pytest.mark.parametrize("image", [b"image " * 1000, Image.new("RGB", (4, 4))], ids=["bytes", "image"])
def test_a_single_image_is_not_a_list(image: object, model: Model) -> None:
    for ask in (model.encode_images, lambda images: model.classify(images, ["cat", "dog"])):
        with pytest.raises(UsageError, match=r"(bytes|Image)\(\.\.\.\)"):
            ask(image)


def test_texts_and_labels_may_come_from_generators(model: Model, photo: str) -> None:
    texts = ["a cat", "a dog"]
    assert np.array_equal(model.encode_texts(text for text in texts), model.encode_texts(texts))
    assert model.score([photo], (text for text in texts)) == model.score([photo], texts)
    with pytest.raises(UsageError, match="text"):
        model.score([photo], iter([]))
    expected = model.classify([photo], ["cat", "dog"], templates=["a {}.", "the {}."])
    assert model.classify([photo], iter(["cat", "dog"]), templates=iter(["a {}.", "the {}."])) == expected


def test_a_path_is_a_folder_whatever_it_is_called(
    clip_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").symlink_to(clip_checkpoint)
    assert clipcli.load(Path("demo")).checkpoint.files.source == "folder"
    assert clipcli.load("demo").checkpoint.files.source == "bundled"
    with pytest.raises(ModelNotFoundError, check=about("model")):
        clipcli.load(Path("nothing"))


def test_torch_names_its_own_devices_and_number_formats(clip_checkpoint: Path) -> None:
    model = clipcli.load(clip_checkpoint, device=torch.device("cpu"), dtype=torch.bfloat16, batch_size="auto")
    assert model.options == clipcli.load(clip_checkpoint, device="cpu", dtype="bfloat16").options
    assert (model.encoders.device, model.encoders.dtype) == (torch.device("cpu"), torch.bfloat16)
    assert clipcli.load(clip_checkpoint, batch_size=3).options.batch_size == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float64"}, "float64"),
        ({"dtype": torch.float64}, "float64"),
        ({"device": "gpu"}, "device"),
        ({"device": 0}, "device"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": 2.5}, r"batch_size.*2.5"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_load_refuses_what_it_does_not_know_before_it_looks_for_the_model(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        clipcli.load("no/such-model", **arguments)


def test_the_package_shows_what_it_is_for() -> None:
    assert sorted(clipcli.__all__) == dir(clipcli)
    assert all(hasattr(clipcli, name) for name in clipcli.__all__)
    page = pydoc.plain(pydoc.render_doc(clipcli))
    for name in ("clipcli.load(", "class ClassifyOptions", "class Model", "classify(self", "load(name"):
        assert name in page
    with pytest.raises(AttributeError, match="no attribute 'lead'"):
        getattr(clipcli, "lead")  # noqa: B009 - mypy would refuse the attribute


def test_a_model_says_where_it_runs_once_that_is_known(clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint), device="cpu")
    assert repr(model) == f"<clipcli model {clip_checkpoint}: clip, dtype=auto, device=cpu>"
    model.encode_texts(["a cat"])
    assert repr(model) == f"<clipcli model {clip_checkpoint}: clip, dtype=float32, device=cpu>"


def test_options_give_every_label(model: Model, photo: str) -> None:
    labels = [f"label {i}" for i in range(8)]
    assert len(model.classify([photo], labels)[0].predictions) == 5
    (result,) = model.classify([photo], labels, options=clipcli.ClassifyOptions(top=len(labels)))
    assert sorted(prediction.label for prediction in result.predictions) == labels


@pytest.fixture
def with_head(clip_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint with a classification head of its own."""
    config = transformers.CLIPConfig.from_pretrained(clip_checkpoint, id2label={0: "cat", 1: "dog", 2: "bird"})
    folder = shutil.copytree(clip_checkpoint, tmp_path / "head")
    transformers.CLIPForImageClassification(config).save_pretrained(folder)
    return folder


def test_a_classification_head_gives_no_features(with_head: Path, photo: str) -> None:
    model = clipcli.load(with_head)
    for images in ([photo], []):
        with pytest.raises(UnsupportedModelError, match="classes"):
            model.encode_images(images)
    (result,) = model.classify([Image.open(photo)])
    assert {prediction.label for prediction in result.predictions} == {"cat", "dog", "bird"}
