"""Flat rows for people and programs: what `clip models` and its like print. Few rows, so they are held together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, assert_never

from clipcli.cli.options.output import Format, FormatOptions
from clipcli.cli.output.csv import separated
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.cli.shell.terminal import held_in_place, printable
from clipcli.cli.shell.wording import listed
from clipcli.files import dump

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

_LEAST_FOLDED = 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, its text for each row in order, and how it sits."""

    heading: str
    cells: Sequence[str]
    right: bool = False


Table = Sequence[Column] | Callable[[Destination], None]


def print_rows(
    schema: str,
    rows: Sequence[Row],
    table: Table,
    options: FormatOptions,
    *,
    head: Mapping[str, Any] | None = None,
) -> None:
    """Print rows in the format that was asked for.

    Args:
        schema: Name of the JSON document's schema.
        rows: All with the same keys, which are the columns of CSV and TSV.
        table: What people see in place of them: columns, or what writes more than those.
        options: Format and destination.
        head: What a JSON document says besides.
    """
    with open_destination(options.output) as destination:
        match options.chosen_format():
            case Format.json:
                destination.write(dump({"schema": schema, **(head or {}), "results": rows}, indent=1) + "\n")
            case Format.jsonl:
                destination.write("".join(dump(row) + "\n" for row in rows))
            case Format.csv | Format.tsv as chosen:
                lines = [rows[0] if rows else (), *([_cell(value) for value in row.values()] for row in rows)]
                delimiter = "," if chosen is Format.csv else "\t"
                destination.write(separated(lines, delimiter, on_terminal=destination.is_terminal))
            case Format.table | Format.auto:
                if callable(table):
                    table(destination)
                else:
                    print_table(table, destination)
            case missing:
                assert_never(missing)
        destination.flush()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return listed(map(str, value))
    return dump(value) if isinstance(value, Mapping) else value


def print_table(columns: Sequence[Column], destination: Destination) -> None:
    """Write a table for people, as wide as the terminal."""
    from rich.console import Console

    coloured = destination.wants_colour
    console = Console(color_system="standard" if coloured else None, force_terminal=coloured or None)
    columns = [replace(column, cells=[_shown(cell) for cell in column.cells]) for column in columns]
    with console.capture() as capture:
        if _fit(columns, console.width):
            _print_grid(columns, console)
        else:
            _print_blocks(columns, console)
    destination.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def _shown(cell: str) -> str:
    return "\n".join(held_in_place(printable(line)) for line in cell.split("\n"))


def _fit(columns: Sequence[Column], width: int) -> bool:
    """Whether the columns stand side by side, the widest one folded where need be, but not to shreds."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, (column.heading, *"\n".join(column.cells).split("\n")))) for column in columns]
    widest = max(widths)
    return sum(widths) - widest + min(widest, _LEAST_FOLDED) + len(widths) - 1 <= width


def _print_grid(columns: Sequence[Column], console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    headed = any(column.heading for column in columns)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=headed)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))  # text as it is: a label may hold [brackets]
    console.print(table)


def _print_blocks(columns: Sequence[Column], console: "Console") -> None:
    """Print a block of lines a row, for narrow terminals: its first cell, then what the others are and hold."""
    from rich.padding import Padding
    from rich.text import Text

    for first, *cells in zip(*(column.cells for column in columns), strict=True):
        console.print(Text(first, style="bold", overflow="fold"))
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell:
                named = f"{column.heading}: {cell}" if column.heading else cell
                console.print(Padding(Text(named, overflow="fold"), (0, 0, 0, 2)))
