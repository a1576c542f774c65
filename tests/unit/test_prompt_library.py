"""Every file of prompts/ keeps the rules, and the data sets their published counts and order."""

from pathlib import Path

import pytest

from clipcli.labels.expand import expand
from clipcli.labels.label_set import LabelSet
from clipcli.labels.library import built_in_folder, find_label_set, find_templates, list_label_sets, list_templates
from clipcli.labels.read import read_label_file, read_template_file
from clipcli.labels.templates import default_templates, script_of

SETS = sorted(built_in_folder().glob("*.yaml"))
TEMPLATES = sorted((built_in_folder() / "templates").glob("*.yaml"))

COUNTS = {
    "caltech101": 101,
    "cifar10": 10,
    "cifar10-zh": 10,
    "cifar100": 100,
    "cifar100-zh": 100,
    "dtd": 47,
    "eurosat": 10,
    "flowers102": 102,
    "food101": 101,
    "imagenet-1k": 1000,
    "imagenet-100": 100,
    "imagenet-100-zh": 100,
    "oxford-pets": 37,
    "oxford-pets-zh": 37,
}
OWN = {
    "animals",
    "colours",
    "document-types",
    "image-medium",
    "image-quality",
    "pets",
    "pets-zh",
    "photo-subjects",
    "photo-subjects-zh",
    "scenes",
    "sentiment",
    "shapes",
}


def test_everything_is_there() -> None:
    assert {path.stem for path in SETS} == set(COUNTS) | OWN
    assert {entry.name for entry in list_label_sets()} == set(COUNTS) | OWN
    assert {path.stem for path in TEMPLATES} == {entry.name for entry in list_templates()}


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_label_set(path: Path) -> None:
    file = read_label_file(path)
    assert file.name == path.stem
    assert 20 <= len(file.description) <= 90 or file.language == "zh"
    assert file.description
    assert file.source
    assert file.language == ("zh" if path.stem.endswith("-zh") else "en")
    label_set = find_label_set(path.stem)
    texts = expand(label_set, label_set.templates or default_templates(label_set)).texts
    assert len(set(texts)) == len(texts), "two labels share a prompt"
    # Tokenizers lower the case, so names that differ in nothing else would be one label to a model.
    assert len({name.casefold() for name in label_set.names}) == len(label_set.names)


@pytest.mark.parametrize("path", [path for path in SETS if path.stem.endswith("-zh")], ids=lambda path: path.stem)
def test_chinese_sets_are_chinese(path: Path) -> None:
    label_set = find_label_set(path.stem)
    for text in (*label_set.names, *(label_set.templates or ()), *label_set.background):
        assert script_of(text) == "han", text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_file(path: Path) -> None:
    file = read_template_file(path)
    assert file.name == path.stem
    assert file.description
    assert file.source
    assert file.language == ("zh" if path.stem.endswith("-zh") else "en")
    assert len(file.templates) == int(path.stem.split("-")[1])
    if file.language == "zh":
        assert all(script_of(template) == "han" for template in file.templates)


def test_bigger_template_files_begin_like_the_smaller_ones() -> None:
    one, seven, sixty = (find_templates(f"photo-{count}").templates for count in (1, 7, 60))
    assert one == seven[:1] == sixty[:1]


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_counts_as_published(name: str, count: int) -> None:
    assert len(find_label_set(name).labels) == count


def test_imagenet_in_canonical_order() -> None:
    names = find_label_set("imagenet-1k").names
    known = {
        0: "tench",
        1: "goldfish",
        2: "great white shark",
        7: "rooster",
        15: "American robin",
        21: "kite (bird of prey)",
        29: "axolotl",
        50: "American alligator",
        99: "goose",
        101: "tusker (elephant)",
        107: "jellyfish",
        134: "crane (bird)",
        150: "sea lion",
        151: "Chihuahua",
        207: "Golden Retriever",
        235: "German Shepherd",
        250: "Siberian Husky",
        263: "Pembroke Welsh Corgi",
        264: "Cardigan Welsh Corgi",
        268: "Mexican hairless dog",
        281: "tabby cat",
        285: "Egyptian Mau",
        291: "lion",
        323: "monarch butterfly",
        340: "zebra",
        388: "giant panda",
        397: "pufferfish",
        398: "abacus",
        404: "airliner",
        417: "balloon",
        437: "lighthouse",
        474: "cardigan",
        483: "castle",
        508: "computer keyboard",
        517: "crane (machine)",
        555: "fire engine",
        569: "garbage truck",
        607: "jack-o'-lantern",
        620: "laptop computer",
        638: "maillot",
        639: "one-piece swimsuit",
        657: "missile",
        664: "computer monitor",
        681: "notebook computer",
        701: "parachute",
        717: "pickup truck",
        744: "projectile",
        751: "race car",
        779: "school bus",
        782: "CRT screen",
        805: "soccer ball",
        817: "sports car",
        836: "dark glasses",
        837: "sunglasses",
        850: "teddy bear",
        876: "tub",
        879: "umbrella",
        898: "water bottle",
        907: "wine bottle",
        920: "traffic light",
        923: "plate of food",
        928: "ice cream",
        934: "hot dog",
        948: "Granny Smith apple",
        954: "banana",
        963: "pizza",
        967: "espresso",
        970: "alpine peak",
        980: "volcano",
        985: "daisy",
        987: "corn",
        998: "ear of corn",
        999: "toilet paper",
    }
    assert {index: names[index] for index in known} == known


