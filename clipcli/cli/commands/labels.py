"""`clip labels`: which label sets there are, what is in one, whether a file is right, and a file to start from."""

import glob
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clipcli.cli.commands.teach import teach
from clipcli.cli.options.output import Format, FormatOptions
from clipcli.cli.output.destination import print_path, print_text
from clipcli.cli.output.rows import Column, Row, print_rows
from clipcli.cli.shell import completion
from clipcli.cli.shell.boundary import say, tell
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.help import CommandGroup, GroupedCommand
from clipcli.cli.shell.terminal import printable
from clipcli.cli.shell.wording import counted, listed
from clipcli.errors import ExitStatus, LabelSetError

if TYPE_CHECKING:
    from clipcli.labels.label_set import LabelSet
    from clipcli.labels.library import Entry
    from clipcli.labels.read import TemplateFile

F = TypeVar("F")
_SHOWN_EXAMPLES = 3

labels_app = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""List, show, check, create, import and teach label sets.

    \b
    clip labels list
    clip labels show pets --prompts
    clip labels new my-labels
    """,
)


@labels_app.command("list", cls=GroupedCommand)
@expand_options
def list_(
    options: FormatOptions,
    templates: Annotated[bool, typer.Option("--templates", help="List template files instead of label sets.")] = False,
) -> None:
    """List label sets that can be used by name: your own, then the built-in ones.

    \b
    clip labels list
    clip labels list --templates
    """  # noqa: D301 - \b keeps lines apart
    rows = _template_rows() if templates else _set_rows()
    names = [row["name"] if row["built_in"] else f"{row['name']} (yours)" for row in rows]
    counts = [key for key in ("labels", "templates") if rows and key in rows[0]]
    table = [
        Column("name", names),
        Column("language", [row["language"] or "" for row in rows]),
        *(Column(key, [str(row[key]) for row in rows], right=True) for key in counts),
        Column("description", [row["description"] for row in rows]),
    ]
    print_rows("clipcli.labels/1", rows, table, options)


@labels_app.command(cls=GroupedCommand)
@expand_options
def show(
    options: FormatOptions,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="Name or file of a label set.",
            autocompletion=completion.label_sets,
            show_default=False,
        ),
    ],
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Show every prompt that is encoded: each label in each template.")
    ] = False,
) -> None:
    """Show the contents of a label set.

    \b
    clip labels show pets
    clip labels show my-labels.yaml --prompts --format csv
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.labels.library import find_label_set

    label_set = find_label_set(name)
    rows = _prompt_rows(label_set) if prompts else _label_rows(label_set)
    if options.chosen_format() is Format.table:
        _say_about(label_set)
    print_rows("clipcli.label_set/2", rows, _columns(rows), options, head={"label_set": _about(label_set)})


@labels_app.command(cls=GroupedCommand)
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Label-set or template files to check.",
            autocompletion=completion.label_files,
            show_default=False,
        ),
    ],
) -> None:
    """Check files, and print each problem with its file and line. The exit status is 2 if there is one.

    \b
    clip labels check my-labels.yaml
    clip labels check ~/.config/clipcli/prompts/*.yaml
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.labels.label_set import LabelSet
    from clipcli.labels.library import check_file

    wrong = False
    for file in files:
        try:
            found = check_file(file)
        except LabelSetError as error:
            say(f"error: {error}", error.hint)
            wrong = True
            continue
        missing = _missing_examples(found) if isinstance(found, LabelSet) else []
        if missing:
            say(f"error: {file}: no such example: {missing[0]}", details=missing[1:])
            wrong = True
            continue
        parts = [counted(len(found.labels), "label")] if isinstance(found, LabelSet) else []
        parts.append(counted(len(found.templates), "template") if found.templates else "default templates")
        print_text(f"{printable(file)}: ok ({', '.join(parts)})\n")
    if wrong:
        raise typer.Exit(ExitStatus.USAGE)


@labels_app.command("import", cls=GroupedCommand)
def import_(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.json", help="A JSON file that maps labels to sentences or descriptors.", show_default=False
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Name or path of the new label set.", show_default=False)
    ],
    descriptors: Annotated[
        bool,
        typer.Option("--descriptors", help="The texts describe what a label looks like; they are not whole sentences."),
    ] = False,
) -> None:
    """Create a label set from a JSON file of prompts in the format of CuPL: sentences by label.

    \b
    clip labels import CuPL_prompts.json my-labels
    clip labels import descriptors_pets.json ./pets.yaml --descriptors
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.labels.prompts_json import read_prompts_json
    from clipcli.labels.starter import new_file, write_new
    from clipcli.labels.write import to_yaml

    path, is_name = new_file(name)
    label_set, repeated = read_prompts_json(file, path.stem, descriptors=descriptors)
    write_new(path, to_yaml(label_set), make_folder=is_name)
    print_path(path)
    texts = sum(len(label.descriptors if descriptors else label.prompts) for label in label_set.labels)
    details = [f"left out because they were there already: {counted(repeated, 'text')}"] if repeated else []
    say(f"{counted(len(label_set.labels), 'label')}, {counted(texts, 'text')}", details=details)


