"""One worker: a model, a question, and shards one after the other."""

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from clipcli.errors import ClipError, ClipWarning, ImageError, ModelError
from clipcli.features.reader import Failed
from clipcli.images.find import ImageSource
from clipcli.results import Failure
from clipcli.scale.inputs.open import open_shard
from clipcli.scale.inputs.references import fetched
from clipcli.scale.inputs.shard import Columns, InputRow, Shard, ShardError
from clipcli.scale.layouts import Files, is_whole, layout_of
from clipcli.scale.ledger import TRIES, Counts, Ledger
from clipcli.scale.questions import Encodings, Prepared, ScaleQuestion
from clipcli.scale.stores import Folder

if TYPE_CHECKING:
    import pyarrow as arrow

    from clipcli.api.model import Model
    from clipcli.compute.options import ModelSpec


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a worker needs; can be pickled.

    Attributes:
        spec: Builds the model.
        digest: Digest of the model's configuration and weights, from the run's settings.
        question: What is asked.
        columns: Which columns are read.
        layout: Which files are written.
        output: The run's folder.
        shards: How many shards the run has.
        tries: How often a shard is tried.
    """

    spec: "ModelSpec"
    digest: str
    question: ScaleQuestion
    columns: Columns
    layout: str
    output: str
    shards: int
    tries: int = TRIES


@dataclass(frozen=True, slots=True)
class Report:
    """The result of trying a shard.

    Attributes:
        shard: Its id.
        state: `done` now, `known` to be done by another worker, to be tried `again`, or `failed` for good.
        counts: Counts of its rows.
        error: Why it is not done.
    """

    shard: str
    state: Literal["done", "known", "again", "failed"]
    counts: Counts = field(default_factory=Counts)
    error: str | None = None


class Answering(Protocol):
    """Turns a shard into files."""

    def __call__(self, shard: Shard) -> tuple[Files, Counts]:
        """Read a shard and answer for its rows."""


def attempt(shard: Shard, ledger: Ledger, answer: Answering) -> Report:
    """Try a shard once, and record it in the ledger.

    Raises:
        ClipError: The error is not specific to the shard, so that all others would fail too.
        KeyboardInterrupt: The worker was asked to stop; the attempt does not count.
    """
    if ledger.is_done(shard):
        return Report(shard.id, "known")
    number = ledger.begin_attempt(shard)
    if number is None:
        error = f"{shard.uri}: every attempt ended without a word, as when a worker has too little memory"
        ledger.give_up(shard, error)
        return Report(shard.id, "failed", error=error)
    try:
        files, counts = answer(shard)
        ledger.commit(shard, files, counts, is_whole)
    except ShardError as error:
        why = f"{error} ({error.hint})" if error.hint else str(error)
        ledger.give_up(shard, why)
        return Report(shard.id, "failed", error=why)
    except OSError as error:
        if ledger.is_last(number):
            ledger.give_up(shard, str(error))
            return Report(shard.id, "failed", error=str(error))
        return Report(shard.id, "again", error=str(error))
    except (ClipError, KeyboardInterrupt):
        ledger.take_back(shard, number)  # any other exception is a bug, which this shard may have caused
        raise
    return Report(shard.id, "done", counts)


class Worker:
    """Answers for shards with one model, which is loaded with the first.

    Args:
        job: What to do.
        model: The model, where it is loaded already.

    Raises:
        ModelError: The model is not the one that the run was begun with.
    """

    def __init__(self, job: Job, model: "Model | None" = None) -> None:
        self._job = job
        self._ledger = Ledger(Folder(job.output), job.tries)
        self._model = model or _open(job)
        self._layout = layout_of(job.layout)
        self._prepared: Prepared | None = None

    def run(self, shard: Shard, on_rows: Callable[[int], None] = lambda rows: None) -> Report:
        """Try a shard once; `on_rows` is called with the number of rows just encoded."""
        return attempt(shard, self._ledger, lambda shard: self.answer(shard, on_rows))

    def answer(self, shard: Shard, on_rows: Callable[[int], None] = lambda rows: None) -> tuple[Files, Counts]:
        """Read a shard and answer for its rows.

        Raises:
            ShardError: It is damaged or not valid.
            OSError: It could not be read now.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClipWarning)  # once was enough, and not for each shard
            if self._prepared is None:
                self._prepared = self._job.question.prepare(self._model)
            with open_shard(shard, self._job.columns) as opened:
                encodings = encode(self._model, fetched(opened.rows()), on_rows)
                kept_types = opened.kept_types
            answers = self._prepared(encodings)
        table = _table(shard, encodings, answers.columns, kept_types)
        errors = Counter(failure.type for failure in encodings.failures if failure is not None)
        counts = Counts(len(encodings.rows), len(encodings.features), dict(sorted(errors.items())), answers.cut)
        return self._layout.write(table, shard, self._job.shards), counts


def encode(model: "Model", rows: Iterator[InputRow], on_rows: Callable[[int], None]) -> Encodings:
    """Encode the images of rows; memory holds their features, and the bytes of a few images."""
    encodings = Encodings()
    waiting: deque[InputRow] = deque()

    def sources() -> Iterator[ImageSource]:
        for row in rows:
            waiting.append(replace(row, image=b""))
            if isinstance(row.image, ImageError):
                yield ImageSource(row.key, error=row.image)
            else:
                assert isinstance(row.image, bytes)  # `fetched` leaves no path
                yield ImageSource(row.key, data=row.image)

    with closing(model.image_features(sources())) as batches:
        for batch in batches:
            for item in batch:
                encodings.rows.append(waiting.popleft())
                if isinstance(item, Failed):
                    encodings.failures.append(Failure.from_error(item.error))
                else:
                    encodings.failures.append(None)
                    encodings.features.append(item.features)
            on_rows(len(batch))
    return encodings


def _open(job: Job) -> "Model":
    """Build the model from its files, or by its name if this machine has them elsewhere."""
    from clipcli.api.model import Model
    from clipcli.foreign.resolve import resolve_model

    spec = job.spec
    files = spec.files if spec.files.folder.is_dir() else resolve_model(spec.files.id, revision=spec.files.revision)
    model = Model(files, spec.options)
    if model.encoders.digest != job.digest:
        raise ModelError(
            f"{spec.files.id} is not the same model on this machine as where the run was begun",
            hint="fetch it again, or name a revision",
        )
    return model


def _table(
    shard: Shard,
    encodings: Encodings,
    columns: "Mapping[str, arrow.Array]",
    kept_types: "Mapping[str, arrow.DataType]",
) -> "arrow.Table":
    """The table of a shard's rows."""
    import pyarrow as arrow

    failures, text = encodings.failures, arrow.string()
    named: dict[str, Any] = {
        "key": arrow.array([_plain(row.key) for row in encodings.rows], text),
        "shard": arrow.array([shard.id] * len(encodings.rows), text),
        "status": arrow.array(["ok" if failure is None else "error" for failure in failures], text),
        "error_type": arrow.array([failure and failure.type for failure in failures], text),
        "error": arrow.array([failure and _plain(failure.message) for failure in failures], text),
        **columns,
    }
    for name, type in kept_types.items():
        values = (row.kept[name] for row in encodings.rows)
        named[name] = arrow.array([_plain(value) if isinstance(value, str) else value for value in values], type)
    return arrow.table(named)


def _plain(text: str) -> str:
    """A text that UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
