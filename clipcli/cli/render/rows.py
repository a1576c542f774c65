"""Flat rows for people and programs: what `clip models` and its like print. Few rows, so they are held together."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipcli.cli.options import Format, FormatOptions
from clipcli.cli.render.destination import Destination, open_destination

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, its text for each row in order, and how it sits."""

    heading: str
    cells: Sequence[str]
    right: bool = False


def print_rows(schema: str, rows: Sequence[Row], table: Sequence[Column], options: FormatOptions) -> None:
    """Print rows in the format that was asked for.

    Args:
        schema: Name of the JSON document's schema.
        rows: All with the same keys, which are the columns of CSV and TSV.
        table: What people see in place of them.
        options: Format and destination.
    """
    with open_destination(options.output) as destination:
        match options.chosen_format():
            case Format.json:
                destination.write(dump({"schema": schema, "results": rows}, indent=1) + "\n")
            case Format.jsonl:
                destination.write("".join(dump(row) + "\n" for row in rows))
            case Format.csv | Format.tsv as chosen:
                destination.write(_separated(rows, "," if chosen is Format.csv else "\t"))
            case _:
                _print_table(table, destination)
        destination.flush()


def dump(value: object, indent: int | None = None) -> str:
    """Write JSON, letters of every script as themselves."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def _separated(rows: Sequence[Row], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return dump(value) if isinstance(value, Mapping) else value


def _print_table(columns: Sequence[Column], destination: Destination) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(force_terminal=None if destination.is_terminal else False)
    headed = any(column.heading for column in columns)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=headed)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))  # text as it is: a label may hold [brackets]
    with console.capture() as capture:
        console.print(table)
    destination.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
