"""The run of `clip tag`: batches through sidecars into the output, until done or stopped, and what comes after."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import IO, Any

import typer

from clipcli.cli.output.json import as_json
from clipcli.cli.output.library_events import SidecarStep
from clipcli.cli.output.runner import stopped_text, until_failure
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.interrupt import stop_on_interrupt
from clipcli.cli.shell.wording import counted
from clipcli.cli.tagging.options import TagOutputOptions
from clipcli.cli.tagging.progress import show_progress
from clipcli.cli.tagging.sinks import Sink, open_sink
from clipcli.cli.tagging.summary import Tally
from clipcli.errors import ExitStatus
from clipcli.files import dump
from clipcli.library.journal.rows import Journal
from clipcli.library.sidecars.keywords import Keywords
from clipcli.results import TaggedImage

Row = Mapping[str, Any]


class End(Enum):
    """How the tagging ended."""

    done = auto()
    interrupted = auto()
    failed = auto()


# Sorting, a report: takes all rows when they are there, and says how many of its own things failed.
Step = Callable[[Iterable[Row]], int]


@dataclass(frozen=True, slots=True)
class TagRun:
    """One run, with all that it needs.

    Attributes:
        output: What is printed where.
        description: What a JSON document says of the run.
        keywords_of: Spells an image's tags as keywords.
        journal: Where rows go if the run can be resumed.
        sidecars: Writes sidecars, if asked for.
        steps: What is done with all rows at the end.
        count_all: Counts the images, see `show_progress`.
        tally: Counts what happens.
    """

    output: TagOutputOptions
    description: Mapping[str, Any]
    keywords_of: Callable[[TaggedImage], Keywords]
    journal: Journal | None
    sidecars: SidecarStep | None
    steps: Sequence[Step]
    count_all: Callable[[], int] | None
    tally: Tally

    def execute(self, batches: Iterator[Sequence[TaggedImage]]) -> None:
        """Do it all, and leave with the status that fits.

        Raises:
            typer.Exit: With `PARTIAL` if something failed, with `INTERRUPTED` if the user stopped the run.
        """
        with _spool(wanted=bool(self.steps) and self.journal is None) as spool:
            end = self._tag(batches, spool)
            if end is End.interrupted:
                self._say_interrupted()
                raise typer.Exit(ExitStatus.INTERRUPTED)
            failed = sum(step(self._rows(spool)) for step in self.steps) if end is End.done else 0
        if not self.output.quiet:
            self._say_summary(end)
        if self.tally.failed or failed:
            raise typer.Exit(ExitStatus.PARTIAL)

    def _tag(self, batches: Iterator[Sequence[TaggedImage]], spool: IO[str] | None) -> End:
        with (
            open_sink(self.output, self.journal, self.description, self.keywords_of) as (sink, seen),
            stop_on_interrupt() as stopped,
        ):
            try:
                end = self._tag_until(stopped, batches, sink, spool, shown=not seen)
                if self.journal is not None:
                    if end is End.done:
                        self.journal.put_in_order()
                    self.tally.recount(self.journal.rows())
            finally:
                sink.finish({"images": self.tally.images, "ok": self.tally.ok, "failed": self.tally.failed})
            return end

    def _tag_until(
        self,
        stopped: Callable[[], bool],
        batches: Iterator[Sequence[TaggedImage]],
        sink: Sink,
        spool: IO[str] | None,
        *,
        shown: bool,
    ) -> End:
        output = self.output
        shown = shown and not (output.quiet or output.no_progress)
        before = self.journal.kept if self.journal is not None else 0
        with show_progress(shown=shown, done=before, count_all=self.count_all) as advance:
            for batch in batches:
                batch = until_failure(batch) if output.fail_fast else batch
                batch = self.sidecars.apply(batch) if self.sidecars else batch
                sink.write(batch)
                rows = [as_json(record) for record in batch]
                self.tally.add(rows)
                if spool is not None:
                    spool.writelines(dump(row) + "\n" for row in rows)
                advance(len(batch))
                if stopped():
                    return End.interrupted
                if output.fail_fast and self.tally.failed:
                    return End.failed
        return End.done

    def _rows(self, spool: IO[str] | None) -> Iterator[Row]:
        if self.journal is not None:
            yield from self.journal.rows()
        elif spool is not None:
            spool.seek(0)
            yield from (json.loads(line) for line in spool)

    def _say_interrupted(self) -> None:
        done = f"interrupted after {counted(self.tally.images, 'image')}"
        if self.journal is not None:
            say(f"{done}; {self.output.output} holds them", hint="to go on, give the same command with --resume")
        else:
            say(done, hint="a run with --output tags.jsonl can be continued with --resume")

    def _say_summary(self, end: End) -> None:
        if end is End.failed:
            say(stopped_text(self.tally.ok))
        say("done" if end is End.done else "so far", details=self.tally.lines())


@contextmanager
def _spool(*, wanted: bool) -> Iterator[IO[str] | None]:
    """Rows on disk for the steps at the end, so that memory stays that of a batch."""
    if not wanted:
        yield None
        return
    with closing(tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")) as file:
        yield file
