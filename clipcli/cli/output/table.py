"""A table for people: one block an image, a bar for each score, aligned in every script.

The folder that the images have in common stands above them, once. A column that has no value in the whole run is left
out, and blocks of several lines are apart from each other. Lines are laid out in fixed columns rather than by rich's
Table, so that a folder streams as it is finished. Nothing is cut: what is too long for its column goes on below. Where
no bars can be drawn (a pipe, a file, a dumb terminal, which screen readers may have) there are words and numbers alone.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Generic, TypeVar

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from clipcli.cli.output.destination import Destination
from clipcli.cli.output.shapes import Shape
from clipcli.cli.shell.terminal import held_in_place, printable
from clipcli.results import Record

R = TypeVar("R", bound=Record)

_GAP = 2
# Below the first, paths get lines of their own; below the second, lines are left to the terminal.
_NARROW, _NARROWEST = 60, 40
_NOTHING = "(nothing reached the threshold)"
_BAR_PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths in terminal cells. Without a column of paths, a path has lines of its own and the rest is indented."""

    path: int
    label: int
    bar: int

    @classmethod
    def for_width(
        cls, width: int, numbers: int, paths: Iterable[str] = (), labels: Iterable[str] = (), *, bars: bool = True
    ) -> "_Columns":
        """Share a terminal's width: half for labels and half for paths, less where they need less.

        Args:
            width: Of the terminal.
            numbers: Cells that the columns of numbers take.
            paths: Paths that will be shown.
            labels: Labels that will be shown.
            bars: Whether there are bars.
        """
        if width < _NARROW:
            return cls(0, max(width, _NARROWEST) - _GAP - numbers, 0)
        room = width - numbers - _GAP
        bar = min(max((room - _GAP) // 6, 6), 24) if bars else 0
        room -= bar + _GAP if bars else 0
        label = min(_longest(labels, least=len("label")), room // 2)
        # Later paths may be longer than those of the first batch, which are all that is known here.
        return cls(min(_longest(paths, least=40), room - label), label, bar)


class TableRenderer(Generic[R]):
    """Blocks of lines: image, label, bar, numbers."""

    def __init__(self, destination: Destination, shape: Shape[R]) -> None:
        self._destination = destination
        self._shape = shape
        coloured = destination.wants_colour
        self._console = Console(color_system="standard" if coloured else None, force_terminal=coloured or None)
        self._bars = coloured or destination.can_redraw
        self._labels: tuple[str, ...] = ()
        self._started = False
        self._lines_before = 0  # of the block before

    def start(self, run: Mapping[str, Any]) -> None:
        """Keep what the header needs; it is laid out with the first batch."""
        self._labels = tuple(run["labels"])

    def write(self, records: Iterable[R]) -> None:
        """Write a batch, and the header before the first one."""
        records = list(records)
        lines: list[Text] = []
        if not self._started:
            lines.extend(self._header(records))
            self._started = True
        for record in records:
            block = list(self._block(record))
            if self._lines_before and max(self._lines_before, len(block)) > 1:
                lines.append(Text())
            self._lines_before = len(block)
            lines.extend(block)
        self._print(lines)

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing: the counts are talk, and go to stderr."""

    def _header(self, records: list[R]) -> Iterator[Text]:
        """Lay the columns out for the first batch, which stands for the others."""
        self._folder = _common_folder([record.path for record in records])
        entries = [entry for record in records for entry in self._shape.entries(record)]
        numbers = self._shape.numbers
        if entries:
            numbers = tuple(n for n in numbers if any(getattr(entry, n.name) is not None for entry in entries))
        self._numbers = numbers
        paths = (self._shown(record.path) for record in records)
        cells = sum(number.width + _GAP for number in numbers)
        self._columns = _Columns.for_width(self._console.width, cells, paths, self._labels, bars=self._bars)
        if self._folder:
            for part in _folded_path(f"in {self._folder}", max(self._console.width, _NARROWEST)):
                yield Text(part)
        headings = [number.name.rjust(number.width) for number in numbers]
        for line in self._beside("image", self._entry_lines(self._shape.title, Text(), headings)):
            line.stylize("bold")
            yield line

    def _shown(self, path: str) -> str:
        """A path without the folder that is said above."""
        return path.removeprefix(self._folder)

    def _print(self, lines: list[Text]) -> None:
        with self._console.capture() as capture:
            for line in lines:
                line.rstrip()
                self._console.print(line, soft_wrap=True, highlight=False)
        self._destination.write(capture.get())
        self._destination.flush()

    def _block(self, record: R) -> Iterator[Text]:
        path = self._shown(record.path)
        if record.error is not None:
            return self._remark(path, record.error.message.removeprefix(f"{record.path}: "), "red")
        entries = self._shape.entries(record)
        if not entries:
            return self._remark(path, _NOTHING)
        lines: list[Text] = []
        for rank, entry in zip(self._shape.ranks(record, len(entries)), entries, strict=True):
            values = [getattr(entry, number.name) for number in self._numbers]
            bar = self._bar(next((value for value in values if value is not None), None))
            numbers = [
                number.text(value).rjust(number.width) for number, value in zip(self._numbers, values, strict=True)
            ]
            entry_lines = self._entry_lines(getattr(entry, self._shape.title), bar, numbers)
            for line in entry_lines if rank == 1 else ():
                line.stylize("bold")
            lines.extend(entry_lines)
        return self._beside(path, lines)

    def _entry_lines(self, label: str, bar: Text, numbers: Iterable[str]) -> list[Text]:
        """A label and its numbers; the lines after the first hold the rest of a long label."""
        columns, gap = self._columns, " " * _GAP
        first, *rest = self._folded(label, columns.label)
        line = Text(set_cell_size(first, columns.label))
        if columns.bar:
            line.append(gap).append(bar).append(" " * (columns.bar - bar.cell_len))
        for number in numbers:
            line.append(gap + number)
        return [line, *map(Text, rest)]

    def _remark(self, path: str, message: str, style: str = "") -> Iterator[Text]:
        """Words in place of numbers."""
        left = self._columns.path + _GAP if self._columns.path else _GAP
        width = max(self._console.width, _NARROWEST) - left
        return self._beside(path, [Text(line) for line in self._folded(message, width)], style)

    def _beside(self, path: str, lines: list[Text], style: str = "") -> Iterator[Text]:
        """Put a path left of lines, or above them where it is narrow."""
        gap = Text(" " * _GAP)
        if not self._columns.path:
            width = max(self._console.width, _NARROWEST)
            yield from (Text(part, style=style) for part in _folded_path(path, width))
            yield from (gap + line for line in lines)
            return
        for part, line in zip_longest(_folded_path(path, self._columns.path), lines):
            yield Text(set_cell_size(part or "", self._columns.path), style=style) + gap + (line or Text())

    def _folded(self, text: str, width: int) -> list[str]:
        """A text on lines of a width in cells, parted between words where it can be."""
        return [held_in_place(line.plain) for line in Text(printable(text)).wrap(self._console, width)] or [""]

    def _bar(self, share: float | None) -> Text:
        """A bar in eighths of a cell; a share outside [0, 1] is cut."""
        eighths = round(min(max(share or 0.0, 0.0), 1.0) * self._columns.bar * 8)
        full, rest = divmod(eighths, 8)
        return Text("█" * full + (_BAR_PARTS[rest] if rest else ""), style="cyan")


def _folded_path(path: str, width: int) -> list[str]:
    """A path on lines of a width in cells, parted after a slash where that leaves no line half empty."""
    path = printable(path)
    parts = []
    while cell_len(path) > width:
        part = chop_cells(path, width)[0]
        folders = part[: part.rfind("/") + 1]
        if 2 * cell_len(folders) > width:
            part = folders
        parts.append(part)
        path = path[len(part) :]
    return [held_in_place(part) for part in (*parts, path)]


def _longest(texts: Iterable[str], *, least: int) -> int:
    """Width in cells of the widest text."""
    return max(least, max((cell_len(printable(text)) for text in texts), default=0))


def _common_folder(paths: list[str]) -> str:
    """The folder of all of several images, with the slash at its end; empty where they share none."""
    if len(set(paths)) < 2:
        return ""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # absolute and relative paths, or two drives
        return ""
    prefix = os.path.join(folder, "") if folder else ""
    return prefix if all(path.startswith(prefix) for path in paths) else ""
