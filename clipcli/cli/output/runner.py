"""What commands that answer a question about each image have in common, from their options to the exit status."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import RunOutputOptions
from clipcli.cli.options.sorting import SortOptions
from clipcli.cli.output import Renderer, make_renderer
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.cli.output.inputs import WatchedInputs
from clipcli.cli.output.run import BatchStep, Run, Step
from clipcli.cli.output.shapes import Row, Shape
from clipcli.cli.output.summary import Tally
from clipcli.cli.shell.progress import is_terminal_shared
from clipcli.cli.shell.run_progress import RunProgress, run_progress
from clipcli.errors import ExitStatus, UsageError
from clipcli.library.journal.rows import Journal
from clipcli.library.journal.run_file import RunFile
from clipcli.results import Record

if TYPE_CHECKING:
    from clipcli.api.model import Model
    from clipcli.api.questions import Judge
    from clipcli.features.pipeline import Result
    from clipcli.images.find import ImageSource, Pause

R = TypeVar("R", bound=Record)


class Question(Protocol[R]):
    """What a command asks of each image. Options are checked when it is made; the model comes later."""

    @property
    def shape(self) -> Shape[R]:
        """How its answers are shown."""

    @property
    def levels(self) -> Mapping[str, Sequence[str]]:
        """The levels of labels that have several, for sorting: folders inside each other."""

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """What an answer depends on besides the image, the model, and how images are read; the keys are for people."""

    def prepare(self, model: "Model") -> "Judge[R]":
        """Encode labels or texts. Called once, while the first images are being read."""

    def describe(self, model: "Model") -> Mapping[str, Any]:
        """What a JSON document says of the question: `label_set`, `labels`, `templates` and more. After `prepare`."""


@dataclass(frozen=True, slots=True)
class Additions(Generic[R]):
    """What only some commands do in a run.

    Attributes:
        each: Makes what is done with each batch, given the run's counts.
        settings: What a row depends on because of that.
        renderer: Writes a format that only this command has.
    """

    each: Callable[[Tally[R]], BatchStep[R]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    renderer: Callable[[Destination], Renderer[R]] | None = None


@dataclass(frozen=True, slots=True)
class Runner(Generic[R]):
    """Runs a question over the images that the options name."""

    question: Question[R]
    inputs: InputOptions
    model: ModelOptions
    output: RunOutputOptions
    sorting: SortOptions
    additions: Additions[R] = field(default_factory=Additions)

    def run(self) -> None:
        """Answer for all images, print the answers, and do what the options ask for at the end.

        Raises:
            typer.Exit: With `PARTIAL` if an image failed, with `INTERRUPTED` if the user stopped the run.
        """
        watched = WatchedInputs(self.inputs, self.sorting.sort_into)
        sources = iter(watched)  # what is wrong with the names is said first
        with self._run_file() as run_file, run_progress(shown=self._shows_progress()) as progress:
            self._run(watched, sources, run_file, progress)

    def _run(
        self,
        watched: WatchedInputs,
        sources: "Iterator[ImageSource | Pause]",
        run_file: RunFile | None,
        progress: RunProgress,
    ) -> None:
        from clipcli.api.questions import answer

        output = self.output
        model = self.model.open(self.inputs, quiet=output.quiet, bars=not output.no_progress, progress=progress)
        journal = self._journal(model, run_file)
        if journal is not None:
            sources = journal.pending(sources)
        tally = Tally(self.question.shape)
        images = _noting_cached(model.image_features(sources, at_hand=self.inputs.are_files), tally)
        judge = self.question.prepare(model)
        progress.images(journal.kept if journal is not None else 0, watched.count_all)
        run = Run(
            output=output,
            renderer=self.additions.renderer or self._renderer,
            describe=partial(self._describe, model),
            tally=tally,
            progress=progress,
            journal=journal,
            each=self.additions.each(tally) if self.additions.each is not None else None,
            steps=self._steps(model),
            remarks=watched.remarks,
            keeps_features=model.cache.usable,
        )
        try:
            run.execute(answer(images, judge))
        except typer.Exit as end:
            if end.exit_code == ExitStatus.PARTIAL:  # a process that fails waits for nothing more on its way out
                model.encoders.cache.settle()
            raise

    def _shows_progress(self) -> bool:
        output = self.output
        return not (output.quiet or output.no_progress or (output.to_stdout and is_terminal_shared()))

    def _run_file(self) -> AbstractContextManager[RunFile | None]:
        """The file beside the output that a second run finds locked, before it loads a model."""
        output = self.output
        return RunFile(output.output) if output.is_journal and output.output is not None else nullcontext()

    def _journal(self, model: "Model", run_file: RunFile | None) -> Journal | None:
        if run_file is None:
            return None
        journal = Journal(run_file, self._settings(model))
        if self.output.resume:
            try:
                journal.resume()
            except UsageError as error:
                hint = "leave --resume out to start over, or give another --output"
                raise UsageError(f"--resume: {error}", hint=hint) from error
        return journal

    def _settings(self, model: "Model") -> dict[str, Any]:
        """All that a row depends on besides the image, by the words that errors use."""
        inputs = self.inputs
        return {
            "command": self.question.shape.schema,
            "--model": model.checkpoint.files.id,
            "revision": model.checkpoint.files.revision,
            **_computation(model),
            "--dtype": model.options.dtype,
            **self.question.settings(model),
            "--no-exif": inputs.no_exif,
            "--exact-decode": inputs.exact_decode,
            "--alpha": inputs.alpha.value,
            "--max-megapixels": inputs.max_megapixels,
            **self.additions.settings,
        }

    def _renderer(self, destination: Destination) -> Renderer[R]:
        output = self.output
        return make_renderer(
            output.chosen_format(), destination, self.question.shape, for_spreadsheet=output.spreadsheet
        )

    def _describe(self, model: "Model") -> dict[str, Any]:
        from clipcli.api.questions import describe_run

        return describe_run(model, **self.question.describe(model))

    def _steps(self, model: "Model") -> list[Step]:
        """What is done at the end; the report first, because sorting may move the images away."""
        steps: list[Step] = []
        if self.output.report is not None:
            steps.append(partial(self._report, self.output.report, model))
        if self.sorting.sort_into is not None:
            steps.append(partial(self._sort, self.sorting.sort_into))
        return steps

    def _report(self, path: str, model: "Model", rows: "Iterator[Row]") -> int:
        from clipcli.library.report.page import report

        run = self._describe(model)
        run["label_set"] = run["label_set"] or f"{self.question.shape.title}s"
        with open_destination(path, "--report") as destination:
            folder, thumbnails = (
                os.path.dirname(path),
                None if path == "-" else f"{os.path.splitext(path)[0]}-thumbnails",
            )
            for text in report(self._tagged(rows), run, folder, model.options.decode, thumbnails=thumbnails):
                destination.write(text)
        return 0  # failures are part of the page

    def _sort(self, folder: str, rows: "Iterator[Row]") -> int:
        from clipcli.cli.output.library_events import sort_images
        from clipcli.library.sorting.sorter import Sorter

        sorting = self.sorting
        sorter = Sorter(folder, sorting.way, _Levels(self.question.levels), dry_run=sorting.dry_run)
        return sort_images(self._tagged(rows), sorter, dry_run=sorting.dry_run, quiet=self.output.quiet)

    def _tagged(self, rows: "Iterator[Row]") -> Iterator[Row]:
        """Rows as sorting and reports read them, whatever the question was."""
        for row in rows:
            kept = {key: row[key] for key in ("path", "status", "error") if key in row}
            yield {
                **kept,
                "tags": list(self.question.shape.tags(row)) if row["status"] == "ok" else row.get("tags", []),
            }


def _noting_cached(
    images: "Generator[list[Result], None, None]", tally: Tally[Any]
) -> "Generator[list[Result], None, None]":
    """Count the images whose features came from the cache."""
    with closing(images):
        for batch in images:
            tally.cached += sum(getattr(item, "cached", False) for item in batch)
            yield batch


class _Levels(dict[str, Sequence[str]]):
    """Levels of labels; a label without is one level by itself."""

    def __missing__(self, label: str) -> Sequence[str]:
        return (label,)


def _computation(model: "Model") -> dict[str, list[str]]:
    """Digests of all that a model computes with, whatever it is called; in lists, as errors show no digests."""
    return {
        "the model's config or weights": [model.encoders.digest],
        "the model's preprocessing": [model.checkpoint.preprocessing.digest],
        "the model's tokenizer": [model.checkpoint.tokenizer_digest],
    }
