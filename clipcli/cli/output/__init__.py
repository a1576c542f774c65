"""From result records to what is printed: JSON, JSON Lines, CSV, TSV, or a table for people.

A renderer gets batches of records as they are finished and writes them at once, so memory does not grow.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from clipcli.cli.options import Format
from clipcli.cli.output.destination import Destination
from clipcli.results import Record


class Renderer(Protocol):
    """Writes one run's results in one format."""

    def start(self, schema: str, run: Mapping[str, Any]) -> None:
        """Begin, with the name of the document's schema and what describes the run."""

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch and flush it."""

    def finish(self, summary: Mapping[str, int]) -> None:
        """End, with the counts."""


def make_renderer(format: Format, destination: Destination) -> Renderer:
    """The renderer of a format; `auto` must have been decided."""
    match format:
        case Format.json:
            from clipcli.cli.output.json import JsonRenderer

            return JsonRenderer(destination)
        case Format.jsonl:
            from clipcli.cli.output.json import JsonLinesRenderer

            return JsonLinesRenderer(destination)
        case Format.csv:
            from clipcli.cli.output.csv import CsvRenderer

            return CsvRenderer(destination, delimiter=",")
        case Format.tsv:
            from clipcli.cli.output.csv import CsvRenderer

            return CsvRenderer(destination, delimiter="\t")
        case _:
            from clipcli.cli.output.table import TableRenderer

            return TableRenderer(destination)
