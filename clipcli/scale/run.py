"""A run over shards in one process: by itself, or as one of several that divide the shards."""

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from clipcli.errors import ClipError, UsageError
from clipcli.scale.inputs.added import added
from clipcli.scale.inputs.divide import ROWS_PER_SHARD, divide
from clipcli.scale.inputs.open import check_columns
from clipcli.scale.inputs.shard import Columns, Shard
from clipcli.scale.layouts import layout_of, require_pyarrow
from clipcli.scale.ledger import TRIES, Counts, Ledger
from clipcli.scale.questions import ScaleQuestion
from clipcli.scale.stores import PRIVATE, Folder, is_uri
from clipcli.scale.worker import Job, Report, Worker

if TYPE_CHECKING:
    from clipcli.api.model import Model


@dataclass(frozen=True, slots=True)
class Share:
    """One of several equal shares of a run's shards, such as the first of eight: `1/8`.

    Attributes:
        number: Which, from 1.
        of: How many there are.

    Raises:
        UsageError: `number` is not between 1 and `of`.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Check the range."""
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"shards must be I/N with I from 1 to N, not {self.number}/{self.of}",
                hint="the first of eight machines takes 1/8, the last 8/8",
                parameter="shards",
                value=f"{self.number}/{self.of}",
            )

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read `I/N`.

        Raises:
            UsageError: The text has another form, or I is not between 1 and N.
        """
        number, slash, of = text.partition("/")
        if not slash or not number.isdecimal() or not of.isdecimal():
            raise UsageError(
                f"shards must be I/N, such as 1/8, not {text}",
                hint="the first of eight machines takes 1/8, the last 8/8",
                parameter="shards",
                value=text,
            )
        return cls(int(number), int(of))

    def take(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards of this share: every Nth, so that all shares get large and small ones."""
        return list(shards[self.number - 1 :: self.of])


@dataclass(frozen=True, slots=True)
class Plan:
    """The question, the shards, and the output of a run.

    Attributes:
        question: What is asked.
        shards: Tars, Parquet files and tables; patterns with braces and wildcards.
        images: Single images, by path or URI.
        output: The run's folder: a path or URI.
        columns: Which columns are read.
        layout: Which files are written: see `LAYOUTS`.
        rows_per_shard: How many rows of a table, Parquet file or list make a shard.
        tries: How often a shard is tried.
        retry_failed: Whether shards that were given up are tried again.
        named: The inputs as the user typed them, by which a later start recognizes its run.

    Raises:
        UsageError: A value is out of range.
    """

    question: ScaleQuestion
    shards: Sequence[str]
    images: Iterable[str]
    output: str
    columns: Columns = field(default_factory=Columns)
    layout: str = "parquet"
    rows_per_shard: int = ROWS_PER_SHARD
    tries: int = TRIES
    retry_failed: bool = False
    named: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        require_pyarrow()
        layout = layout_of(self.layout)
        if layout.needs == "embedding" and self.question.command != "embed":
            raise UsageError(f"layout {self.layout} is for features alone", parameter="layout", value=self.layout)
        if layout.needs == "text" and self.question.command != "score pairs":
            raise UsageError(
                f"layout {self.layout} is for scores of pairs alone", parameter="layout", value=self.layout
            )
        layout.refuse_taken(self.columns.kept, self.question.columns)
        for name, value in (("rows_per_shard", self.rows_per_shard), ("tries", self.tries)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}", parameter=name, value=value)

    def settings(self, model: "Model") -> dict[str, Any]:
        """All that the output depends on, by the words that errors use."""
        columns, decode = self.columns, model.options.decode
        return {
            "command": self.question.command,
            "inputs": list(self.named),
            "model": model.checkpoint.id,
            "revision": model.checkpoint.files.revision,
            "the model's config or weights": [model.encoders.digest],
            "the model's preprocessing": [model.checkpoint.preprocessing.digest],
            "dtype": model.options.dtype,
            "layout": self.layout,
            "image_column": columns.image,
            "text_column": columns.text,
            "captions": columns.with_text,
            "key_column": columns.key,
            "keep_columns": list(columns.kept),
            "rows_per_shard": self.rows_per_shard,
            "no_exif": not decode.exif,
            "alpha": decode.alpha,
            "exact_decode": decode.exact,
            "max_megapixels": decode.max_megapixels,
            **self.question.settings(model),
        }


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was begun, with the shards to do.

    Attributes:
        job: The job for workers.
        ledger: Its ledger.
        shards: All of its shards.
        todo: Shards of this share that are not done or given up.
        lost: How many of them were done, but their output is gone.
        left_out: Shards and images that were added to the inputs since the run was begun.
    """

    job: Job
    ledger: Ledger
    shards: Sequence[Shard]
    todo: Sequence[Shard]
    lost: int = 0
    left_out: Sequence[str] = ()


@dataclass(slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        shards: How many shards the whole run has.
        before: How many of this share's were done when it began.
        done: How many it did.
        counts: Counts of their rows.
        failed: Shards of this share that were given up, and why.
        is_whole: Whether all shards of the whole run are done.
        lost: How many of this share's had been done before, and were done again because their output was gone.
        left_out: Shards and images that were added to the inputs since the run was begun, and are not part of it.
    """

    shards: int = 0
    before: int = 0
    done: int = 0
    counts: Counts = field(default_factory=Counts)
    failed: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False
    lost: int = 0
    left_out: Sequence[str] = ()


