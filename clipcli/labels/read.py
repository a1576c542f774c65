"""The format of label-set and template files, as man/clip-labels.5 documents it.

Turns one file into plain data and says file and line of whatever breaks the rules. It follows no reference to other
files: the library does.
"""

import glob
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipcli.errors import LabelSetError
from clipcli.labels.calibration import Calibration, read_calibration
from clipcli.labels.label_set import Label, clean_template, clean_text
from clipcli.labels.teaching import Teaching, read_teaching
from clipcli.labels.yaml_nodes import Node, load

_ABOUT_KEYS = ("name", "description", "language", "source")
SET_KEYS = (*_ABOUT_KEYS, "include", "concept", "templates", "labels", "none", "background", "calibration", "taught")
TEMPLATE_KEYS = (*_ABOUT_KEYS, "templates")
LABEL_KEYS = ("name", "prompts", "descriptors", "examples", "threshold", "id")
GROUP_KEYS = ("group", "labels")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LEVELS = re.compile(r"(?<!\\)/")


@dataclass(frozen=True)
class Reference:
    """What a file calls another one, the place where it does, and the folder that a relative path counts from."""

    name: str
    place: str
    folder: Path


@dataclass(frozen=True)
class LabelFile:
    """One label-set file, its references not yet followed."""

    name: str
    description: str
    language: str | None
    source: str
    include: tuple[Reference, ...]
    templates: tuple[str, ...] | Reference | None
    labels: tuple[Label, ...]
    none: Label | None
    background: tuple[str, ...]
    concept: str | None
    calibration: Calibration | None
    teaching: Teaching | None


@dataclass(frozen=True)
class TemplateFile:
    """One file of templates."""

    name: str
    description: str
    language: str | None
    source: str
    templates: tuple[str, ...]


def read_label_file(path: Path) -> LabelFile:
    """Read and check one label-set file.

    Raises:
        LabelSetError: With file and line, if it breaks a rule of the format.
    """
    root = load(path)
    fields = root.fields(SET_KEYS, "a label set")
    if "labels" not in fields and "include" not in fields:
        hint = None
        if "templates" in fields:
            hint = f"this file holds templates only; a label set uses it through `templates: {path.stem}`"
        raise LabelSetError(f"{path}: key 'labels' is missing", hint=hint)
    about = {key: _text(fields, key) for key in _ABOUT_KEYS}
    labels = _Labels()
    if "labels" in fields:
        labels.read(fields["labels"])
    none = _label(fields["none"], None) if "none" in fields else None
    if none is not None:
        labels.claim(fields["none"], none)
    return LabelFile(
        name=about["name"] or path.stem,
        description=about["description"],
        language=_language(fields),
        source=about["source"],
        include=_references(fields["include"], path.parent) if "include" in fields else (),
        templates=_templates(fields["templates"], path.parent) if "templates" in fields else None,
        labels=tuple(labels.found),
        none=none,
        background=_unique(fields["background"], "background", clean_text) if "background" in fields else (),
        concept=_text(fields, "concept") or None,
        calibration=read_calibration(fields["calibration"]) if "calibration" in fields else None,
        teaching=read_teaching(fields["taught"]) if "taught" in fields else None,
    )


def read_template_file(path: Path) -> TemplateFile:
    """Read and check one file of templates.

    Raises:
        LabelSetError: With file and line, if it breaks a rule of the format.
    """
    root = load(path)
    fields = root.fields(TEMPLATE_KEYS, "a template file")
    if "templates" not in fields:
        raise LabelSetError(f"{path}: key 'templates' is missing")
    return TemplateFile(
        name=_text(fields, "name") or path.stem,
        description=_text(fields, "description"),
        language=_language(fields),
        source=_text(fields, "source"),
        templates=_template_list(fields["templates"]),
    )


def is_template_file(path: Path) -> bool:
    """Whether a file holds templates but neither labels nor the name of a set to include.

    Raises:
        LabelSetError: If it is no YAML.
    """
    keys = load(path).keys
    return "templates" in keys and not keys & {"labels", "include"}


class _Labels:
    """The labels of a file, as they are found; remembers lines so that a repetition can name both."""

    def __init__(self) -> None:
        self.found: list[Label] = []
        self._lines: dict[str, int] = {}
        self._prompts: dict[frozenset[str], str] = {}
        self._groups: dict[str, int] = {}
        self._ids: dict[str, str] = {}

    def read(self, node: Node) -> None:
        """Take every entry of a `labels:` list."""
        for item in node.items("labels"):
            if "group" in item.keys:
                self._read_group(item)
            else:
                self._add(item, None)
        if not self.found:
            raise node.error("labels is empty", hint="give at least one: labels: [cat, dog]")

    def _read_group(self, node: Node) -> None:
        fields = node.fields(GROUP_KEYS, "a group")
        group = _clean(fields["group"], "group")
        line = node.yaml.start_mark.line + 1
        if group in self._groups:
            raise node.error(f"group {group!r} is there twice, first on line {self._groups[group]}")
        self._groups[group] = line
        if "labels" not in fields:
            raise node.error(f"group {group!r} has no labels", hint="- {group: weather, labels: [rain, snow]}")
        for item in fields["labels"].items("labels"):
            if "group" in item.keys:
                raise item.error("a group cannot hold another group")
            self._add(item, group)

    def _add(self, node: Node, group: str | None) -> None:
        label = _label(node, group)
        self.claim(node, label)
        self.found.append(label)

    def claim(self, node: Node, label: Label) -> None:
        """Refuse a label whose name, id or prompts an earlier one has; both lines are named."""
        if label.name in self._lines:
            raise node.error(
                f"label {label.name!r} is there twice, first on line {self._lines[label.name]}",
                hint="remove one; list several wordings of one label as its prompts",
            )
        other = self._prompts.setdefault(frozenset(label.prompts), label.name)
        if other != label.name and not label.wordless:
            raise node.error(
                f"label {label.name!r} has the same prompts as {other!r} on line {self._lines[other]}, so nothing "
                "could tell them apart",
                hint="change the text of one of them, as in {name: color/orange, prompts: [the color orange]}",
            )
        if label.id is not None and self._ids.setdefault(label.id, label.name) != label.name:
            other = self._ids[label.id]
            raise node.error(f"label {label.name!r} has the id of {other!r} on line {self._lines[other]}")
        self._lines[label.name] = node.yaml.start_mark.line + 1


