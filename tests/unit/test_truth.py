"""Labelled images as people have them, and everything that can be wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipcli.api.evaluation.truth import read_labelling, read_truth
from clipcli.errors import ClipError, ClipWarning, UsageError
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.truth import captions_from_table, label_set_of, read_map
from clipcli.labels.truth.names import read_class_names

PETS = LabelSet(
    "pets",
    (
        Label("cat", ("cat", "kitten"), id="n02121808"),
        Label("hot dog"),
        Label("wild/fox", path=("wild", "fox")),
        Label("Café"),
    ),
)


def images(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / path)
    return folder


def table(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(location: Path, label_set: LabelSet | None = PETS, **options: Any) -> dict[str, tuple[str, ...]]:
    """Labels by path, both as they are named."""
    truth = read_truth(str(location), label_set, **options)
    root = location if location.is_dir() else location.parent
    names = truth.label_set.names
    return {
        Path(path).relative_to(root).as_posix(): tuple(names[i] for i in found)
        for path, found in zip(truth.paths, truth.labels, strict=True)
    }


# Folders


def test_one_folder_per_label(tmp_path: Path) -> None:
    images(tmp_path, "cat/1.jpg", "cat/2.png", "Hot_Dog/1.jpg", "none/1.jpg", "wild/fox/1.jpg")
    assert read(tmp_path) == {
        "Hot_Dog/1.jpg": ("hot dog",),
        "cat/1.jpg": ("cat",),
        "cat/2.png": ("cat",),
        "none/1.jpg": (),
        "wild/fox/1.jpg": ("wild/fox",),
    }


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("CAT", "cat"),
        ("kitten", "cat"),
        ("n02121808", "cat"),
        ("n02121808_cat", "cat"),
        ("hot-dog", "hot dog"),
        ("fox", "wild/fox"),
        ("animals/cat", "cat"),
        ("cafe\u0301", "Café"),
    ],
)
def test_names_are_matched_with_good_will(tmp_path: Path, folder: str, label: str) -> None:
    images(tmp_path, f"{folder}/1.jpg")
    assert list(read(tmp_path).values()) == [(label,)]


def test_a_name_that_means_two_labels_is_unknown(tmp_path: Path) -> None:
    cranes = LabelSet("x", (Label("bird", ("crane", "bird")), Label("machine", ("crane", "machine"))))
    images(tmp_path, "crane/1.jpg")
    with pytest.raises(UsageError, match="crane"):
        read(tmp_path, cranes)


def test_the_exact_name_outranks_a_folded_one(tmp_path: Path) -> None:
    images(tmp_path, "Turkey/1.jpg", "turkey/1.jpg")
    found = read(tmp_path, LabelSet("x", (Label("Turkey"), Label("turkey", ("bird",)))))
    assert found == {"Turkey/1.jpg": ("Turkey",), "turkey/1.jpg": ("turkey",)}


def test_without_a_label_set_the_folders_are_the_labels(tmp_path: Path) -> None:
    images(tmp_path, "hot_dog/1.jpg", "class 10/1.jpg", "class 2/1.jpg", "wild/fox/1.jpg", "none/1.jpg")
    labels = read_truth(str(tmp_path)).label_set.labels
    assert [label.name for label in labels] == ["class 2", "class 10", "hot_dog", "wild/fox"]
    assert [label.prompts for label in labels[2:]] == [("hot dog",), ("fox",)]


def test_an_unknown_folder_is_an_error_with_the_nearest_label(tmp_path: Path) -> None:
    images(tmp_path, "cat/1.jpg", "hotdgo/1.jpg")
    with pytest.raises(UsageError, match=r"'hotdgo' \(did you mean 'hot dog'\?\).*folder hotdgo"):
        read(tmp_path)
    truth = read_truth(str(tmp_path), PETS, ignore_unknown=True)
    assert (len(truth.paths), dict(truth.unknown)) == (1, {"hotdgo": 1})


def test_a_map(tmp_path: Path) -> None:
    images(tmp_path, "Katze/1.jpg", "Katze/2.jpg", "Rest/1.jpg", "Nichts/1.jpg")
    mapping = {"Katze": "cat", "Rest": "", "Nichts": "none"}
    assert list(read(tmp_path, mapping=mapping).values()) == [("cat",), ("cat",), ()]


def test_images_outside_of_the_folders_are_counted(tmp_path: Path) -> None:
    images(tmp_path, "cat/1.jpg", "stray.jpg")
    truth = read_truth(str(tmp_path), PETS)
    assert (len(truth.paths), truth.unlabelled) == (1, 1)
    assert truth.without_images == ("hot dog", "wild/fox", "Café")


def test_splits_are_not_mixed(tmp_path: Path) -> None:
    images(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg", "test/cat/3.jpg")
    with pytest.raises(UsageError, match="test, train, val"):
        read(tmp_path)
    assert list(read(tmp_path, split="test")) == ["test/cat/3.jpg"]
    assert list(read(tmp_path, split="validation")) == ["val/cat/2.jpg"]
    with pytest.raises(UsageError, match="'dev2'"):
        read(tmp_path, split="dev2")


def test_splits_beside_another_folder_are_not_mixed_either(tmp_path: Path) -> None:
    images(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg", "more/cat/3.jpg")
    with pytest.raises(UsageError, match="train, val"):
        read(tmp_path)
    assert list(read(tmp_path, split="val")) == ["val/cat/2.jpg"]


def test_a_single_split_needs_no_option_and_a_label_may_be_called_test(tmp_path: Path) -> None:
    assert list(read(images(tmp_path / "one", "test/cat/1.jpg"))) == ["test/cat/1.jpg"]
    folder = images(tmp_path / "two", "test/1.jpg", "cat/1.jpg")
    assert read_truth(str(folder)).label_set.names == ("cat", "test")


def test_a_folder_of_a_label_without_images_is_named(tmp_path: Path) -> None:
    images(tmp_path, "cat/1.jpg", "wild/fox/1.jpg")
    (tmp_path / "hot dog").mkdir()
    with pytest.warns(ClipWarning, match="image"):
        assert len(read(tmp_path)) == 2


@pytest.mark.parametrize("paths", [[], ["stray.jpg"]])
def test_a_folder_without_labelled_images(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ClipError, match="image"):
        read(images(tmp_path, *paths))


# Tables

ROWS = {"a/1.jpg": ("cat",), "a/2.jpg": ("hot dog",)}


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na/1.jpg,cat\na/2.jpg,hot dog\n",
        "\ufeffpath,label\r\na/1.jpg,cat\r\na/2.jpg,hot dog\r\n",
        "path;label\na/1.jpg;cat\na/2.jpg;hot dog\n",
        "Label\tFile_Name\ncat\ta/1.jpg\nhot dog\ta/2.jpg\n",
        " path , label \na/1.jpg, cat\na/2.jpg,hot_dog \n",
        "id,image,class,note\n1,a\\1.jpg,cat,\n2,a\\2.jpg,hot dog,x\n",
        "path,label\n./a/1.jpg,cat\na/../a/2.jpg,hot dog\na/1.jpg,cat\n",
    ],
    ids=["plain", "bom", "semicolons", "tabs", "spaces", "windows", "spellings"],
)
def test_dialects_of_csv(tmp_path: Path, text: str) -> None:
    assert read(table(tmp_path, text)) == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", '{"file_name": "a/1.jpg", "label": "cat"}\n\n{"path": "a/2.jpg", "label": "hot dog"}\n'),
        ("x.json", '[{"path": "a/1.jpg", "label": "cat"}, {"path": "a/2.jpg", "Label": ["hot dog"]}]'),
        ("x", '{"path": "a/1.jpg", "label": "cat"}\n{"path": "a/2.jpg", "label": "hot dog"}\n'),
    ],
)
def test_json(tmp_path: Path, name: str, text: str) -> None:
    assert read(table(tmp_path, text, name)) == ROWS


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = {"image": [{"path": "a/1.jpg"}, {"path": "a/2.jpg"}], "label": [0, 1], "unused": [b"x", b"y"]}
    parquet.write_table(pa.table(rows), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", class_names=["cat", "hot dog"]) == ROWS
    with pytest.raises(UsageError, match="Parquet"):
        read(table(tmp_path, "junk", "y.parquet"))


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n1.jpg,cat\n1.jpg,fox\n2.jpg,cat\n",
        "path,label\n1.jpg,cat;fox\n2.jpg,cat\n",
        'path;label\n1.jpg;"cat;fox"\n2.jpg;cat\n',
    ],
)
def test_several_labels_of_one_image(tmp_path: Path, text: str) -> None:
    truth = read_truth(str(table(tmp_path, text)), PETS)
    assert truth.is_multi_label and truth.labels == ((0, 2), (0,))


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    truth = read_truth(str(table(tmp_path, "path,label\n1.jpg,cat\n2.jpg,\n,cat\n")), PETS)
    assert (len(truth.paths), truth.unlabelled) == (1, 1)


def test_numbers_need_the_names_of_the_classes(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\n1.jpg,0\n2.jpg,1\n")
    for label_set in (PETS, None):
        with pytest.raises(UsageError, match="numbers"):
            read(path, label_set)
    assert list(read(path, class_names=["cat", "fox"]).values()) == [("cat",), ("wild/fox",)]
    assert list(read(path, None, class_names=["cat", "fox"]).values()) == [("cat",), ("fox",)]
    with pytest.raises(UsageError):
        read(path, class_names=["cat"])


@pytest.mark.parametrize("spelled", ["1", "1.0", "01"])
def test_numbers_as_spreadsheets_write_them_need_names_too(tmp_path: Path, spelled: str) -> None:
    path = table(tmp_path, f"path,label\n1.jpg,{spelled}\n2.jpg,0\n")
    with pytest.raises(UsageError, match="numbers"):
        read(path, None)
    assert list(read(path, None, class_names=["cat", "fox"]).values()) == [("fox",), ("cat",)]


def test_a_number_below_zero_is_not_a_class(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\n1.jpg,-1\n2.jpg,0\n")
    with pytest.raises(UsageError, match="numbers"):
        read(path, None)
    with pytest.raises(UsageError, match="'-1'"):
        read(path, None, class_names=["cat", "fox"])
    assert len(read(path, None, class_names=["cat", "fox"], ignore_unknown=True)) == 1


def test_what_a_map_makes_of_a_name_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'wolf', which `mapping` makes of 'dog'"):
        read(images(tmp_path, "dog/1.jpg"), mapping={"dog": "wolf"})


def test_numbers_may_be_labels(tmp_path: Path) -> None:
    digits = LabelSet("digits", (Label("0"), Label("1")))
    assert list(read(table(tmp_path, "path,label\n1.jpg,1\n"), digits).values()) == [("1",)]


def test_imagefolder_metadata_outranks_folders(tmp_path: Path) -> None:
    images(tmp_path, "x/1.jpg", "x/2.jpg")
    table(tmp_path, "file_name,label\nx/1.jpg,cat\nx/2.jpg,fox\n", "metadata.csv")
    assert read(tmp_path) == {"x/1.jpg": ("cat",), "x/2.jpg": ("wild/fox",)}


def test_imagefolder_metadata_in_splits(tmp_path: Path) -> None:
    images(tmp_path, "train/1.jpg", "test/1.jpg")
    for split in ("train", "test"):
        line = {"file_name": "1.jpg", "label": "cat"}
        table(tmp_path / split, json.dumps(line), "metadata.jsonl")
    assert list(read(tmp_path, split="train")) == ["train/1.jpg"]


@pytest.mark.parametrize(
    "text", ["path,label,split\n1.jpg,cat,train\n2.jpg,cat,test\n", "path,label\ntrain/1.jpg,cat\ntest/2.jpg,cat\n"]
)
def test_splits_of_a_table(tmp_path: Path, text: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(UsageError, match="test, train"):
        read(path)
    (only,) = read(path, split="test")
    assert only.endswith("2.jpg")


@pytest.mark.parametrize("other", ["holdout", "fold 2", ""])
def test_a_column_of_splits_holds_splits_whatever_they_are_called(tmp_path: Path, other: str) -> None:
    path = table(tmp_path, f"path,label,split\n1.jpg,cat,train\n2.jpg,cat,{other}\n")
    with pytest.raises(UsageError, match="mixed"):
        read(path)
    (only,) = read(path, split="train")
    assert only.endswith("1.jpg")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "row"),
        ("path,label\n", "row"),
        ("file,name\n1.jpg,cat\n", "label"),
        ("name,label\n1.jpg,cat\n", "path"),
        ("name,what\n", "path"),
        ("\0\0\0\0", ""),
        ("path,label\n1.jpg,cat\n2.jpg,cat, small\n", "line 3"),
        (b"path,label\n\xff\xfe,cat\n", "UTF-8"),
        ("path,label\n" + "x" * 300_000 + ",cat\n", "CSV"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str | bytes, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(table(tmp_path, text))
    assert named in f"{caught.value} {caught.value.hint}" and len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["{", "[1]", '{"path": 1', "[" * 100_000, '{"path": "a"}\n3\n', '{"label": "cat"}'])
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        read(table(tmp_path, text, "x.jsonl"))


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"x", b"\n", b",", b'"', b"{"])
def test_ten_megabytes_of_junk(tmp_path: Path, byte: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        read(table(tmp_path, byte * 10_000_000))
    assert len(f"{caught.value} {caught.value.hint}") < 1000


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        read(tmp_path / "nowhere.csv")


# Maps, class names, captions


@pytest.mark.parametrize(
    "text", ["name,label\na,cat\nb,\n", "a;cat\nb;\n", '{"a": "cat", "b": null}', "\ufeffa\tcat\nb\t\n"]
)
def test_maps(tmp_path: Path, text: str) -> None:
    assert read_map(str(table(tmp_path, text))) == {"a": "cat", "b": ""}


@pytest.mark.parametrize("text", ["a\n", "a,b,c\n", '{"a": 1}', "{", b"\xff"])
def test_maps_that_are_none(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(UsageError):
        read_map(str(table(tmp_path, text)))


def test_class_names(tmp_path: Path) -> None:
    assert read_class_names(str(table(tmp_path, "cat\n hot dog\n\n"))) == ("cat", "hot dog")
    with pytest.raises(UsageError, match="line 2"):  # dog would be 1 in place of 2
        read_class_names(str(table(tmp_path, "cat\n\ndog\n")))
    with pytest.raises(UsageError):
        read_class_names(str(table(tmp_path, "\n")))


def test_captions(tmp_path: Path) -> None:
    text = '{"path": "1.jpg", "caption": ["a cat", "a pet"]}\n{"path": "2.jpg", "text": "a dog"}\n'
    text += '{"path": "1.jpg", "caption": "a cat"}\n{"path": "3.jpg", "caption": ""}\n'
    found = captions_from_table(str(table(tmp_path, text, "x.jsonl")))
    assert [(Path(item.path).name, item.captions) for item in found] == [
        ("1.jpg", ("a cat", "a pet")),
        ("2.jpg", ("a dog",)),
    ]
    with pytest.raises(UsageError, match="caption"):
        captions_from_table(str(table(tmp_path, "path,label\n1.jpg,x\n")))


def test_labels_of_names_that_cannot_be_labels(tmp_path: Path) -> None:
    labelling = read_labelling(str(table(tmp_path, "path,label\n1.jpg,\x07\n")))
    with pytest.raises(UsageError):
        label_set_of(labelling)
