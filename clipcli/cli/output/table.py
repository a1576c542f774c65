"""A table for people: one block an image, a bar for each score, aligned in every script.

Lines are laid out in fixed columns rather than by rich's Table, so that a folder streams as it is finished. Nothing is
cut: what is too long for its column goes on below. Where no bars can be drawn (a pipe, a file, a dumb terminal, which
screen readers may have) there are words and numbers alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from clipcli.cli.output.destination import Destination
from clipcli.cli.shell.terminal import held_in_place, printable
from clipcli.results import ImageTextScores, Record, TaggedImage

_SCORE, _COSINE, _LOGIT = 6, 7, 7
_GAP = 2
_NUMBERS = _SCORE + _COSINE + _LOGIT + 3 * _GAP
# Below the first, paths get lines of their own; below the second, lines are left to the terminal.
_NARROW, _NARROWEST = 60, 40
_NOTHING = "(nothing reached the threshold)"
_Entry = tuple[str, float | None, float | None, float | None]
_BAR_PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths in terminal cells. Without a column of paths, a path has lines of its own and the rest is indented."""

    path: int
    label: int
    bar: int

    @classmethod
    def for_width(
        cls, width: int, paths: Iterable[str] = (), labels: Iterable[str] = (), *, bars: bool = True
    ) -> "_Columns":
        """Share a terminal's width: half for labels and half for paths, less where they need less."""
        if width < _NARROW:
            return cls(0, max(width, _NARROWEST) - _GAP - _NUMBERS, 0)
        room = width - _NUMBERS - _GAP
        bar = min(max((room - _GAP) // 6, 6), 24) if bars else 0
        room -= bar + _GAP if bars else 0
        label = min(_longest(labels, least=len("label")), room // 2)
        # Later paths may be longer than those of the first batch, which are all that is known here.
        return cls(min(_longest(paths, least=40), room - label), label, bar)


class TableRenderer:
    """Blocks of lines: image, label, bar, score, cosine, logit."""

    def __init__(self, destination: Destination) -> None:
        """Write to a destination; colours and bars only where they are welcome."""
        self._destination = destination
        coloured = destination.wants_colour
        self._console = Console(color_system="standard" if coloured else None, force_terminal=coloured or None)
        self._bars = coloured or destination.can_redraw
        self._columns = _Columns.for_width(self._console.width, bars=self._bars)
        self._labels: tuple[str, ...] | None = None
        self._heading = "label"

    def start(self, schema: str, run: Mapping[str, Any]) -> None:
        """Keep what the header needs; it is laid out with the first batch."""
        self._labels = tuple(run["labels"])
        self._heading = "text" if schema.startswith("clipcli.score") else "label"

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch, and the header before the first one."""
        records = list(records)
        lines: list[Text] = []
        if self._labels is not None:
            paths = (record.path for record in records)
            self._columns = _Columns.for_width(self._console.width, paths, self._labels, bars=self._bars)
            heading = self._entry_lines(self._heading, Text(), "score", "cosine", "logit")
            lines.extend(self._beside("image", heading))
            for line in lines:
                line.stylize("bold")
            self._labels = None
        self._print([*lines, *(line for record in records for line in self._block(record))])

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing: the counts are talk, and go to stderr."""

    def _print(self, lines: list[Text]) -> None:
        with self._console.capture() as capture:
            for line in lines:
                line.rstrip()
                self._console.print(line, soft_wrap=True, highlight=False)
        self._destination.write(capture.get())
        self._destination.flush()

    def _block(self, record: Record) -> Iterator[Text]:
        if record.error is not None:
            return self._remark(record.path, record.error.message.removeprefix(f"{record.path}: "), "red")
        if isinstance(record, ImageTextScores):
            best = max(range(len(record.scores)), key=lambda i: record.scores[i].logit, default=0)
            entries: list[_Entry] = [(s.text, s.score, s.cosine, s.logit) for s in record.scores]
        elif isinstance(record, TaggedImage):
            best = 0
            entries = [(tag.label, tag.score, tag.cosine, None) for tag in record.tags]
        else:
            best = 0
            entries = [(p.label, p.score, p.cosine, p.logit) for p in record.predictions]
        if not entries:
            return self._remark(record.path, _NOTHING)
        lines: list[Text] = []
        for i, (label, score, cosine, logit) in enumerate(entries):
            bar = self._bar(cosine if score is None else score)
            entry = self._entry_lines(label, bar, _number(score, 3), _number(cosine, 4), _number(logit, 2))
            for line in entry if i == best else ():
                line.stylize("bold")
            lines.extend(entry)
        return self._beside(record.path, lines)

    def _entry_lines(self, label: str, bar: Text, score: str, cosine: str, logit: str) -> list[Text]:
        """A label and its numbers; the lines after the first hold the rest of a long label."""
        columns, gap = self._columns, " " * _GAP
        first, *rest = self._folded(label, columns.label)
        line = Text(set_cell_size(first, columns.label))
        if columns.bar:
            line.append(gap).append(bar).append(" " * (columns.bar - bar.cell_len))
        for number, width in ((score, _SCORE), (cosine, _COSINE), (logit, _LOGIT)):
            line.append(gap + number.rjust(width))
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


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
