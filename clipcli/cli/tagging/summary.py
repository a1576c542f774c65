"""What a run of `clip tag` came to: counted row by row, told at the end."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clipcli.cli.shell.wording import counted


@dataclass
class Tally:
    """Counts of a run, and its clock.

    Attributes:
        before: How many of the images an earlier run had finished.
    """

    before: int = 0
    ok: int = 0
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

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of output."""
        for row in rows:
            if row["status"] == "error":
                self.failures[row["error"]["type"]] += 1
                continue
            self.ok += 1
            self.tags += len(row["tags"])
            self.untagged += not row["tags"]

    def recount(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count all rows there are, those of this run and those that an earlier one had finished."""
        of_this_run = self.images
        self.ok = self.untagged = self.tags = 0
        self.failures.clear()
        self.add(rows)
        self.before = self.images - of_this_run

    def lines(self) -> list[str]:
        """The table, as lines of text."""
        rate = (self.images - self.before) / max(time.monotonic() - self.started, 1e-9)
        was = "was" if self.before == 1 else "were"
        before = f", of which {self.before:,} {was} finished before" if self.before else ""
        rows = {
            "images": f"{self.images:,}{before}",
            "tags": f"{self.tags:,}, none on {counted(self.untagged, 'image')}",
            "speed": f"{rate:.1f} images/s",
            "sidecars": _counts(self.sidecars),
            "keywords": _counts(self.keywords),
            "failures": _counts(self.failures),
        }
        return [f"{name:<9} {text}" for name, text in rows.items() if text]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counter.most_common() if count)
