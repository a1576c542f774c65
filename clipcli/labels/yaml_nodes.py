"""YAML as a tree of nodes that know their line, so that every complaint can name one.

No Python object is ever constructed from the file: it is composed into nodes and read as text, lists and mappings.
Anchors, aliases and tags are refused, which leaves nothing to expand and nothing to execute.

No library does this for the format: StrictYAML has no `{name: ..., prompts: [...]}`, and ruamel.yaml takes 0.27 s for
the labels of ImageNet, which PyYAML's parser in C reads in 4 ms.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from clipcli.errors import LabelSetError

MAX_BYTES = 10_000_000
MAX_DEPTH = 16
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is about ten times faster, where it is built in
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DASH_WITHOUT_SPACE = re.compile(r"\s*-(?=[^\s-])")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TYPE_NAMES = {
    "bool": "a yes/no value",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}


@dataclass(frozen=True)
class Node:
    """One value of a YAML file and the place it stands at."""

    file: str
    yaml: yaml.Node

    @property
    def place(self) -> str:
        """`file:line`, lines counted from 1."""
        return f"{self.file}:{self.yaml.start_mark.line + 1}"

    def error(self, message: str, hint: str | None = None) -> LabelSetError:
        """Make an error that begins with the place."""
        return LabelSetError(f"{self.place}: {message}", hint=hint)

    @property
    def is_text(self) -> bool:
        """Whether this is a single value, neither list nor mapping."""
        return isinstance(self.yaml, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        """Whether this is a list."""
        return isinstance(self.yaml, yaml.SequenceNode)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of a mapping; empty for anything else."""
        if not isinstance(self.yaml, yaml.MappingNode):
            return frozenset()
        return frozenset(key.value for key, _ in self.yaml.value if isinstance(key, yaml.ScalarNode))

    def text(self, what: str) -> str:
        """Return a string.

        Raises:
            LabelSetError: If it is a list or mapping, or a word that YAML takes for something else (`no`, `7`).
        """
        if not isinstance(self.yaml, yaml.ScalarNode):
            kind = "a list" if self.is_list else "a mapping"
            hint = "a text that holds a colon and a space, or begins with [ or {, must be quoted"
            raise self.error(f"{what} must be a text, not {kind}", hint=hint)
        value: str = self.yaml.value
        type_name = self.yaml.tag.rpartition(":")[2]
        if type_name == "null" and not value:
            raise self.error(f"{what} is empty", hint=f"write {what} after it, or remove the line")
        if type_name != "str":
            meaning = _TYPE_NAMES.get(type_name, "something else than text")
            raise self.error(f"{what} {value} is {meaning} to YAML, not a text", hint=f'quote it: "{value}"')
        return value

    def number(self, what: str) -> float:
        """Return a number.

        Raises:
            LabelSetError: If it is anything else.
        """
        hint = None
        if isinstance(self.yaml, yaml.ScalarNode) and _NUMBER.fullmatch(self.yaml.value):
            if not self.yaml.style:
                return float(self.yaml.value)  # 1e-3 too, which YAML takes for a text
            hint = f"write it without quotes: {self.yaml.value}"
        raise self.error(f"{what} must be a number, such as 0.5", hint=hint)

    def items(self, what: str) -> list["Node"]:
        """Return the members of a list.

        Raises:
            LabelSetError: If it is not a list.
        """
        if not isinstance(self.yaml, yaml.SequenceNode):
            node = self.yaml
            if isinstance(node, yaml.ScalarNode) and not node.style and _DASH_WITHOUT_SPACE.match(node.value):
                raise _no_space_after_dash(self.file, node.start_mark.line + 1, node.value)
            raise self.error(f"{what} must be a list", hint=f'"{what}: [one, two]", or one per line after "- "')
        return [Node(self.file, node) for node in self.yaml.value]

    def fields(self, known: Sequence[str], what: str) -> dict[str, "Node"]:
        """Return the values of a mapping by their keys.

        Raises:
            LabelSetError: If it is not a mapping, a key is repeated, or a key is not among the known ones.
        """
        if not isinstance(self.yaml, yaml.MappingNode):
            raise self.error(f"{what} must hold keys ({', '.join(known)})", hint='write "key: value", one per line')
        fields: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in self._pairs():
            name = key.text("key")
            if name not in known:
                raise key.error(f"unknown key {name!r}", hint=_nearest(name, known))
            if name in fields:
                raise key.error(f"key {name!r} is there twice, first on line {lines[name]}")
            fields[name] = value
            lines[name] = key.yaml.start_mark.line + 1
        return fields

    def _pairs(self) -> Iterator[tuple["Node", "Node"]]:
        for key, value in self.yaml.value:
            yield Node(self.file, key), Node(self.file, value)


