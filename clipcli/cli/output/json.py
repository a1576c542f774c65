"""JSON and JSON Lines. The shapes are described in `clipcli/schemas/`."""

from collections.abc import Iterable, Mapping
from typing import Any

from clipcli.cli.output.destination import Destination
from clipcli.files import dump
from clipcli.results import Record


class JsonLinesRenderer:
    """One object per line, flushed batch by batch."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def start(self, run: Mapping[str, Any]) -> None:
        """Write nothing: lines stand for themselves."""

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch."""
        for record in records:
            self._destination.write(dump(record.to_dict()) + "\n")
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""


class JsonRenderer:
    """One document: the run, the results, the counts. Streamed: results are never held together."""

    def __init__(self, destination: Destination, schema: str) -> None:
        self._destination = destination
        self._schema = schema
        self._separator = "\n"

    def start(self, run: Mapping[str, Any]) -> None:
        """Write the head of the document."""
        self._destination.write(f'{{"schema": {dump(self._schema)},\n "run": {dump(dict(run))},\n "results": [')

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch."""
        for record in records:
            self._destination.write(f"{self._separator}  {dump(record.to_dict())}")
            self._separator = ",\n"
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the document."""
        self._destination.write(f'\n ],\n "summary": {dump(dict(summary))}}}\n')
        self._destination.flush()
