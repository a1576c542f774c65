from pathlib import Path

import pytest

from clipcli.errors import LabelSetError
from clipcli.labels.label_set import Label, LabelSet, clean_template, clean_templates, parents
from clipcli.labels.library import find_label_set
from clipcli.labels.write import to_yaml


def write(folder: Path, text: str, name: str = "pets.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_everything(tmp_path: Path) -> None:
    text = """
name: pets
description: Cats and dogs
language: en
source: own work
templates: ["a photo of a {}.", "my {}"]
none: {name: something else, prompts: [thing]}
background: [a photo., a picture of nothing in particular]
labels:
  - cat
  - {name: dog, prompts: [dog, puppy], threshold: 0.25}
  - animal/bird/owl
  - AC\\/DC
  - group: weather
    labels: [rain, {name: snow, threshold: 1}]
"""
    label_set = find_label_set(str(write(tmp_path, text)))
    assert label_set == LabelSet(
        name="pets",
        description="Cats and dogs",
        language="en",
        source="own work",
        templates=("a photo of a {}.", "my {}"),
        none=Label("something else", ("thing",)),
        background=("a photo.", "a picture of nothing in particular"),
        labels=(
            Label("cat"),
            Label("dog", ("dog", "puppy"), threshold=0.25),
            Label("animal/bird/owl", ("owl",), ("animal", "bird", "owl")),
            Label("AC/DC"),
            Label("rain", group="weather"),
            Label("snow", threshold=1.0, group="weather"),
        ),
    )


def test_a_text_of_several_lines(tmp_path: Path) -> None:
    text = "description: cats -\n  and dogs - at home\nlabels:\n- a cat\n  at home\n- '-40 degrees'\n- x - y"
    label_set = find_label_set(str(write(tmp_path, text)))
    assert label_set.description == "cats - and dogs - at home"
    assert label_set.names == ("a cat at home", "-40 degrees", "x - y")


@pytest.mark.parametrize("number", ["1e-1", "1.0e-1", ".1", "0.1", "1E-1"])
def test_spellings_of_a_threshold(tmp_path: Path, number: str) -> None:
    (label,) = find_label_set(str(write(tmp_path, f"labels:\n- {{name: a, threshold: {number}}}"))).labels
    assert label.threshold == 0.1


def test_the_smallest_file(tmp_path: Path) -> None:
    label_set = find_label_set(str(write(tmp_path, "labels: [cat]")))
    assert label_set == LabelSet("pets", (Label("cat"),))
    assert label_set.templates is None


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("labels: [no, cat]", 1, "yes/no", '"no"'),
        ("labels:\n- cat\n- 7", 3, "number", '"7"'),
        ("labels: [2020-01-01]", 1, "date", "quote"),
        ("labels:\n- cat\n- ~", 3, "nothing", "quote"),
        ("labels:\n- cat\n-\n", 3, "empty", "remove"),
        ("language: no\nlabels: [katt]", 1, "yes/no", '"no"'),
        ("language: English words\nlabels: [a]", 1, "English words", "en"),
        ("labels:\n\t- cat", 2, "tab", "spaces"),
        ("labels:\n  - cat\n \t- dog", 3, "tab", "spaces"),
        ("name: x\nlabel: [a]", 2, "'label'", "'labels'"),
        ("labels:\n- {name: dog, promts: [x]}", 2, "'promts'", "'prompts'"),
        ("labels:\n- Alien: the film", 2, "'Alien'", "quoted"),
        ("labels:\n- what: a: day", 2, "mapping values", "quote texts"),
        ("name: a\nname: b\nlabels: [a]", 2, "'name'", ""),
        ("labels:\n- a\n- b\n- a", 4, "'a'", "prompts"),
        ("labels:\n- a\n- group: g\n  labels: [b, a]", 4, "'a'", "prompts"),
        ("labels:\n- café\n- cafe\u0301", 3, "twice", ""),
        ("labels:\n- &a cat\n- *a", 2, "anchors", "'a'"),
        ("labels: [!!python/object/apply:os.system [ls]]", 1, "tags", "quote"),
        ("labels: " + "[" * 100_000, 1, "nested", ""),
        ("labels: [a, b", 1, "expected ',' or ']'", "quote"),
        ("labels:\n- a\x00", 2, "0x00", ""),
        ("labels: [@home]", 1, "cannot start any token", "@"),
        ("labels:\n- ? [a]\n  : b", 2, "list", ""),
        ("cat", 1, "keys", "value"),
        ("- cat\n- dog", 1, "keys", "value"),
        ("labels: cat", 1, "list", "labels"),
        ("labels:\n  - [a, b]", 2, "keys", "value"),
        ("labels:\n- {prompts: [x]}", 2, "name", "dog"),
        ("labels:\n- {name: a, prompts: x}", 2, "prompts", "prompts"),
        ("labels:\n- {name: a, prompts: [x, x]}", 2, "'x'", "remove"),
        ("labels:\n- {name: a, prompts: [no]}", 2, "yes/no", "quote"),
        ("labels:\n- {name: a, threshold: high}", 2, "threshold", ""),
        ("labels:\n- {name: a, threshold: 2}", 2, "between", ""),
        ("labels:\n- {name: a, threshold: .nan}", 2, "number", ""),
        ("labels:\n- animal//bat", 2, "level", "\\/"),
        ("labels:\n- /bat", 2, "level", "\\/"),
        ('labels: ["a\\nb"]', 1, "break", ""),
        ("labels: []", 1, "empty", ""),
        ("labels:\n- group: g", 2, "'g'", "labels: ["),
        ("labels:\n- {group: g, labels: [a]}\n- {group: g, labels: [b]}", 3, "'g'", ""),
        ("labels:\n- {group: g, labels: [{group: h, labels: [a]}]}", 2, "group", ""),
        ("templates: [a photo]\nlabels: [a]", 1, "0 times", "photo"),
        ("templates:\n- 'a {}'\n- '{} {}'\nlabels: [a]", 3, "2 times", "{}"),
        ("templates:\n- 'a {}'\n- 'a {}'\nlabels: [a]", 3, "twice", "remove"),
        ("templates:\n- a {}: photo\nlabels: [a]", 2, "text", "quoted"),
        ("templates: a {}\nlabels: [a]", 1, "templates", '["a {}"]'),
        ("templates: photo-77\nlabels: [a]", 1, "'photo-77'", "photo-7"),
        ("include: cifar11\n", 1, "'cifar11'", "cifar10"),
        ("labels: [a]\ninclude: [./x.yaml]\n", 2, "x.yaml", ""),
        ("background: photo\nlabels: [a]", 1, "list", ""),
        ("labels: [a]\n---\nlabels: [b]", 2, "another document", ""),
        ("labels:\n- cat\nlabels:\n", 3, "'labels'", ""),
        ("labels:\n- cat\n- dog\nnone: dog", 4, "'dog'", "remove"),
        (
            "labels:\n- fruit/orange\n- cat\n- color/orange",
            4,
            "'color/orange'",
            "prompts",
        ),
        ("labels: [cat, {name: kitten, prompts: [cat]}]", 1, "'kitten'", ""),
        ("labels: [a/cat]\nnone: cat", 2, "'a/cat'", "prompts"),
        ('labels:\n- {name: a, threshold: "0.5"}', 2, "number", "without quotes: 0.5"),
        ("labels:\n- {name: a, threshold: 5e1}", 2, "50", ""),
        ("labels: []", 1, "empty", "labels"),
        ("labels:\n- dog\n- |\n  a cat\n  at home", 3, "break", "line"),
        ("labels:\n - cat\n   - dog\n", 3, "indented more", "column"),
        ("labels:\n- group: g\n  labels:\n  - a\n  - b\n    - c", 6, "indented more", "column"),
        ("labels:\n- cat\n-dog\n", 3, "dash", '"- dog"'),
        ("labels:\n-cat\n- dog\n", 2, "dash", '"- cat"'),
        ("labels:\n  - cat\n    -big dog\n", 3, "dash", '"- big dog"'),
        ("labels:\n  -cat\n", 2, "dash", '"- cat"'),
        ("labels:\n  -cat\n  -dog\n", 2, "dash", '"- cat"'),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, text: str, line: int, message: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LabelSetError) as caught:
        find_label_set(str(path))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("# only a comment", "empty"),
        ("name: x", "'labels'"),
        ("templates: ['a {}']", "'labels'"),
        ("include: cifar10\nlabels: [x/cat]", "'x/cat'"),
    ],
)
def test_mistakes_of_the_whole_file_name_it(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LabelSetError, match="^" + str(path)) as caught:
        find_label_set(str(path))
    assert message in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_bytes(b"labels:\n- cat\n- \xff\n")
    with pytest.raises(LabelSetError, match=r"pets.yaml:3.*UTF-8"):
        find_label_set(str(path))
    path.write_bytes(b"#" * 10_000_001)
    with pytest.raises(LabelSetError, match="10 MB"):
        find_label_set(str(path))


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_bytes(b"\xef\xbb\xbflabels:\r\n- cat\r\n- dog\r\n")
    assert find_label_set(str(path)).names == ("cat", "dog")


