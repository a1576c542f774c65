"""What a run came to: counted record by record, said at the end."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clipcli.cli.output.shapes import Row, Shape
from clipcli.cli.shell.run_progress import duration
from clipcli.cli.shell.wording import counted
from clipcli.results import Record

R = TypeVar("R", bound=Record)

_SHOWN_TYPES = 5
_LONG_S = 60


@dataclass
class Tally(Generic[R]):
    """Counts of a run, and its clock.

    Attributes:
        shape: Of the records.
        before: How many of the images an earlier run had finished.
        cached: How many of this run's images had their features in the cache.
    """

    shape: Shape[R]
    before: int = 0
    ok: int = 0
    cached: int = 0
    untagged: int = 0
    tags: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    sidecars: Counter[str] = field(default_factory=Counter)
    keywords: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        """Images that failed."""
        return self.failures.total()

    @property
    def images(self) -> int:
        """All images."""
        return self.ok + self.failed

    @property
    def counts(self) -> dict[str, int]:
        """What a JSON document says at its end."""
        return {"images": self.images, "ok": self.ok, "failed": self.failed}

    def start(self) -> None:
        """Start the clock: the model is ready, and images are next."""
        self.started = time.monotonic()

    def add(self, records: Iterable[R]) -> None:
        """Count records of this run."""
        for record in records:
            self._count(record.error.type if record.error else None, self.shape.given(record))

    def recount(self, rows: Iterable[Row]) -> None:
        """Count all rows there are, those of this run and those that an earlier one had finished."""
        of_this_run = self.images
        self.ok = self.untagged = self.tags = 0
        self.failures.clear()
        for row in rows:
            is_ok = row["status"] == "ok"
            self._count(None if is_ok else row["error"]["type"], len(self.shape.tags(row)) if is_ok else 0)
        self.before = self.images - of_this_run

    def headline(self) -> str:
        """The counts on a line: "100 images in 4.2 s (23.8/s), 96 from cache, 4 failed"."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        of_this_run = self.images - self.before
        parts = [f"{counted(of_this_run, 'image')} in {_seconds(seconds)} ({of_this_run / seconds:.1f}/s)"]
        if self.before:
            parts = [f"{counted(self.images, 'image')}, {self.before:,} of them finished before"]
        parts += [
            f"{count:,} {word}" for count, word in ((self.cached, "from cache"), (self.failed, "failed")) if count
        ]
        return ", ".join(parts)

    def details(self) -> list[str]:
        """What else there is to say, a line each."""
        tags = f"{self.tags:,}, none on {counted(self.untagged, 'image')}" if self.shape.counts_tags else ""
        unlabelled = f"none on {counted(self.untagged, 'image')}" if self.untagged else ""
        rows = {
            "tags" if self.shape.counts_tags else self.shape.title: tags or unlabelled,
            "sidecars": counts_text(self.sidecars),
            "keywords": counts_text(self.keywords),
            "failures": f"{counts_text(self.failures)}; the rows say why" if self.failures else "",
        }
        return [f"{name:<9} {text}" for name, text in rows.items() if text]

    def _count(self, failure: str | None, given: int) -> None:
        if failure is not None:
            self.failures[failure] += 1
            return
        self.ok += 1
        self.tags += given
        self.untagged += not given


def counts_text(counter: Counter[str], most: int | None = None) -> str:
    """Counts by kind, the most common first: "3 UnreadableImage, 1 MissingFile"."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counter.most_common(most) if count)


def skipped_text(types: Counter[str]) -> str:
    """Files that were passed over: "skipped 8 files that are not images: 5 .pdf, 2 .txt, 1 without a suffix"."""
    others = types.total() - sum(count for _, count in types.most_common(_SHOWN_TYPES))
    more = f", {others:,} others" if others else ""
    verb = "is not an image" if types.total() == 1 else "are not images"
    return f"skipped {counted(types.total(), 'file')} that {verb}: {counts_text(types, _SHOWN_TYPES)}{more}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _LONG_S else duration(seconds)
