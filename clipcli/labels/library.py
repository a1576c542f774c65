"""Where label sets and templates lie, and how one is found by its name.

The user's folder comes first, so that a file of one's own takes the place of a built-in one of the same name.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from clipcli.errors import LabelSetError
from clipcli.files import settings_folder
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.parse import LIST_SUFFIXES
from clipcli.labels.read import Reference, TemplateFile, is_template_file, read_label_file, read_template_file

_SUFFIXES = (".yaml", ".yml")
_DEEPEST = 16  # files that include one another


@dataclass(frozen=True)
class Entry:
    """One file of the library: the name that finds it, and whether it is the user's own."""

    name: str
    path: Path
    built_in: bool


def user_folder() -> Path:
    """Return the folder of the user's own label sets; its `templates` subfolder holds template files."""
    return settings_folder() / "prompts"


def built_in_folder() -> Path:
    """Return the folder of the built-in label sets.

    A wheel has it inside the package; an editable install or a checkout has it beside the package.
    """
    package = Path(str(resources.files("clipcli")))
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def list_label_sets() -> list[Entry]:
    """List the label sets found by name, sorted; a user's file hides the built-in one of the same name."""
    return _entries("")


def list_templates() -> list[Entry]:
    """List the template files found by name, sorted, under the same rule."""
    return _entries("templates")


def find_label_set(name_or_path: str) -> LabelSet:
    """Read a label set by its name, or by its path if it ends in .yaml or .yml or holds a separator.

    Raises:
        LabelSetError: If there is none (with the nearest names), or the file breaks a rule (with file and line).
    """
    return _resolve(_find(name_or_path, "label set", list_label_sets), (), {})


def find_templates(name_or_path: str) -> TemplateFile:
    """Read a template file by its name or path.

    Raises:
        LabelSetError: As for `find_label_set`.
    """
    return read_template_file(_find(name_or_path, "template file", list_templates))


def check_file(name_or_path: str) -> LabelSet | TemplateFile:
    """Read a label set or, where the file holds templates and nothing else, a template file.

    Raises:
        LabelSetError: If the file breaks a rule, with file and line.
    """
    try:
        path = _find(name_or_path, "label set", list_label_sets)
    except LabelSetError:
        if name_or_path not in {entry.name for entry in list_templates()}:
            raise
        return find_templates(name_or_path)
    return read_template_file(path) if is_template_file(path) else _resolve(path, (), {})


def _entries(folder: str) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for root, built_in in ((built_in_folder(), True), (user_folder(), False)):
        for path in _files(root / folder):
            entries[path.stem] = Entry(path.stem, path, built_in)
    return [entries[name] for name in sorted(entries)]


def _files(folder: Path) -> Iterator[Path]:
    if os.path.isdir(folder):
        yield from sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())


def _is_path(name: str) -> bool:
    return name.endswith(_SUFFIXES) or "/" in name or os.sep in name


def _find(name: str, kind: str, entries: Callable[[], list[Entry]]) -> Path:
    if os.path.splitext(name)[1].lower() in LIST_SUFFIXES and os.path.isfile(os.path.expanduser(name)):
        raise LabelSetError(
            f"{kind} {name}: this is a list of labels, not a YAML file", hint=f"use `labels={'@' + name!r}`"
        )
    if _is_path(name):
        path = Path(os.path.expanduser(name))
        if not os.path.isfile(path):
            known = path.stem in {entry.name for entry in entries()}
            hint = f"did you mean {path.stem}?" if known else "`clip labels list` shows those that have a name"
            raise LabelSetError(f"{kind} {name}: no such file", hint=hint)
        return path
    found = {entry.name: entry.path for entry in entries()}
    if name not in found:
        nearest = get_close_matches(name, found, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"there are: {', '.join(found)}"
        raise LabelSetError(f"no {kind} is named {name!r}", hint=hint)
    return found[name]


def _resolve(path: Path, including: tuple[Path, ...], read: dict[Path, LabelSet]) -> LabelSet:
    """Read a file and follow its references, each file once, however often others include it.

    Included sets give their labels, in the order named, before the file's own; a label that comes again takes the
    place of the earlier one. Nothing else is taken from an included set.
    """
    own = path.resolve()
    if own in read:
        return read[own]
    file = read_label_file(path)
    trail = (*including, own)
    labels: dict[str, Label] = {}
    for reference in file.include:
        included = _include(reference, trail, read)
        labels.update((label.name, label) for label in included.labels)
    labels.update((label.name, label) for label in file.labels)
    templates = file.templates
    if isinstance(templates, Reference):
        templates = read_template_file(_follow(templates, "template file", list_templates)).templates
    try:
        read[own] = LabelSet(
            name=file.name,
            labels=tuple(labels.values()),
            templates=templates,
            language=file.language,
            description=file.description,
            source=file.source,
            none=file.none,
            background=file.background,
            concept=file.concept,
            calibration=file.calibration,
            teaching=file.teaching,
        )
    except LabelSetError as error:
        raise LabelSetError(f"{path}: {error}", hint=error.hint) from error
    return read[own]


def _include(reference: Reference, trail: tuple[Path, ...], read: dict[Path, LabelSet]) -> LabelSet:
    if len(trail) > _DEEPEST:
        raise LabelSetError(f"{reference.place}: includes are nested more than {_DEEPEST} deep")
    path = _follow(reference, "label set", list_label_sets)
    if path.resolve() in trail:
        # A file of the user's that hides a built-in one may include it by their common name.
        path = built_in_folder() / path.name
        if path.resolve() in trail or not path.is_file():
            circle = " -> ".join(str(step) for step in (*trail, trail[0]))
            raise LabelSetError(f"{reference.place}: these files include each other in a circle: {circle}")
    return _resolve(path, trail, read)


def _follow(reference: Reference, kind: str, entries: Callable[[], list[Entry]]) -> Path:
    """Find the file that another one names; relative paths count from the folder of the file that names them."""
    name = reference.name
    try:
        return _find(str(reference.folder / name) if _is_path(name) else name, kind, entries)
    except LabelSetError as error:
        raise LabelSetError(f"{reference.place}: {error}", hint=error.hint) from error
