import os
import re
from pathlib import Path

import pytest

from clipcli.errors import LabelSetError
from clipcli.labels import library, read
from clipcli.labels.label_set import LabelSet
from clipcli.labels.library import check_file, find_label_set, find_templates, list_label_sets, list_templates
from clipcli.labels.read import TemplateFile
from clipcli.labels.starter import write_starter


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPCLI_CONFIG_DIR", str(tmp_path / "config"))
    folder = tmp_path / "config" / "prompts"
    (folder / "templates").mkdir(parents=True)
    return folder


def test_the_user_folder_is_the_platforms() -> None:
    assert library.user_folder() == Path(os.environ["XDG_CONFIG_HOME"]) / "clipcli" / "prompts"


def test_own_sets_come_before_built_in_ones(user: Path) -> None:
    (user / "cifar10.yaml").write_text("labels: [mine]")
    (user / "extra.yml").write_text("labels: [more]")
    (user / "notes.txt").write_text("no label set")
    assert find_label_set("cifar10").names == ("mine",)
    assert find_label_set("extra").names == ("more",)
    entries = {entry.name: entry for entry in list_label_sets()}
    assert not entries["cifar10"].built_in
    assert entries["cifar100"].built_in
    assert "notes" not in entries
    assert list(entries) == sorted(entries)


def test_a_wheel_has_the_files_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = tmp_path / "prompts"
    inside = tmp_path / "clipcli" / "prompts"
    beside.mkdir()
    (tmp_path / "clipcli").mkdir()
    monkeypatch.setattr(library.resources, "files", lambda package: tmp_path / package)
    assert library.built_in_folder() == beside
    inside.mkdir()
    assert library.built_in_folder() == inside


def test_a_path_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10.yaml").write_text("labels: [here]")
    monkeypatch.chdir(tmp_path)
    assert find_label_set("cifar10.yaml").names == ("here",)
    assert find_label_set("./cifar10.yaml").names == ("here",)
    assert len(find_label_set("cifar10").labels) == 10
    with pytest.raises(LabelSetError, match=r"cifar11.yaml"):
        find_label_set("cifar11.yaml")
    with pytest.raises(LabelSetError) as caught:
        find_label_set("cifar100.yaml")
    assert "cifar100" in (caught.value.hint or "")


def test_a_typo_names_the_nearest(user: Path) -> None:
    with pytest.raises(LabelSetError, match="'cifar1'") as caught:
        find_label_set("cifar1")
    assert "cifar10" in str(caught.value.hint)
    with pytest.raises(LabelSetError, match="'xyzzy'") as caught:
        find_label_set("xyzzy")
    assert "imagenet-1k" in str(caught.value.hint)
    with pytest.raises(LabelSetError, match="'photo-8'") as caught:
        find_templates("photo-8")
    assert "photo-7" in str(caught.value.hint)


def test_templates_by_name(user: Path) -> None:
    (user / "x.yaml").write_text("templates: photo-7\nlabels: [a]")
    (user / "y.yaml").write_text("templates: ./own.yaml\nlabels: [a]")
    (user / "own.yaml").write_text("templates: ['see {}']")
    assert find_label_set("x").templates == find_templates("photo-7").templates
    assert len(find_label_set("x").templates or ()) == 7
    assert find_label_set("y").templates == ("see {}",)
    (user / "templates" / "photo-7.yaml").write_text("templates: ['mine {}']")
    assert find_label_set("x").templates == ("mine {}",)
    assert [entry.built_in for entry in list_templates() if entry.name == "photo-7"] == [False]


def test_include_takes_labels_and_nothing_else(user: Path) -> None:
    (user / "a.yaml").write_text("templates: ['a {}']\nnone: z\nlabels: [one, {name: two, prompts: [zwei]}]")
    (user / "b.yaml").write_text("include: a\nlabels: [three, two]")
    (user / "c.yaml").write_text("include: [a, ./b.yaml, cifar10]\ntemplates: ['c {}']")
    b = find_label_set("b")
    assert b.names == ("one", "two", "three")
    assert b.labels[1].prompts == ("two",)  # the file's own label takes the place of the included one
    assert b.templates is None
    assert b.none is None
    c = find_label_set("c")
    assert c.names[:4] == ("one", "two", "three", "airplane")
    assert len(c.labels) == 13