def load(path: Path) -> Node:
    """Read one YAML file.

    Raises:
        LabelSetError: If it cannot be read, is not UTF-8, is no YAML, or uses anchors, aliases, tags or deep nesting.
    """
    file = str(path)
    text = _read_text(path)
    try:
        _refuse_tricks(text, file)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _syntax_error(error, file, text) from error
    if root is None:
        raise LabelSetError(f"{file}: the file is empty", hint="`clip labels new FILE` writes one to start from")
    return Node(file, root)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise LabelSetError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise LabelSetError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB, which no label set is")
    control = _CONTROL.search(data)
    if control is not None:
        place = f"{path}:{_line_of(control.start(), data)}"
        raise LabelSetError(
            f"{place}: a control character, byte {control[0][0]:#04x}", hint="save the file as UTF-8 text"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line_of(error.start, data)
        raise LabelSetError(f"{path}:{line}: not UTF-8 text", hint="save the file as UTF-8") from error


def _line_of(position: int, data: bytes) -> int:
    return data.count(b"\n", 0, position) + 1


def _refuse_tricks(text: str, file: str) -> None:
    """Look through the events first: composing is what expands aliases and recurses."""
    depth = 0
    lines = text.splitlines()
    for event in yaml.parse(text, Loader=_Loader):
        place = f"{file}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise LabelSetError(f"{place}: nested too deep for a label set")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise LabelSetError(
                f"{place}: anchors (&) and aliases (*) are not part of the format",
                hint=f"quote a text that begins with & or *, or write out what {event.anchor!r} stands for",
            )
        if getattr(event, "tag", None) is not None:
            raise LabelSetError(f"{place}: tags (!) are not part of the format", hint="quote a text that begins with !")
        if isinstance(event, yaml.ScalarEvent) and not event.style:
            _refuse_joined_entries(event, lines, file)


def _refuse_joined_entries(text: yaml.ScalarEvent, lines: Sequence[str], file: str) -> None:
    """Refuse list entries that YAML joins into one text because a dash stands in the wrong column or lacks a space."""
    if text.start_mark is None or text.end_mark is None or text.start_mark.line == text.end_mark.line:
        return
    first = text.start_mark.line
    for number in range(first, text.end_mark.line + 1):
        if _DASH_WITHOUT_SPACE.match(lines[number]):
            raise _no_space_after_dash(file, number + 1, lines[number])
        if number > first and lines[number].lstrip().startswith("- "):
            raise LabelSetError(
                f"{file}:{number + 1}: the dash is indented more than that of line {first + 1}, so YAML joins the two",
                hint="begin the entries of a list in one column, or quote a text of several lines",
            )


def _no_space_after_dash(file: str, number: int, line: str) -> LabelSetError:
    hint = f'write "- {line.strip()[1:]}", or quote a text that begins with a dash'
    return LabelSetError(f"{file}:{number}: no space after the dash", hint=hint)


def _syntax_error(error: yaml.YAMLError, file: str, text: str) -> LabelSetError:
    """Say where YAML gave up and, for the usual mistakes, what to write."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return LabelSetError(f"{file}: {' '.join(str(error).split())}")
    lines = text.splitlines()
    number = min(mark.line, len(lines) - 1)  # an unclosed bracket is noticed behind the last line
    line = lines[number]
    problem = getattr(error, "problem", None) or "not valid YAML"
    for suspect in (number, number - 1):  # YAML may only give up at the next line
        if suspect >= 0 and _DASH_WITHOUT_SPACE.match(lines[suspect]):
            return _no_space_after_dash(file, suspect + 1, lines[suspect])
    place = f"{file}:{number + 1}"
    if line[: len(line) - len(line.lstrip())].count("\t") or line[mark.column : mark.column + 1] == "\t":
        return LabelSetError(f"{place}: a tab, which YAML does not allow for indentation", hint="use spaces")
    hint = "quote texts that hold ': ', ' #' or '\"', or begin with one of [ ] { } , & * ! | > % @ `"
    return LabelSetError(f"{place}: {problem}", hint=hint)


def _nearest(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"known keys: {', '.join(known)}; a text that holds ': ' must be quoted"
