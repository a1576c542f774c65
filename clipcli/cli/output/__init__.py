"""From result records to what is printed: JSON, JSON Lines, CSV, TSV, or a table for people.

A renderer gets batches of records as they are finished and writes them at once, so memory does not grow. How a type of
record is shown is said by its `Shape`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from clipcli.cli.options.output import Format
from clipcli.cli.output.destination import Destination
from clipcli.cli.output.shapes import Shape
from clipcli.results import Record

R = TypeVar("R", bound=Record)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)


class Renderer(Protocol[R_contra]):
    """Writes one run's results in one format."""

    def start(self, run: Mapping[str, Any]) -> None:
        """Begin, with what describes the run."""

    def write(self, records: Iterable[R_contra]) -> None:
        """Write a batch and flush it."""

    def finish(self, summary: Mapping[str, int]) -> None:
        """End, with the counts."""


def make_renderer(
    format: Format, destination: Destination, shape: Shape[R], *, for_spreadsheet: bool = False
) -> Renderer[R]:
    """The renderer of a format; `auto` must have been decided.

    Args:
        format: In which form.
        destination: Where to.
        shape: How the records are shown.
        for_spreadsheet: Write CSV and TSV that spreadsheets open without harm.
    """
    match format:
        case Format.json:
            from clipcli.cli.output.json import JsonRenderer

            return JsonRenderer(destination, shape.schema)
        case Format.jsonl:
            from clipcli.cli.output.json import JsonLinesRenderer

            return JsonLinesRenderer(destination)
        case Format.csv | Format.tsv:
            from clipcli.cli.output.csv import CsvRenderer

            delimiter = "," if format is Format.csv else "\t"
            return CsvRenderer(destination, shape, delimiter=delimiter, for_spreadsheet=for_spreadsheet)
        case Format.table | Format.auto:  # each by name: the type check asks for a format that is added
            from clipcli.cli.output.table import TableRenderer

            return TableRenderer(destination, shape)
