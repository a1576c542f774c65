"""CSV and TSV in long form: one row a label and image, one row for an image that failed."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clipcli.cli.output.destination import Destination
from clipcli.results import ImageTextScores, Prediction, Record, Tag, TaggedImage

Row = tuple[object, ...]

_CLASSIFY = ("path", "rank", "label", "score", "cosine", "logit", "status", "error")
_SCORE = ("path", "rank", "text", "score", "cosine", "logit", "status", "error")


class CsvRenderer:
    """Rows of values separated by one character, quoted where they must be."""

    def __init__(self, destination: Destination, *, delimiter: str) -> None:
        """Write to a destination."""
        self._destination = destination
        self._delimiter = delimiter

    def start(self, schema: str, run: Mapping[str, Any]) -> None:
        """Write the header."""
        self._write([_SCORE if schema.startswith("clipcli.score") else _CLASSIFY])

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch."""
        self._write(row for record in records for row in _rows(record))
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""

    def _write(self, rows: Iterable[Row]) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        self._destination.write(text.getvalue())


def _rows(record: Record) -> Iterator[Row]:
    if record.error is not None:
        yield (record.path, None, None, None, None, None, "error", f"{record.error.type}: {record.error.message}")
        return
    if isinstance(record, ImageTextScores):
        order = sorted(range(len(record.scores)), key=lambda i: -record.scores[i].logit)
        for i, s in enumerate(record.scores):
            yield (record.path, order.index(i) + 1, s.text, s.score, s.cosine, s.logit, "ok", None)
        return
    entries: Sequence[Prediction | Tag] = record.tags if isinstance(record, TaggedImage) else record.predictions
    if not entries:
        yield (record.path, None, None, None, None, None, "ok", None)
    for rank, entry in enumerate(entries, start=1):
        logit = entry.logit if isinstance(entry, Prediction) else None
        yield (record.path, rank, entry.label, entry.score, entry.cosine, logit, "ok", None)
