"""One run over images: batches into the output, until all are done or the user stops, and what comes after."""

import json
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import IO, Any, Generic, TypeVar

import typer

from clipcli.cli.options.output import RunOutputOptions
from clipcli.cli.output import Renderer
from clipcli.cli.output.destination import Destination
from clipcli.cli.output.row_writers import RowWriter, open_row_writer
from clipcli.cli.output.shapes import Row
from clipcli.cli.output.summary import Tally
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.interrupt import undisturbed
from clipcli.cli.shell.progress import is_terminal_shared
from clipcli.cli.shell.run_progress import RunProgress
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipError, ExitStatus
from clipcli.files import dump
from clipcli.library.journal.rows import Journal
from clipcli.results import Record

R = TypeVar("R", bound=Record)

# Done with each batch before its rows are written, as sidecars are.
BatchStep = Callable[[Sequence[R]], Sequence[R]]
# Done with all rows at the end, as sorting is; says how many of its own things failed.
Step = Callable[[Iterable[Row]], int]


class End(Enum):
    """How the answers ended."""

    done = auto()
    failed = auto()


@dataclass(frozen=True, slots=True)
class Run(Generic[R]):
    """One run, with all that it needs.

    Attributes:
        output: What is printed where.
        renderer: Of the format, for a destination.
        describe: Says in a JSON document what was run; called when the first batch is there.
        tally: Counts what happens.
        progress: Shows how far it is.
        journal: Where rows go if the run can be resumed.
        each: What is done with each batch.
        steps: What is done with all rows at the end.
        remarks: What there is to say of the inputs at the end.
        keeps_features: Whether what was computed need not be computed again.
    """

    output: RunOutputOptions
    renderer: Callable[[Destination], Renderer[R]]
    describe: Callable[[], Mapping[str, Any]]
    tally: Tally[R]
    progress: RunProgress
    journal: Journal | None = None
    each: BatchStep[R] | None = None
    steps: Sequence[Step] = ()
    remarks: Callable[[], Iterable[str]] = field(default=tuple)
    keeps_features: bool = False

    def execute(self, batches: Generator[Sequence[R], None, None]) -> None:
        """Do it all, and leave with the status that fits.

        Raises:
            typer.Exit: With `PARTIAL` if something failed, with `INTERRUPTED` if the user stopped the run.
        """
        self.tally.start()
        with _spool(wanted=bool(self.steps) and self.journal is None) as spool:
            try:
                end = self._answer(batches, spool)
            except KeyboardInterrupt:
                self._say_interrupted()
                raise typer.Exit(ExitStatus.INTERRUPTED) from None
            failed = sum(step(self._rows(spool)) for step in self.steps) if end is End.done else 0
        self._say_summary(end)
        if self.tally.failed or failed:
            raise typer.Exit(ExitStatus.PARTIAL)

    def _answer(self, batches: Generator[Sequence[R], None, None], spool: IO[str] | None) -> End:
        output = open_row_writer(self.output.output, self.journal, self.renderer, self.describe)
        with output as (writer, on_terminal), closing(batches):
            try:
                end = self._answer_until_end(batches, writer, spool, on_terminal=on_terminal)
                if self.journal is not None:
                    if end is End.done:
                        self.journal.put_in_order()
                    self.tally.recount(self.journal.rows())
                    if end is End.done and not (self.output.resume or self.tally.failed):
                        self.journal.retire()
            finally:  # after Ctrl-C, too, the document is whole
                writer.finish(self.tally.counts)
        return end

    def _answer_until_end(
        self, batches: Iterable[Sequence[R]], writer: RowWriter[R], spool: IO[str] | None, *, on_terminal: bool
    ) -> End:
        for batch in batches:
            batch = _until_failure(batch) if self.output.fail_fast else batch
            with undisturbed():  # the counts are those of the rows
                batch = self.each(batch) if self.each is not None else batch
                if on_terminal:
                    with self.progress.writing():
                        writer.write(batch)
                else:
                    writer.write(batch)
                self.tally.add(batch)
                if spool is not None:
                    _keep(spool, batch)
            self.progress.advance(len(batch))
            if self.output.fail_fast and self.tally.failed:
                return End.failed
        return End.done

    def _rows(self, spool: IO[str] | None) -> Iterator[Row]:
        if self.journal is not None:
            yield from self.journal.rows()
        elif spool is not None:
            spool.seek(0)
            yield from (json.loads(line) for line in spool)

    def _say_interrupted(self) -> None:
        self.progress.stop()
        if self.journal is not None and self.tally.images:
            self.tally.recount(self.journal.rows())
        if not self.tally.images:
            say("interrupted")
            return
        done = f"interrupted after {counted(self.tally.images, 'image')}"
        if self.journal is not None:
            say(f"{done}; {self.output.output} has their rows", hint="to continue, run the same command with --resume")
        elif self.keeps_features:
            say(done, hint="their features are cached: the same command gets to this point again without computing")
        else:
            say(done, hint="a run with --output results.jsonl can be continued with --resume")

    def _say_summary(self, end: End) -> None:
        """Say what the run came to, unless that is plain to see, or would be drawn over by a pager."""
        self.progress.stop()
        tally = self.tally
        if self.output.quiet:
            return
        if end is End.failed:
            say(f"stopped at the first image that could not be used (--fail-fast), after {tally.ok:,} that could")
        elif tally.images > 1 or tally.failed or tally.sidecars:
            if tally.failed or not (self.output.to_stdout and is_terminal_shared()):
                say(tally.headline(), details=[*tally.details(), *self.remarks()])


def _until_failure(batch: Sequence[R]) -> Sequence[R]:
    """A batch up to its first image that failed."""
    first = next((i for i, record in enumerate(batch) if record.error is not None), len(batch))
    return batch[: first + 1]


@contextmanager
def _spool(*, wanted: bool) -> Iterator[IO[str] | None]:
    """Rows on disk for the steps at the end, so that memory stays that of a batch.

    Raises:
        ClipError: There is no room for a temporary file.
    """
    if not wanted:
        yield None
        return
    try:
        file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise _no_room(error) from error
    try:
        yield file
    finally:
        with suppress(OSError):  # what could not be written was said
            file.close()


def _keep(spool: IO[str], batch: Iterable[R]) -> None:
    try:
        spool.writelines(dump(record.to_dict()) + "\n" for record in batch)
        spool.flush()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> ClipError:
    return ClipError(
        f"the rows of this run cannot be kept in a temporary file: {error.strerror or error}",
        hint="make room, or set TMPDIR to a folder on another disk",
    )
