"""CSV and TSV: one line for each entry of each record, one for a record that has none or failed.

Values are written as they are (RFC 4180), so that programs read back what was there. For a spreadsheet, which would
run a cell that begins like a formula, they can be made safe; on a terminal control characters become escapes.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from clipcli.cli.output.destination import Destination
from clipcli.cli.output.shapes import Shape
from clipcli.cli.shell.terminal import printable
from clipcli.results import Record

R = TypeVar("R", bound=Record)

_BOM = "\ufeff"
# What spreadsheets take for the beginning of a formula; OWASP lists tab and carriage return among them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class CsvRenderer(Generic[R]):
    """Rows of values separated by one character, quoted where they must be."""

    def __init__(
        self, destination: Destination, shape: Shape[R], *, delimiter: str, for_spreadsheet: bool = False
    ) -> None:
        """Write to a destination.

        Args:
            destination: Where.
            shape: How the records are shown.
            delimiter: A comma or a tab.
            for_spreadsheet: Begin with a byte order mark, and put an apostrophe before texts that are like formulas.
        """
        self._destination = destination
        self._shape = shape
        self._delimiter = delimiter
        self._for_spreadsheet = for_spreadsheet

    def start(self, run: Mapping[str, Any]) -> None:
        """Write the header."""
        if self._for_spreadsheet:
            self._destination.write(_BOM)
        self._write([self._shape.columns])

    def write(self, records: Iterable[R]) -> None:
        """Write a batch."""
        self._write(line for record in records for line in self._shape.lines(record))
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""

    def _write(self, lines: Iterable[Iterable[object]]) -> None:
        if self._for_spreadsheet:
            lines = (map(_without_formula, line) for line in lines)
        self._destination.write(separated(lines, self._delimiter, on_terminal=self._destination.is_terminal))


def separated(lines: Iterable[Iterable[object]], delimiter: str, *, on_terminal: bool) -> str:
    """Lines of values as text, without control characters where a terminal would obey them."""
    text = io.StringIO()
    if on_terminal:
        lines = ((printable(value) if isinstance(value, str) else value for value in line) for line in lines)
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _without_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
