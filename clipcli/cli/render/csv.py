"""CSV and TSV in long form: one row a label and picture, one row for a picture that failed."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clipcli.cli.render.destination import Destination
from clipcli.results import Classification, ImageTextScores

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

    def write(self, records: Iterable[Classification | ImageTextScores]) -> None:
        """Write a batch."""
        self._write(row for record in records for row in _rows(record))
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""

    def _write(self, rows: Iterable[Row]) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        self._destination.write(text.getvalue())


def _rows(record: Classification | ImageTextScores) -> Iterator[Row]:
    if record.error is not None:
        yield (record.path, None, None, None, None, None, "error", f"{record.error.type}: {record.error.message}")
    elif isinstance(record, ImageTextScores):
        order = sorted(range(len(record.scores)), key=lambda i: -record.scores[i].logit)
        for i, s in enumerate(record.scores):
            yield (record.path, order.index(i) + 1, s.text, s.score, s.cosine, s.logit, "ok", None)
    elif not record.predictions:
        yield (record.path, None, None, None, None, None, "ok", None)
    else:
        for rank, p in enumerate(record.predictions, start=1):
            yield (record.path, rank, p.label, p.score, p.cosine, p.logit, "ok", None)