def _label(node: Node, group: str | None) -> Label:
    """Read `cat`, `animal/cat` or `{name: cat, prompts: [...], threshold: 0.4}`."""
    fields = {"name": node} if node.is_text else node.fields(LABEL_KEYS, "a label")
    if "name" not in fields:
        raise node.error("a label needs a name", hint="{name: dog, prompts: [dog, puppy]}")
    levels = [level.replace("\\/", "/") for level in _LEVELS.split(_clean(fields["name"], "label"))]
    if not all(level.strip() for level in levels):
        hint = r"levels are separated by single slashes: animal/dog; a slash that separates nothing is written \/"
        raise node.error("a level of this label is empty", hint=hint)
    path = tuple(level.strip() for level in levels)
    wordless = "prompts" in fields and fields["prompts"].is_list and not fields["prompts"].items("prompts")
    prompts = _unique(fields["prompts"], "prompts", clean_text) if "prompts" in fields and not wordless else ()
    examples = _examples(fields["examples"]) if "examples" in fields else ()
    if wordless and not examples:
        raise fields["prompts"].error("prompts is empty", hint="remove the key, or give at least one, or examples")
    descriptors = _unique(fields["descriptors"], "descriptors", clean_text) if "descriptors" in fields else ()
    threshold = fields["threshold"].number("threshold") if "threshold" in fields else None
    try:
        return Label(
            "/".join(path),
            prompts,
            path,
            threshold,
            group,
            _text(fields, "id") or None,
            descriptors,
            examples,
            wordless,
        )
    except LabelSetError as error:
        raise node.error(str(error), hint=error.hint) from error


def _examples(node: Node) -> tuple[str, ...]:
    """Read paths and globs; relative ones count from the folder of the file."""
    items = [node] if node.is_text else node.items("examples")
    if not items:
        raise node.error("examples is empty", hint="remove the key, or name images: examples: [rex/*.jpg]")
    return tuple(_located(node.file, _clean(item, "an example")) for item in items)


def _located(file: str, path: str) -> str:
    """The path of an example; signs in the name of the folder are no glob."""
    folder, own = os.path.dirname(os.path.abspath(file)), os.path.expanduser(path)
    place = os.path.join(folder, own)
    if os.path.exists(place) or not glob.has_magic(own):
        return place
    return os.path.join(glob.escape(folder), own)


def _text(fields: dict[str, Node], key: str) -> str:
    return _clean(fields[key], key) if key in fields else ""


def _clean(node: Node, what: str) -> str:
    try:
        return clean_text(node.text(what), what)
    except LabelSetError as error:
        raise _placed(node, error) from error


def _placed(node: Node, error: LabelSetError) -> LabelSetError:
    """Begin a message with file and line, unless it already does."""
    return error if str(error).startswith(f"{node.file}:") else node.error(str(error), hint=error.hint)


def _language(fields: dict[str, Node]) -> str | None:
    language = _text(fields, "language")
    if language and not _LANGUAGE.fullmatch(language):
        raise fields["language"].error(f"{language!r} is not a language tag", hint="write en, zh, pt-BR ...")
    return language or None


def _references(node: Node, folder: Path) -> tuple[Reference, ...]:
    items = [node] if node.is_text else node.items("include")
    return tuple(Reference(_clean(item, "include"), item.place, folder) for item in items)


def _templates(node: Node, folder: Path) -> tuple[str, ...] | Reference:
    """Read a list of templates, or the name of a template file."""
    if not node.is_text:
        return _template_list(node)
    name = _clean(node, "templates")
    if "{}" in name:
        raise node.error("templates must be a list", hint=f'templates: ["{name}"]')
    return Reference(name, node.place, folder)


def _template_list(node: Node) -> tuple[str, ...]:
    return _unique(node, "templates", lambda text, _: clean_template(text))


def _unique(node: Node, what: str, clean: Callable[[str, str], str]) -> tuple[str, ...]:
    """Read a list of texts of which none may come twice."""
    lines: dict[str, int] = {}
    for item in node.items(what):
        try:
            text = clean(item.text(what), what)
        except LabelSetError as error:
            raise _placed(item, error) from error
        if text in lines:
            raise item.error(f"{text!r} is there twice, first on line {lines[text]}", hint="remove one of the two")
        lines[text] = item.yaml.start_mark.line + 1
    if not lines:
        raise node.error(f"{what} is empty", hint="remove the key, or give at least one")
    return tuple(lines)
