"""Fingerprints, distances between looks, leader groups, clusters."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from clipcli import scoring
from clipcli.answers.duplicates import Looks, clusters, groups_of_copies, groups_of_similar
from clipcli.images.fingerprint import FINGERPRINT_BYTES, fingerprint, mirrored
from clipcli.scoring import Floats
from tests.helpers.scenes import scene


def as_array(*images: Image.Image) -> NDArray[np.uint8]:
    return np.stack([np.frombuffer(fingerprint(image), dtype=np.uint8) for image in images])


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


COPIES = {
    "the same": lambda image: image,
    "JPEG": lambda image: jpeg(image, 40),
    "half the size": lambda image: image.resize((160, 120)),
    "cropped": lambda image: image.crop((8, 6, 312, 234)),
    "bordered": lambda image: ImageOps.expand(image, 20, "white"),
    "bordered twice": lambda image: ImageOps.expand(ImageOps.expand(image, 20, "white"), 12, "gray"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "mirrored": ImageOps.mirror,
}


def looks_of(*images: Image.Image) -> Looks:
    """Looks whose features say nothing."""
    return Looks(np.ones((len(images), 1), dtype=np.float32), as_array(*images))


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("seed", range(5))
def test_copies_look_alike_and_others_do_not(change: object, seed: int) -> None:
    image = scene(seed)
    looks = looks_of(image, change(image), scene(seed + 100))  # type: ignore[operator]
    copy, other = looks.distances(0, np.array([1, 2]))
    assert copy < 0.3
    assert other > 0.7


def test_a_fingerprint_has_its_length_whatever_the_image() -> None:
    for size in ((1, 1), (1, 500), (500, 1), (3000, 20)):
        assert len(fingerprint(Image.new("RGB", size, "red"))) == FINGERPRINT_BYTES


def test_mirroring_twice_gives_the_same() -> None:
    prints = as_array(scene(0), scene(1))
    assert np.array_equal(mirrored(mirrored(prints)), prints)


def test_plain_images_are_never_copies() -> None:
    red, blue = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (50, 50), "blue")
    assert np.isinf(looks_of(red, red, blue).distances(0, np.array([1, 2]))).all()


def test_a_drawing_in_two_colors_differs() -> None:
    def drawing(color: str) -> Image.Image:
        image = Image.new("RGB", (100, 100), "white")
        image.paste(color, (20, 30, 80, 60))
        image.paste("black", (40, 60, 60, 90))
        return image

    assert looks_of(drawing("red"), drawing("blue")).distances(0, np.array([1]))[0] > 0.2


def test_no_chains() -> None:
    angles = np.arange(0, 180, 10) * np.pi / 180
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    least = float(np.cos(np.pi / 12))
    groups = list(groups_of_similar(features, np.arange(len(features)), least))
    rows = [row for group in groups for row in (group.leader, *group.members)]
    assert len(rows) == len(set(rows))
    for group in groups:
        assert (features[list(group.members)] @ features[group.leader] >= least - 1e-6).all()


def test_the_first_in_order_leads() -> None:
    features = np.tile(scoring.normalize(np.ones((1, 8), dtype=np.float32)), (4, 1))
    (group,) = groups_of_similar(features, np.array([2, 0, 3, 1]))
    assert group.leader == 2
    assert sorted(group.members) == [0, 1, 3]


def reference_groups(features: Floats, order: NDArray[np.intp], least: float) -> dict[int, set[int]]:
    """Leader groups, one row after the other."""
    leaders: list[int] = []
    found: dict[int, set[int]] = {}
    for row in order.tolist():
        cosines = features[leaders] @ features[row] if leaders else np.array([-1.0])
        if cosines.max() >= least:
            found.setdefault(leaders[int(cosines.argmax())], set()).add(row)
        else:
            leaders.append(row)
    return found


def test_blocks_make_no_difference() -> None:
    random = np.random.default_rng(0)
    centers = random.standard_normal((300, 16), dtype=np.float32)
    noise = random.standard_normal((5000, 16), dtype=np.float32)
    features = scoring.normalize(centers[random.integers(0, 300, 5000)] + 0.15 * noise)
    order = random.permutation(5000)
    groups = {group.leader: set(group.members) for group in groups_of_similar(features, order, 0.95)}
    assert groups == reference_groups(features, order, 0.95)


def test_copies_need_features_too() -> None:
    image = scene(0)
    prints = as_array(image, jpeg(image, 50), image)
    features = np.eye(4, dtype=np.float32)[[0, 0, 1]]  # the third looks the same, and shows something else
    (group,) = groups_of_copies(Looks(features, prints), np.arange(3))
    assert (group.leader, group.members) == (0, (1,))
    assert group.distances[0] < 0.3


def test_mirrored_copies_are_found_by_groups() -> None:
    images = [scene(0), scene(1), ImageOps.mirror(scene(0))]
    features = np.ones((3, 1), dtype=np.float32)
    (group,) = groups_of_copies(Looks(features, as_array(*images)), np.arange(3))
    assert {group.leader, *group.members} == {0, 2}


def test_clusters_part_what_is_apart() -> None:
    random = np.random.default_rng(0)
    owners = np.repeat(np.arange(3), [50, 30, 20])
    features = scoring.normalize(
        np.eye(8, dtype=np.float32)[owners] + 0.05 * random.standard_normal((100, 8), dtype=np.float32)
    )
    found = clusters(features, np.arange(100), 3)
    assert [len(members) for _, members, _ in found] == [50, 30, 20]
    for medoid, members, center in found:
        assert len(set(owners[members])) == 1
        assert medoid == members[np.argmax(features[members] @ center)]


def test_fewer_clusters_where_there_are_not_so_many_different_rows() -> None:
    features = np.tile(np.eye(4, dtype=np.float32)[:2], (5, 1))
    assert len(clusters(features, np.arange(10), 6)) == 2
