"""Which labels, in which prompts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import LABELS
from clipcli.cli.shell import completion
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.images.find import FindOptions
    from clipcli.labels.label_set import LabelSet


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Which labels, in which prompts."""

    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            "-l",
            metavar="A,B|@FILE",
            help="Choose among these labels, or those in a file, one per line. Repeatable.",
            rich_help_panel=LABELS,
        ),
    ] = None
    label_set: Annotated[
        list[str] | None,
        typer.Option(
            "--label-set",
            "-s",
            metavar="NAME|FILE",
            help="Choose among the labels of a set, by name (`clip labels list`) or path. Repeatable.",
            autocompletion=completion.label_sets,
            rich_help_panel=LABELS,
        ),
    ] = None
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            "-t",
            metavar="TEXT|NAME",
            help='Insert labels into this template, such as "a photo of a {}.", or into the templates of a named set. '
            "Repeatable.",
            autocompletion=completion.templates,
            rich_help_panel=LABELS,
        ),
    ] = None
    no_template: Annotated[
        bool,
        typer.Option("--no-template", help="Use labels as they are, without a template.", rich_help_panel=LABELS),
    ] = False

    examples: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|CSV",
            help="Learn from example images: a folder with one folder of images per label, or a table of path and "
            "label.",
            rich_help_panel=LABELS,
        ),
    ] = None

    def read(self, find: "FindOptions | None" = None) -> "LabelSet | None":
        """Read the labels, all that are given together, with their examples; None where none are.

        Args:
            find: Which images of `--examples` are taken.

        Raises:
            UsageError: Options that do not go together.
            LabelSetError: Labels that break the rules.
        """
        if self.template and self.no_template:
            raise UsageError("--template and --no-template do not go together", hint="use one of them")
        from clipcli.labels.join import join
        from clipcli.labels.parse import parse_labels

        sets = self._read_sets()
        sets += [parse_labels(self.labels)] if self.labels else []
        label_set = join(sets, own_templates=not (self.template or self.no_template)) if sets else None
        if self.examples is None:
            return label_set
        from clipcli.api.examples import read_examples

        return read_examples(self.examples, label_set, find)

    def _read_sets(self) -> "list[LabelSet]":
        if not self.label_set:
            return []
        from clipcli.labels.library import find_label_set  # reads YAML, whose import takes 40 ms

        return [find_label_set(name) for name in self.label_set]

    def templates(self) -> tuple[str, ...] | None:
        """Templates that take the place of the label set's own; one without `{}` names a template file."""
        if self.no_template:
            return ("{}",)
        if not self.template:
            return None
        from clipcli.labels.library import find_templates

        found: list[str] = []
        for value in self.template:
            found.extend([value] if "{}" in value or " " in value else find_templates(value).templates)
        return tuple(found)


def examples_of(label_set: "LabelSet | None") -> list[str] | None:
    """The examples of a label set, as far as a run's answers depend on them; None where there are none."""
    labels = label_set.labels if label_set else ()
    return [f"{label.name}: {example}" for label in labels for example in label.examples] or None
