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
        ("labels: [no, cat]", 1, "no is a yes/no value", 'quote it: "no"'),
        ("labels:\n- cat\n- 7", 3, "7 is a number", 'quote it: "7"'),
        ("labels: [2020-01-01]", 1, "is a date", "quote it"),
        ("labels:\n- cat\n- ~", 3, "nothing", 'quote it: "~"'),
        ("labels:\n- cat\n-\n", 3, "label is empty", "remove the line"),
        ("language: no\nlabels: [katt]", 1, "language no is a yes/no", 'quote it: "no"'),
        ("language: English words\nlabels: [a]", 1, "English words", "en"),
        ("labels:\n\t- cat", 2, "a tab", "spaces"),
        ("labels:\n  - cat\n \t- dog", 3, "a tab", "spaces"),
        ("name: x\nlabel: [a]", 2, "unknown key 'label'", "'labels'"),
        ("labels:\n- {name: dog, promts: [x]}", 2, "unknown key 'promts'", "'prompts'"),
        ("labels:\n- Alien: the film", 2, "unknown key 'Alien'", "quoted"),
        ("labels:\n- what: a: day", 2, "mapping values", "quote texts"),
        ("name: a\nname: b\nlabels: [a]", 2, "'name' is there twice, first on line 1", ""),
        ("labels:\n- a\n- b\n- a", 4, "label 'a' is there twice, first on line 2", "prompts"),
        ("labels:\n- a\n- group: g\n  labels: [b, a]", 4, "label 'a' is there twice, first on line 2", "prompts"),
        ("labels:\n- café\n- cafe\u0301", 3, "is there twice", ""),
        ("labels:\n- &a cat\n- *a", 2, "anchors", "'a'"),
        ("labels: [!!python/object/apply:os.system [ls]]", 1, "tags", "quote"),
        ("labels: " + "[" * 100_000, 1, "nested too deep", ""),
        ("labels: [a, b", 1, "expected ',' or ']'", "quote"),
        ("labels:\n- a\x00", 2, "a control character, byte 0x00", ""),
        ("labels: [@home]", 1, "cannot start any token", "@"),
        ("labels:\n- ? [a]\n  : b", 2, "key must be a text, not a list", ""),
        ("cat", 1, "must hold keys", "key: value"),
        ("- cat\n- dog", 1, "must hold keys", "key: value"),
        ("labels: cat", 1, "labels must be a list", "labels: [one, two]"),
        ("labels:\n  - [a, b]", 2, "a label must hold keys", "key: value"),
        ("labels:\n- {prompts: [x]}", 2, "needs a name", "name: dog"),
        ("labels:\n- {name: a, prompts: x}", 2, "prompts must be a list", "prompts: [one, two]"),
        ("labels:\n- {name: a, prompts: [x, x]}", 2, "'x' is there twice", "remove"),
        ("labels:\n- {name: a, prompts: [no]}", 2, "yes/no", "quote"),
        ("labels:\n- {name: a, threshold: high}", 2, "threshold must be a number", ""),
        ("labels:\n- {name: a, threshold: 2}", 2, "between 0 and 1", ""),
        ("labels:\n- {name: a, threshold: .nan}", 2, "must be a number", ""),
        ("labels:\n- animal//bat", 2, "a level of this label is empty", "\\/"),
        ("labels:\n- /bat", 2, "a level of this label is empty", "\\/"),
        ('labels: ["a\\nb"]', 1, "line break", ""),
        ("labels: []", 1, "labels is empty", ""),
        ("labels:\n- group: g", 2, "group 'g' has no labels", "labels: ["),
        ("labels:\n- {group: g, labels: [a]}\n- {group: g, labels: [b]}", 3, "group 'g' is there twice", ""),
        ("labels:\n- {group: g, labels: [{group: h, labels: [a]}]}", 2, "cannot hold another group", ""),
        ("templates: [a photo]\nlabels: [a]", 1, "exactly once, not 0 times", "a photo of a {}."),
        ("templates:\n- 'a {}'\n- '{} {}'\nlabels: [a]", 3, "exactly once, not 2 times", "{}"),
        ("templates:\n- 'a {}'\n- 'a {}'\nlabels: [a]", 3, "is there twice, first on line 2", "remove"),
        ("templates:\n- a {}: photo\nlabels: [a]", 2, "must be a text, not a mapping", "quoted"),
        ("templates: a {}\nlabels: [a]", 1, "templates must be a list", '["a {}"]'),
        ("templates: photo-77\nlabels: [a]", 1, "no template file is named 'photo-77'", "photo-7"),
        ("include: cifar11\n", 1, "no label set is named 'cifar11'", "cifar10"),
        ("labels: [a]\ninclude: [./x.yaml]\n", 2, "x.yaml: no such file", ""),
        ("background: photo\nlabels: [a]", 1, "background must be a list", ""),
        ("labels: [a]\n---\nlabels: [b]", 2, "another document", ""),
        ("labels:\n- cat\nlabels:\n", 3, "'labels' is there twice, first on line 1", ""),
        ("labels:\n- cat\n- dog\nnone: dog", 4, "label 'dog' is there twice, first on line 3", "remove one"),
        (
            "labels:\n- fruit/orange\n- cat\n- color/orange",
            4,
            "'color/orange' has the same prompts as 'fruit/orange' on line 2",
            "prompts: [",
        ),
        ("labels: [cat, {name: kitten, prompts: [cat]}]", 1, "'kitten' has the same prompts as 'cat' on line 1", ""),
        ("labels: [a/cat]\nnone: cat", 2, "'cat' has the same prompts as 'a/cat' on line 1", "prompts: ["),
        ('labels:\n- {name: a, threshold: "0.5"}', 2, "must be a number", "without quotes: 0.5"),
        ("labels:\n- {name: a, threshold: 5e1}", 2, "between 0 and 1, not 50", ""),
        ("labels: []", 1, "labels is empty", "labels: [cat, dog]"),
        ("labels:\n- dog\n- |\n  a cat\n  at home", 3, "holds a line break", "on one line"),
        ("labels:\n - cat\n   - dog\n", 3, "the dash stands further in than that of line 2", "one column"),
        ("labels:\n- group: g\n  labels:\n  - a\n  - b\n    - c", 6, "further in than that of line 5", "one column"),
        ("labels:\n- cat\n-dog\n", 3, "no space after the dash", '"- dog"'),
        ("labels:\n-cat\n- dog\n", 2, "no space after the dash", '"- cat"'),
        ("labels:\n  - cat\n    -big dog\n", 3, "no space after the dash", '"- big dog"'),
        ("labels:\n  -cat\n", 2, "no space after the dash", '"- cat"'),
        ("labels:\n  -cat\n  -dog\n", 2, "no space after the dash", '"- cat"'),
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
        ("", "the file is empty"),
        ("# only a comment", "the file is empty"),
        ("name: x", "key 'labels' is missing"),
        ("templates: ['a {}']", "key 'labels' is missing"),
        ("include: cifar10\nlabels: [x/cat]", "'cat' and 'x/cat' have the same prompts"),
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
    with pytest.raises(LabelSetError, match=r"pets.yaml:3: not UTF-8"):
        find_label_set(str(path))
    path.write_bytes(b"#" * 10_000_001)
    with pytest.raises(LabelSetError, match="larger than 10 MB"):
        find_label_set(str(path))


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "pets.yaml"
    path.write_bytes(b"\xef\xbb\xbflabels:\r\n- cat\r\n- dog\r\n")
    assert find_label_set(str(path)).names == ("cat", "dog")


def test_python_label_sets_keep_the_rules_too() -> None:
    with pytest.raises(LabelSetError, match="no labels"):
        LabelSet("x", ())
    with pytest.raises(LabelSetError, match="'cat' is there twice"):
        LabelSet("x", (Label(" cat"), Label("cat ", prompts=("kitten",))))
    with pytest.raises(LabelSetError, match="label is empty"):
        Label(" ")
    with pytest.raises(LabelSetError, match="same prompt twice"):
        Label("cat", prompts=("kitten", "kitten "))
    with pytest.raises(LabelSetError, match="exactly once"):
        LabelSet("x", (Label("cat"),), templates=("photo",))
    with pytest.raises(LabelSetError, match="no template"):
        LabelSet("x", (Label("cat"),), templates=())


def test_templates_are_cleaned() -> None:
    assert clean_template(" a {} ") == "a {}"
    assert clean_templates(["{}", "{ {}"]) == ("{}", "{ {}")
    with pytest.raises(LabelSetError, match=r"'a \{\}' is there twice"):
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
    with pytest.raises(LabelSetError, match="1 or more"):
        parents(labels, 0)
