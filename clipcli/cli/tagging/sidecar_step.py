"""Sidecars as a step of the run: each batch gets its own before its rows are written.

In this order a run that is killed in between writes them again, which changes nothing; the other way round they would
be missing for good.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from clipcli.cli.shell.boundary import say
from clipcli.library.sidecars.files import SidecarError, SidecarResult, SidecarWriter
from clipcli.library.sidecars.keywords import Keywords
from clipcli.results import Failure, TaggedImage


class SidecarStep:
    """Writes the sidecars of batches."""

    def __init__(
        self,
        writer: SidecarWriter,
        keywords_of: Callable[[TaggedImage], Keywords],
        counts: Counter[str],
        *,
        dry_run: bool,
    ) -> None:
        """Count what is done under words that a summary can show."""
        self._writer = writer
        self._keywords_of = keywords_of
        self._counts = counts
        self._dry_run = dry_run

    def apply(self, records: Sequence[TaggedImage]) -> list[TaggedImage]:
        """Write sidecars; an image whose sidecar cannot be written keeps its tags and gets an error."""
        return [self._apply_one(record) for record in records]

    def _apply_one(self, record: TaggedImage) -> TaggedImage:
        if record.error is not None:
            return record
        try:
            result = self._writer.write(record.path, self._keywords_of(record))
        except SidecarError as error:
            self._counts["failed"] += 1
            message = f"{record.path}: {error}"
            return replace(record, error=Failure("SidecarError", message))
        if not result.changes:
            self._counts["unchanged"] += 1
        elif self._dry_run:
            self._counts["would change"] += 1
            say(_describe(result))
        else:
            self._counts["written"] += 1
        return record


def _describe(result: SidecarResult) -> str:
    parts = []
    for change in result.changes:
        words = [*(f"+{word}" for word in change.added), *(f"-{word}" for word in change.removed)]
        parts.append(f"{change.property} {', '.join(words)}")
    return f"would write {result.path}: {'; '.join(parts)}"
