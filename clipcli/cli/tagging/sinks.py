"""Where rows go as they are finished: a journal that can be resumed, or any of the printed formats."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from clipcli.cli.output import Renderer, make_renderer
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.cli.output.json import as_json
from clipcli.cli.tagging.options import TagOutputOptions
from clipcli.library.journal.rows import Journal
from clipcli.library.sidecars.keywords import Keywords
from clipcli.results import TaggedImage

SCHEMA = "clipcli.tag/2"


class Sink(Protocol):
    """Takes rows, batch by batch."""

    def write(self, records: Sequence[TaggedImage]) -> None:
        """Write a batch and flush it."""

    def finish(self, summary: Mapping[str, int]) -> None:
        """End, with the counts."""


class JournalSink:
    """Rows for a later run to go on with."""

    def __init__(self, journal: Journal) -> None:
        """Write to a journal."""
        self._journal = journal

    def write(self, records: Sequence[TaggedImage]) -> None:
        """Write a batch."""
        self._journal.write([as_json(record) for record in records])

    def finish(self, summary: Mapping[str, int]) -> None:
        """Leave the file as it is."""
        self._journal.finish()


class RenderedSink:
    """Rows for a reader. Written from the first batch on: a run that fails at once prints no half document."""

    def __init__(self, renderer: Renderer, run: Mapping[str, Any]) -> None:
        """Write with a renderer."""
        self._renderer = renderer
        self._run = run
        self._started = False

    def write(self, records: Sequence[TaggedImage]) -> None:
        """Write a batch."""
        if not self._started:
            self._renderer.start(SCHEMA, self._run)
            self._started = True
        self._renderer.write(records)

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the document, also of a run that was stopped: what there is can be read."""
        if self._started:
            self._renderer.finish(summary)


@contextmanager
def open_sink(
    output: TagOutputOptions,
    journal: Journal | None,
    run: Mapping[str, Any],
    keywords_of: Callable[[TaggedImage], Keywords],
) -> Iterator[tuple[Sink, bool]]:
    """Open what the options ask for.

    Yields:
        The sink, and whether a person sees its rows on a terminal.
    """
    if journal is not None:
        try:
            yield JournalSink(journal), False
        finally:
            journal.finish()
        return
    with open_destination(output.output) as destination:
        yield RenderedSink(_renderer(output, destination, keywords_of), run), destination.is_terminal


def _renderer(
    output: TagOutputOptions, destination: Destination, keywords_of: Callable[[TaggedImage], Keywords]
) -> Renderer:
    if output.is_exiftool:
        from clipcli.cli.output.exiftool import ExiftoolRenderer

        return ExiftoolRenderer(destination, keywords_of)
    return make_renderer(output.chosen_format(), destination)
