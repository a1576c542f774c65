"""JSON and JSON Lines. The shapes are described in `clipcli/schemas/`."""

from collections.abc import Iterable, Mapping
from typing import Any

from clipcli.cli.output.destination import Destination
from clipcli.files import dump
from clipcli.results import ImageTextScores, Record, TaggedImage


def as_json(record: Record) -> dict[str, Any]:
    """One record as a JSON object."""
    if record.error is not None:
        error = {"type": record.error.type, "message": record.error.message}
        row = {"path": record.path, "status": "error", "error": error}
        return {**row, "tags": _tags(record)} if isinstance(record, TaggedImage) and record.tags else row
    if isinstance(record, TaggedImage):
        return {"path": record.path, "status": "ok", "tags": _tags(record)}
    if isinstance(record, ImageTextScores):
        scores = [{"text": s.text, "cosine": s.cosine, "logit": s.logit, "score": s.score} for s in record.scores]
        for entry in scores:
            if entry["score"] is None:
                del entry["score"]
        return {"path": record.path, "status": "ok", "scores": scores}
    predictions = [
        {"label": p.label, "score": p.score, "cosine": p.cosine, "logit": p.logit} for p in record.predictions
    ]
    return {
        "path": record.path,
        "status": "ok",
        "label": record.label,
        "score": record.score,
        "predictions": predictions,
    }


def _tags(record: TaggedImage) -> list[dict[str, Any]]:
    return [{"label": tag.label, "score": tag.score, "cosine": tag.cosine} for tag in record.tags]


class JsonLinesRenderer:
    """One object a line, flushed batch by batch."""

    def __init__(self, destination: Destination) -> None:
        """Write to a destination."""
        self._destination = destination

    def start(self, schema: str, run: Mapping[str, Any]) -> None:
        """Write nothing: lines stand for themselves."""

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch."""
        for record in records:
            self._destination.write(dump(as_json(record)) + "\n")
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""


class JsonRenderer:
    """One document: the run, the results, the counts. Streamed: results are never held together."""

    def __init__(self, destination: Destination) -> None:
        """Write to a destination."""
        self._destination = destination
        self._separator = "\n"

    def start(self, schema: str, run: Mapping[str, Any]) -> None:
        """Write the head of the document."""
        self._destination.write(f'{{"schema": {dump(schema)},\n "run": {dump(dict(run))},\n "results": [')

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch."""
        for record in records:
            self._destination.write(f"{self._separator}  {dump(as_json(record))}")
            self._separator = ",\n"
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the document."""
        self._destination.write(f'\n ],\n "summary": {dump(dict(summary))}}}\n')
        self._destination.flush()