def test_imagenet_100_is_a_part_of_imagenet_in_its_order() -> None:
    whole = find_label_set("imagenet-1k").names
    positions = [whole.index(name) for name in find_label_set("imagenet-100").names]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", ["cifar100", "dtd", "food101", "oxford-pets"])
def test_sets_in_alphabetical_order(name: str) -> None:
    names = [label.casefold() for label in find_label_set(name).names]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("cifar10", {0: "airplane", 1: "automobile", 3: "cat", 5: "dog", 9: "truck"}),
        ("cifar100", {0: "apple", 1: "aquarium fish", 22: "clock", 51: "mushroom", 72: "seal", 99: "worm"}),
        (
            "oxford-pets",
            {0: "Abyssinian", 4: "Beagle", 5: "Bengal", 27: "Russian Blue", 32: "Siamese", 36: "Yorkshire Terrier"},
        ),
        (
            "flowers102",
            {
                0: "pink primrose",
                28: "artichoke",
                41: "daffodil",
                49: "common dandelion",
                53: "sunflower",
                73: "rose",
                92: "ball moss",
                101: "blackberry lily",
            },
        ),
        (
            "food101",
            {0: "apple pie", 16: "cheese plate", 17: "cheesecake", 53: "hamburger", 76: "pizza", 100: "waffles"},
        ),
        ("caltech101", {0: "face", 2: "leopard", 4: "accordion", 46: "grand piano", 83: "snoopy", 100: "yin yang"}),
        ("eurosat", {0: "annual crop", 3: "highway", 5: "pasture", 8: "river", 9: "sea or lake"}),
        ("dtd", {0: "banded", 11: "fibrous", 26: "paisley", 33: "scaly", 46: "zigzagged"}),
    ],
)
def test_canonical_order(name: str, known: dict[int, str]) -> None:
    names = find_label_set(name).names
    assert {index: names[index].casefold() for index in known} == {i: text.casefold() for i, text in known.items()}


@pytest.mark.parametrize(
    ("chinese", "english", "known"),
    [
        ("cifar10-zh", "cifar10", {"cat": "猫", "truck": "卡车"}),
        ("cifar100-zh", "cifar100", {"apple": "苹果", "clock": "时钟", "mushroom": "蘑菇", "worm": "蠕虫"}),
        ("imagenet-100-zh", "imagenet-100", {"goldfish": "金鱼", "pizza": "披萨", "violin": "小提琴"}),
        ("oxford-pets-zh", "oxford-pets", {"Siamese": "暹罗猫", "Pug": "巴哥犬"}),
        ("pets-zh", "pets", {"goldfish": "金鱼", "pony": "矮马"}),
        (
            "photo-subjects-zh",
            "photo-subjects",
            {"wedding": "婚礼", "snow": "雪", "bicycle": "自行车", "still life": "静物"},
        ),
    ],
)
def test_chinese_sets_follow_the_english_ones(chinese: str, english: str, known: dict[str, str]) -> None:
    translation = dict(zip(find_label_set(english).names, find_label_set(chinese).names, strict=True))
    assert {name: translation[name] for name in known} == known
    assert _groups(find_label_set(english)) == _groups(find_label_set(chinese))


def _groups(label_set: LabelSet) -> list[int]:
    """Sizes of the groups in order."""
    counts: dict[str | None, int] = {}
    for label in label_set.labels:
        counts[label.group] = counts.get(label.group, 0) + 1
    return list(counts.values())


def test_photo_subjects_suit_tagging() -> None:
    label_set = find_label_set("photo-subjects")
    assert 280 <= len(label_set.labels) <= 360
    assert all(label.group for label in label_set.labels)
    assert len(label_set.background) >= 4


@pytest.mark.parametrize("name", ["animals", "scenes", "sentiment"])
def test_hierarchical_sets(name: str) -> None:
    label_set = find_label_set(name)
    assert label_set.depth == 2
    assert len({label.path[0] for label in label_set.labels}) < len(label_set.labels) / 3
