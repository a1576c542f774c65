"""Which images with known labels, and what their labels are called."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.inputs import ReadingOptions
from clipcli.cli.options.panels import INPUTS
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.labels.label_set import LabelSet
    from clipcli.labels.truth import Labelling, Truth


@dataclass(frozen=True, slots=True)
class LabelledOptions(ReadingOptions):
    """Images whose labels are known."""

    images: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGES",
            help="A folder with one folder per label, or a table (CSV, JSON Lines, Parquet) of path and label.",
            show_default=False,
            rich_help_panel=INPUTS,
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use this split (train, validation or test) if there are several.",
            rich_help_panel=INPUTS,
        ),
    ] = None
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Map names in the data to labels: CSV of name,label, or JSON.",
            rich_help_panel=INPUTS,
        ),
    ] = None
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Names of labels that are numbers: one per line, starting with 0.",
            rich_help_panel=INPUTS,
        ),
    ] = None
    ignore_unknown: Annotated[
        bool,
        typer.Option(
            "--ignore-unknown", help="Skip images whose label is not in the label set.", rich_help_panel=INPUTS
        ),
    ] = False

    def labelling(self) -> "Labelling":
        """Read the images and the names of their labels.

        Raises:
            UsageError: None are named, or they cannot be read.
        """
        from clipcli.api.evaluation.truth import read_labelling
        from clipcli.images.find import FindOptions

        if self.images is None:
            raise UsageError(
                "no labeled images are named",
                hint="name a folder with one folder per label, or a CSV of path,label",
            )
        # Folders of links are a usual way to lay out labeled images.
        find = FindOptions(tuple(self.exclude or ()), self.include_hidden, follow_symlinks=True)
        return read_labelling(self.images, split=self.split, find=find)

    def truth(self, labelling: "Labelling", label_set: "LabelSet | None") -> "Truth":
        """Match names with labels; without a label set the names are the labels.

        Raises:
            UsageError: A name is unknown.
        """
        from clipcli.labels.truth import label_set_of, match, read_map
        from clipcli.labels.truth.names import read_class_names

        class_names = None if self.class_names is None else read_class_names(self.class_names)
        return match(
            labelling,
            label_set or label_set_of(labelling, class_names),
            mapping=None if self.mapping is None else read_map(self.mapping),
            class_names=class_names,
            ignore_unknown=self.ignore_unknown,
        )
