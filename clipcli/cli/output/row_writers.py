"""Where rows go as they are finished: a journal that can be resumed, or any of the printed formats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from clipcli.cli.output import Renderer
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.library.journal.rows import Journal
from clipcli.results import Record

R = TypeVar("R", bound=Record)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)


class RowWriter(Protocol[R_contra]):
    """Takes records, batch by batch."""

    def write(self, records: Sequence[R_contra]) -> None:
        """Write a batch and flush it."""

    def finish(self, summary: Mapping[str, int]) -> None:
        """End, with the counts."""


class RenderedRows(Generic[R]):
    """Rows for a reader. Written from the first batch on: a run that fails at once prints no half document."""

    def __init__(self, renderer: Renderer[R], describe: Callable[[], Mapping[str, Any]]) -> None:
        """Write with a renderer.

        Args:
            renderer: Of the format.
            describe: Describes the run; called with the first batch.
        """
        self._renderer = renderer
        self._describe = describe
        self._started = False

    def write(self, records: Sequence[R]) -> None:
        """Write a batch."""
        if not self._started:
            self._renderer.start(self._describe())
            self._started = True
        self._renderer.write(records)

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the document, also of a run that was stopped: what there is can be read."""
        if self._started:
            self._renderer.finish(summary)


class JournalRows:
    """Rows for a run that may be resumed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def write(self, records: Sequence[Record]) -> None:
        """Write a batch."""
        self._journal.write([record.to_dict() for record in records])

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the file; its rows stand for themselves."""
        self._journal.finish()


@contextmanager
def open_row_writer(
    output: str | None,
    journal: Journal | None,
    renderer: Callable[[Destination], Renderer[R]],
    describe: Callable[[], Mapping[str, Any]],
) -> Iterator[tuple[RowWriter[R], bool]]:
    """Open the journal, or else the output.

    Yields:
        The writer, and whether a person sees its rows on a terminal.
    """
    if journal is not None:
        try:
            yield JournalRows(journal), False
        finally:
            journal.finish()
        return
    with open_destination(output) as destination:
        yield RenderedRows(renderer(destination), describe), destination.is_terminal
