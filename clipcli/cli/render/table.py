"""A table for people: one block a picture, a bar for each score, aligned in every script.

Lines are laid out in fixed columns rather than by rich's Table, so that a folder streams as it is finished.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from clipcli.cli.render.destination import Destination
from clipcli.results import ImageTextScores, Record, TaggedImage

_SCORE, _COSINE, _LOGIT = 6, 7, 7
_GAP = 2
_NOTHING = "(nothing reached the threshold)"
_Entry = tuple[str, float | None, float | None, float | None]
_BAR_PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths in terminal cells."""

    path: int
    label: int
    bar: int

    @classmethod
    def for_width(cls, width: int, paths: Iterable[str] = (), labels: Iterable[str] = ()) -> "_Columns":
        """Share a terminal's width: half for labels and half for paths, less where they need less."""
        room = max(width, 60) - _SCORE - _COSINE - _LOGIT - 5 * _GAP
        bar = min(max(room // 6, 6), 24)
        label = min(_longest(labels, least=len("label")), (room - bar) // 2)
        # Later paths may be longer than those of the first batch, which are all that is known here.
        return cls(min(_longest(paths, least=40), room - bar - label), label, bar)


class TableRenderer:
    """Blocks of lines: picture, label, bar, score, cosine, logit."""

    def __init__(self, destination: Destination) -> None:
        """Write to a destination; colours only where a terminal shows them."""
        self._destination = destination
        coloured = destination.is_terminal and not os.environ.get("NO_COLOR")
        self._console = Console(color_system="auto" if coloured else None)
        self._columns = _Columns.for_width(self._console.width)
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
            self._columns = _Columns.for_width(self._console.width, paths, self._labels)
            lines.append(self._line("picture", self._heading, Text(), "score", "cosine", "logit"))
            lines[0].stylize("bold")
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

    def _block(self, record: Record) -> list[Text]:
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
        lines = []
        for i, (label, score, cosine, logit) in enumerate(entries):
            bar = self._bar(cosine if score is None else score)
            numbers = (_number(score, 3), _number(cosine, 4), _number(logit, 2))
            line = self._line(record.path if i == 0 else "", label, bar, *numbers)
            if i == best:
                line.stylize("bold", self._columns.path + _GAP)
            lines.append(line)
        return lines

    def _line(self, path: str, label: str, bar: Text, score: str, cosine: str, logit: str) -> Text:
        columns, gap = self._columns, " " * _GAP
        line = Text(_fit_path(path, columns.path) + gap + _fit(label, columns.label) + gap)
        line.append(bar).append(" " * (columns.bar - bar.cell_len))
        numbers = (score.rjust(_SCORE), cosine.rjust(_COSINE), logit.rjust(_LOGIT))
        return line.append("".join(gap + number for number in numbers))

    def _remark(self, path: str, message: str, style: str = "") -> list[Text]:
        """Words in place of numbers, wrapped so that they stay right of the paths."""
        left, gap = self._columns.path, " " * _GAP
        wrapped = Text(_printable(message)).wrap(self._console, max(self._console.width, 60) - left - _GAP)
        heads = [Text(_fit_path(path, left), style=style), *(Text(" " * left) for _ in wrapped[1:])]
        return [head.append(gap).append(text) for head, text in zip(heads, wrapped, strict=True)]

    def _bar(self, share: float | None) -> Text:
        """A bar in eighths of a cell; a share outside [0, 1] is cut."""
        eighths = round(min(max(share or 0.0, 0.0), 1.0) * self._columns.bar * 8)
        full, rest = divmod(eighths, 8)
        return Text("█" * full + (_BAR_PARTS[rest] if rest else ""), style="cyan")


def _longest(texts: Iterable[str], *, least: int) -> int:
    """Width in cells of the widest text."""
    return max(least, max((cell_len(_printable(text)) for text in texts), default=0))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _printable(text: str) -> str:
    """Control characters, and bytes that are not UTF-8, as escapes: a name must not move the cursor."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def _fit(text: str, width: int) -> str:
    """Cut at the end to a width in cells, or fill up with spaces."""
    text = _printable(text)
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _fit_path(path: str, width: int) -> str:
    """Cut at the front: the end of a path tells pictures apart."""
    path = _printable(path)
    if cell_len(path) <= width:
        return set_cell_size(path, width)
    tail = chop_cells(path[::-1], width - 1)[0][::-1]
    return set_cell_size("…" + tail, width)