def test_python_label_sets_keep_the_rules_too() -> None:
    with pytest.raises(LabelSetError, match="labels"):
        LabelSet("x", ())
    with pytest.raises(LabelSetError, match="'cat'"):
        LabelSet("x", (Label(" cat"), Label("cat ", prompts=("kitten",))))
    with pytest.raises(LabelSetError, match="empty"):
        Label(" ")
    with pytest.raises(LabelSetError, match="twice"):
        Label("cat", prompts=("kitten", "kitten "))
    with pytest.raises(LabelSetError, match="once"):
        LabelSet("x", (Label("cat"),), templates=("photo",))
    with pytest.raises(LabelSetError, match="template"):
        LabelSet("x", (Label("cat"),), templates=())


def test_templates_are_cleaned() -> None:
    assert clean_template(" a {} ") == "a {}"
    assert clean_templates(["{}", "{ {}"]) == ("{}", "{ {}")
    with pytest.raises(LabelSetError, match=r"'a \{\}'"):
        clean_templates(["a {}", "a {} "])


def test_a_long_text_is_written_so_that_it_reads_again(tmp_path: Path) -> None:
    long = " ".join(["a cat - on the mat -"] * 20 + ["-"])
    label_set = LabelSet("pets", (Label(long), Label("dog", ("dog", long + " dog"))), description=long)
    path = write(tmp_path, to_yaml(label_set))
    assert find_label_set(str(path)) == label_set


def test_parents() -> None:
    labels = (
        Label("animal/dog/beagle", path=("animal", "dog", "beagle")),
        Label("animal/dog", path=("animal", "dog")),
        Label("animal/cat", path=("animal", "cat")),
        Label("car"),
        Label("AC/DC"),
    )
    assert parents(labels, 1) == ("animal", "animal", "animal", "car", "AC/DC")
    assert parents(labels, 2) == ("animal/dog", "animal/dog", "animal/cat", "car", "AC/DC")
    assert parents(labels, 3) == tuple(label.name for label in labels)
    assert LabelSet("x", labels).depth == 3
    with pytest.raises(LabelSetError, match="1"):
        parents(labels, 0)