@labels_app.command(cls=GroupedCommand)
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Name or path of the new label set.", show_default=False)
    ],
) -> None:
    """Create a commented label set to start from. A NAME is added to your own label sets, a path is used as it is.

    \b
    clip labels new my-labels
    clip labels new ./labels.yaml
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.labels.library import list_label_sets
    from clipcli.labels.starter import write_starter

    hidden = name in {entry.name for entry in list_label_sets() if entry.built_in}
    path = write_starter(name)
    print_path(path)
    if hidden:
        say(f"{name} means this file, not the built-in label set", hint=f"`include: [{name}]` includes it")


labels_app.command("teach", cls=GroupedCommand)(teach)


def _missing_examples(label_set: "LabelSet") -> list[str]:
    """Examples that are not there; what a glob finds is seen when it is used."""
    paths = [path for label in label_set.labels for path in label.examples]
    return [path for path in paths if not glob.has_magic(path) and not os.path.exists(path)]


def _set_rows() -> list[dict[str, Any]]:
    from clipcli.labels.library import find_label_set, list_label_sets
    from clipcli.labels.templates import templates_of

    rows = []
    for entry, found in _read_all(list_label_sets(), find_label_set):
        templates = len(templates_of(found))
        rows.append(_row(entry, found, {"labels": len(found.labels), "templates": templates}))
    return rows


def _template_rows() -> list[dict[str, Any]]:
    from clipcli.labels.library import find_templates, list_templates

    return [
        _row(entry, found, {"templates": len(found.templates)})
        for entry, found in _read_all(list_templates(), find_templates)
    ]


def _read_all(entries: "list[Entry]", find: Callable[[str], F]) -> "Iterator[tuple[Entry, F]]":
    """Read each file of the library; a broken one is pointed out and does not hide the others."""
    for entry in entries:
        try:
            yield entry, find(str(entry.path))
        except LabelSetError as error:
            say(f"warning: {error}", error.hint)


def _row(entry: "Entry", found: "LabelSet | TemplateFile", counts: dict[str, int]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "language": found.language,
        **counts,
        "description": found.description,
        "source": found.source,
        "built_in": entry.built_in,
        "path": str(entry.path),
    }


def _label_rows(label_set: "LabelSet") -> list[Row]:
    return [
        {
            "label": label.name,
            "group": label.group,
            "threshold": label.threshold,
            "prompts": list(label.prompts),
            "examples": list(label.examples),
        }
        for label in label_set.labels
    ]


def _prompt_rows(label_set: "LabelSet") -> list[Row]:
    from clipcli.labels.expand import expand
    from clipcli.labels.templates import templates_of

    prompts = expand(label_set, templates_of(label_set))
    return [
        {"label": label_set.names[owner], "prompt": text}
        for text, owner in zip(prompts.texts, prompts.owners, strict=True)
    ]


def _columns(rows: list[Row]) -> list[Column]:
    """One column a key, without those that say nothing; a label that is its own only prompt need not repeat it."""
    columns = []
    for key in rows[0]:
        cells = ["" if row[key] == [row["label"]] else _text(row[key]) for row in rows]
        if key == "examples":  # there may be thousands
            cells = [_text(_first(row[key])) for row in rows]
        if any(cells):
            columns.append(Column(key, cells))
    return columns


def _first(paths: list[str]) -> list[str]:
    more = len(paths) - _SHOWN_EXAMPLES
    return [*paths[:_SHOWN_EXAMPLES], f"and {more:,} more"] if more > 0 else paths


def _text(value: object) -> str:
    if isinstance(value, list):
        return listed(value)
    return "" if value is None else str(value)


def _about(label_set: "LabelSet") -> dict[str, Any]:
    from clipcli.labels.templates import templates_of

    return {
        "name": label_set.name,
        "description": label_set.description,
        "language": label_set.language,
        "source": label_set.source,
        "templates": list(templates_of(label_set)),
        "none": label_set.none.name if label_set.none else None,
        "background": list(label_set.background),
        "taught": label_set.teaching.model_name if label_set.teaching else None,
    }


def _say_about(label_set: "LabelSet") -> None:
    for key, value in _about(label_set).items():
        if value:
            lines = [key + ":", *value] if isinstance(value, list) else [f"{key}: {value}"]
            tell([lines[0], *(f"  {line}" for line in lines[1:])])
    tell([""])