def test_relative_paths_count_from_the_file(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sets" / "deep").mkdir(parents=True)
    (tmp_path / "sets" / "top.yaml").write_text("include: deep/middle.yaml")
    (tmp_path / "sets" / "deep" / "middle.yaml").write_text("include: ../base.yaml")
    (tmp_path / "sets" / "base.yaml").write_text("labels: [base]")
    monkeypatch.chdir(tmp_path / "sets" / "deep")
    assert find_label_set("../top.yaml").names == ("base",)


def test_a_circle_is_refused(user: Path) -> None:
    (user / "a.yaml").write_text("labels: [x]\ninclude: b")
    (user / "b.yaml").write_text("include: a")
    with pytest.raises(LabelSetError, match=r"b.yaml:1.*a.yaml ->.*b.yaml ->.*a.yaml"):
        find_label_set("a")
    (user / "c.yaml").write_text("include: c.yaml")
    with pytest.raises(LabelSetError, match=r"c.yaml:1: .* circle"):
        find_label_set("c")


def test_an_own_set_may_extend_the_built_in_one_of_its_name(user: Path) -> None:
    (user / "cifar10.yaml").write_text("include: cifar10\nlabels: [mine]")
    names = find_label_set("cifar10").names
    assert names[0] == "airplane"
    assert names[-1] == "mine"
    assert len(names) == 11


def test_an_error_in_an_included_file_names_that_file(user: Path) -> None:
    (user / "a.yaml").write_text("labels: [x]\ninclude: b")
    (user / "b.yaml").write_text("labels: [y,\n  no]")
    with pytest.raises(LabelSetError, match=r"b.yaml:2.*yes/no"):
        find_label_set("a")


def test_check_file_supports_both_kinds(user: Path) -> None:
    (user / "a.yaml").write_text("labels: [x]")
    (user / "t.yaml").write_text("templates: ['see {}']")
    assert isinstance(check_file(str(user / "a.yaml")), LabelSet)
    assert isinstance(check_file("a"), LabelSet)
    assert isinstance(check_file(str(user / "t.yaml")), TemplateFile)
    assert isinstance(check_file("photo-7"), TemplateFile)
    with pytest.raises(LabelSetError, match="'photo-8'"):
        check_file("photo-8")


def test_the_starter_is_a_valid_label_set(user: Path, tmp_path: Path) -> None:
    assert write_starter("mine") == user / "mine.yaml"
    label_set = find_label_set("mine")
    assert {"no", "7", "bird/owl"} <= set(label_set.names)
    assert label_set.templates == ("a photo of a {}.", "a close-up of a {}.")
    text = (user / "mine.yaml").read_text()
    # Whatever is commented out must be right too, once the "# " is gone.
    for line in ("# include: [pets]", "# none: something else", "# background: ["):
        assert line in text
        text = text.replace(line, line[2:])
    text = text.replace("  # - group: weather\n  #   labels", "  - group: weather\n    labels")
    (user / "mine.yaml").write_text(text)
    full = find_label_set("mine")
    assert full.none is not None
    assert len(full.background) == 2
    assert [label.name for label in full.labels if label.group == "weather"] == ["rain", "snow"]


def test_the_starter_overwrites_nothing(user: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    assert write_starter(str(tmp_path / "labels")) == path
    path.write_text("mine")
    with pytest.raises(LabelSetError, match="exists"):
        write_starter(str(path))
    assert path.read_text() == "mine"
    with pytest.raises(Exception, match="written"):
        write_starter(str(tmp_path / "nowhere" / "x.yaml"))


MAN_PAGE = Path(__file__).parents[2] / "man" / "clip-labels.5"


def test_the_man_page_names_every_key() -> None:
    text = MAN_PAGE.read_text(encoding="utf-8")
    for key in (*read.SET_KEYS, *read.TEMPLATE_KEYS, *read.LABEL_KEYS, *read.GROUP_KEYS):
        assert re.search(rf"^\.(It|)\s?Cm .*\b{key}\b|\{{[^}}]*\b{key}:", text, re.MULTILINE), key


def test_the_label_sets_of_the_man_page_are_valid(tmp_path: Path) -> None:
    page = re.sub(r"\\\[u([0-9A-F]{4})\]", lambda match: chr(int(match[1], 16)), MAN_PAGE.read_text(encoding="utf-8"))
    examples = [text for text in re.findall(r"\.Bd -literal.*?\n(.*?)\n\.Ed", page, re.DOTALL) if "labels:" in text]
    assert len(examples) == 5
    for number, text in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        assert find_label_set(str(path)).labels


def test_a_file_that_many_include_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.yaml").write_text("labels: [cat, dog]\n")
    for level in range(1, 15):
        (tmp_path / f"{level}.yaml").write_text(f"include: {[f'./{level - 1}.yaml'] * 4}\nlabels: [label {level}]\n")
    reads = []
    monkeypatch.setattr(library, "read_label_file", lambda path: (reads.append(path), read.read_label_file(path))[1])
    assert len(find_label_set(str(tmp_path / "14.yaml")).labels) == 16
    assert len(reads) == 15


def test_includes_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text("labels: [cat, dog]\n")
    for level in range(1, 40):
        (tmp_path / f"{level}.yaml").write_text(f"include: [./{level - 1}.yaml]\nlabels: [label {level}]\n")
    with pytest.raises(LabelSetError, match="deep"):
        find_label_set(str(tmp_path / "39.yaml"))