class Watcher(Protocol):
    """Receives the progress of a run."""

    def rows(self, count: int) -> None:
        """Called with a number of rows that were just encoded."""

    def shard(self, report: Report) -> None:
        """Called after a shard was tried."""


class Engine(Protocol):
    """Runs workers."""

    def __call__(self, begun: Begun, watcher: Watcher) -> Iterable[Report]:
        """Try shards until each is done or given up; one that is to be tried again goes to the end."""


def run(plan: Plan, model: "Model", share: Share, engine: Engine, watcher: Watcher) -> Outcome:
    """Do a share of a run, or what is left of it.

    Raises:
        UsageError: The output folder holds another run, or something else.
        ClipError: The inputs cannot be used, or a store cannot be reached.
    """
    try:
        begun = _begin(plan, model, share)
        return _finish(begun, share, engine(begun, watcher))
    except OSError as error:  # those of a shard are its own
        raise ClipError(
            f"{plan.output}: {error}",
            hint="when the cause is fixed, run the same command again; finished shards are kept",
        ) from error


def _begin(plan: Plan, model: "Model", share: Share) -> Begun:
    """Begin a run, or find the one that was begun."""
    folder = Folder(plan.output)
    ledger = Ledger(folder, plan.tries)
    lists = Folder(folder.at(f"{PRIVATE}/files"))
    columns = replace(plan.columns, with_text=plan.columns.with_text or plan.question.with_text)
    planned: list[Shard] = []

    def divided() -> list[Shard]:
        planned.extend(divide(plan.shards, plan.images, lists, rows_per_shard=plan.rows_per_shard))
        check_columns(planned[0], columns)
        return planned

    shards = ledger.begin(plan.settings(model), divided)
    rows = plan.rows_per_shard
    left_out = [] if planned else added(shards, plan.shards, plan.images, lists, rows_per_shard=rows)
    mine = share.take(shards)
    done, failed = ledger.done(), ledger.failed()
    lost = _lost(plan, ledger, [shard for shard in mine if shard.id in done], len(shards))
    again = [shard.id for shard in mine if shard.id in lost or (plan.retry_failed and shard.id in failed)]
    ledger.forget(again)
    settled = (done | failed).difference(again)
    job = Job(
        model.spec,
        model.encoders.digest,
        plan.question,
        columns,
        plan.layout,
        plan.output if is_uri(plan.output) else os.path.abspath(plan.output),
        len(shards),
        plan.tries,
    )
    return Begun(job, ledger, shards, [shard for shard in mine if shard.id not in settled], len(lost), left_out)


def _lost(plan: Plan, ledger: Ledger, done: Sequence[Shard], shards: int) -> set[str]:
    """Shards that are done by the ledger, but whose files were deleted."""
    names = layout_of(plan.layout).names
    return ledger.lost({shard.id: names(shard, shards, plan.question.columns) for shard in done})


def _finish(begun: Begun, share: Share, reports: Iterable[Report]) -> Outcome:
    """Process a run's reports, and finish it if no shard is left for any worker."""
    mine = {shard.id for shard in share.take(begun.shards)}
    outcome = Outcome(len(begun.shards), len(mine) - len(begun.todo), lost=begun.lost, left_out=begun.left_out)
    for report in reports:
        if report.state in ("done", "known"):
            outcome.done += 1
            outcome.counts += report.counts
    for shard in sorted(begun.ledger.failed() & mine):
        outcome.failed[shard] = begun.ledger.why_failed(shard)
    outcome.before -= len(outcome.failed.keys() - {shard.id for shard in begun.todo})
    outcome.is_whole = begun.ledger.finish(begun.shards)
    return outcome


class InProcess:
    """The simplest engine: one worker in this process.

    Args:
        model: The model, which is loaded already.
    """

    def __init__(self, model: "Model") -> None:
        self._model = model

    def __call__(self, begun: Begun, watcher: Watcher) -> Iterable[Report]:
        """Try shards one after the other."""
        worker = Worker(begun.job, self._model)
        queue = deque(begun.todo)
        while queue:
            shard = queue.popleft()
            report = worker.run(shard, watcher.rows)
            watcher.shard(report)
            if report.state == "again":
                queue.append(shard)
            yield report
