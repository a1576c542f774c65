from pathlib import Path

import pytest

from clipcli.errors import ExitStatus, LabelSetError
from clipcli.labels.parse import parse_labels


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["cat,dog"], ("cat", "dog")),
        (["cat, dog"], ("cat", "dog")),
        (["cat", "dog,bird"], ("cat", "dog", "bird")),
        (['cat,"dog, puppy"'], ("cat", "dog, puppy")),
        (['cat, "dog, puppy"'], ("cat", "dog, puppy")),
        (['"say ""hi"""'], ('say "hi"',)),
        (["猫，狗"], ("猫", "狗")),
        (["猫、狗,鸟"], ("猫", "狗", "鸟")),
        (['"猫，狗",鸟'], ("猫，狗", "鸟")),
        (['"@home",away'], ("@home", "away")),
        (["AC/DC"], ("AC/DC",)),
        (["Cat,cat"], ("Cat", "cat")),
        (["cafe\u0301"], ("caf\u00e9",)),
    ],
)
def test_values(values: list[str], names: tuple[str, ...]) -> None:
    assert parse_labels(values).names == names


def test_a_slash_makes_no_hierarchy() -> None:
    (label,) = parse_labels(["AC/DC"]).labels
    assert label.prompts == ("AC/DC",)
    assert parse_labels(["a/b"]).depth == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["cat,dog,cat"], "'cat'"),
        (["cat", "dog,cat"], "first in .labels='cat'"),
        (["caf\u00e9,cafe\u0301"], "'café'"),
        (["cat,"], r"labels='cat,'."),
        ([",cat"], "empty"),
        (["cat,,dog"], "empty"),
        ([""], "empty"),
        (["   "], "empty"),
        ([], "label"),
        (['"cat'], "match"),
        (["cat\ndog"], "break"),
        (["a\tb"], "control"),
        (["@"], "file"),
        (["@nowhere.txt"], "nowhere.txt: No such file"),
        (["@pets.yaml"], "label-set"),
    ],
)
def test_mistakes_are_named(values: list[str], message: str) -> None:
    with pytest.raises(LabelSetError, match=message.replace("(", r"\(")) as caught:
        parse_labels(values)
    assert caught.value.exit_status is ExitStatus.USAGE
    assert caught.value.hint or "control" in message


def test_file_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(b"\xef\xbb\xbf# my labels\r\ncat\r\n\r\n  dog, puppy  \r\n#bird\r\n\xe7\x8c\xab")
    assert parse_labels([f"@{file}", "fish"]).names == ("cat", "dog, puppy", "猫", "fish")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ndog\n\ncat\n", r"labels.txt:4.*'cat'.*labels.txt:1"),
        (b"cat\n\xff\xfe\n", r"labels.txt:2.*UTF-8"),
        ("cat\n".encode("utf-16"), r"labels.txt:1.*UTF-8"),
        (b"cat\nd\x07g\n", r"labels.txt:2"),
        (b"# nothing\n\n", r"labels.txt"),
        (b"", "file"),
    ],
)
def test_mistakes_in_a_file_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(LabelSetError, match=message):
        parse_labels([f"@{file}"])


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(LabelSetError, match="Is a directory"):
        parse_labels([f"@{tmp_path}"])
