"""From the options of `clip tag` to a run."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from clipcli.answers.tag import Tagger, TagOptions
from clipcli.api.model import Model
from clipcli.api.questions import answer, no_labels
from clipcli.cli.options import InputOptions, LabelOptions, ModelOptions
from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.library_events import SidecarStep, sort_images
from clipcli.cli.output.runner import describe_run
from clipcli.cli.tagging.options import SidecarOptions, SortOptions, TagOutputOptions, ThresholdOptions
from clipcli.cli.tagging.run import Step, TagRun
from clipcli.cli.tagging.summary import Tally
from clipcli.images.find import IMAGE_EXTENSIONS, ImageSource, Pause, images_of
from clipcli.labels.background import background_of
from clipcli.library.journal.rows import Journal
from clipcli.library.journal.run_file import RunFile
from clipcli.library.sidecars.files import SidecarWriter
from clipcli.library.sidecars.keywords import Keywords, keywords, owner_of
from clipcli.library.sorting.sorter import Sorter
from clipcli.results import TaggedImage


class TagRequest:
    """What the user asked for, checked before anything slow begins."""

    def __init__(
        self,
        inputs: InputOptions,
        labels: LabelOptions,
        thresholds: ThresholdOptions,
        model: ModelOptions,
        output: TagOutputOptions,
    ) -> None:
        """Read labels and thresholds.

        Raises:
            UsageError: Something is wrong with them, or there are none.
        """
        label_set = labels.read()
        if label_set is None:
            raise no_labels()
        self._label_set = label_set
        self._templates = labels.templates()
        self._background = background_of(label_set)
        self._options = TagOptions(thresholds.threshold, thresholds.top, tuple(thresholds.exclusive or ()))
        self._options.check_groups(label_set)
        self._inputs, self._model, self._output = inputs, model, output

    def tag(self, sidecars: SidecarOptions, sorting: SortOptions) -> None:
        """Tag images.

        Raises:
            typer.Exit: With the status that fits.
        """
        sources = self._inputs.sources(skip_folder=sorting.sort_into)
        with self._run_file() as run_file:  # a second run is refused before the model is loaded
            self._tag(sources, run_file, sidecars, sorting)

    def _tag(
        self,
        sources: Iterator[ImageSource | Pause],
        run_file: RunFile | None,
        sidecars: SidecarOptions,
        sorting: SortOptions,
    ) -> None:
        engine = self._model.open(self._inputs, quiet=self._output.quiet, bars=not self._output.no_progress)
        journal = self._journal(engine, run_file, sidecars)
        if journal is not None:
            sources = journal.pending(sources)
        images = engine.image_features(sources)
        tally = Tally()
        keywords_of = self._keywords_of(sidecars.prefix)
        run = TagRun(
            output=self._output,
            description=self._describe(engine),
            keywords_of=keywords_of,
            journal=journal,
            sidecars=self._sidecar_step(sidecars, keywords_of, tally),
            steps=self._steps(sidecars, sorting, engine),
            count_all=self._count_all(sorting.sort_into),
            tally=tally,
        )
        run.execute(answer(images, self._tagger(engine)))

    def calibrate(self, labelled: str, into: str) -> None:
        """Fit thresholds to images whose labels are known, and write them into a label set."""
        from clipcli.cli.tagging.calibration import calibrate, read_labelled

        truth = read_labelled(labelled, self._label_set.names)
        engine = self._model.open(self._inputs, quiet=self._output.quiet, bars=not self._output.no_progress)
        calibrate(engine, self._tagger(engine), self._label_set, truth, into, self._output)

    def _tagger(self, engine: Model) -> Tagger:
        return engine.tagger(self._label_set, self._options, templates=self._templates)

    def _count_all(self, skip_folder: str | None) -> Callable[[], int] | None:
        """Walks the inputs once more to count them; None where standard input or a pipe gives them only once."""
        if not self._inputs.are_files:
            return None
        return lambda: sum(1 for _ in images_of(self._inputs.sources(skip_folder=skip_folder)))

    def _run_file(self) -> AbstractContextManager[RunFile | None]:
        output = self._output
        return RunFile(output.output) if output.is_journal and output.output is not None else nullcontext()

    def _journal(self, engine: Model, run_file: RunFile | None, sidecars: SidecarOptions) -> Journal | None:
        if run_file is None:
            return None
        journal = Journal(run_file, self._settings(engine, sidecars))
        if self._output.resume:
            journal.resume()
        return journal

    def _settings(self, engine: Model, sidecars: SidecarOptions) -> dict[str, Any]:
        """All that a row depends on besides the image."""
        written = sidecars.write_sidecars
        labels = self._label_set.labels
        return {
            "--model": engine.checkpoint.files.id,
            "revision": engine.checkpoint.files.revision,
            **_computation(engine),
            "--dtype": engine.options.dtype,
            "label set": self._label_set.name,
            "labels": [(label.name, label.prompts, label.threshold) for label in labels],
            "templates": engine.templates_for(self._label_set, self._templates),
            "background": self._background,
            "--threshold": self._options.threshold,
            "--top": self._options.top,
            "exclusive groups": {group: [label.name for label in labels if label.group == group]
                                 for group in self._options.exclusive},
            "--no-exif": self._inputs.no_exif,
            "--exact-decode": self._inputs.exact_decode,
            "--alpha": self._inputs.alpha.value,
            "--max-megapixels": self._inputs.max_megapixels,
            "--write-sidecars": written,
            "--sidecar-name": sidecars.sidecar_name.value if written else None,
            "--prefix": sidecars.prefix if written else None,
            "--dry-run": sidecars.dry_run if written else None,
        }  # fmt: skip

    def _keywords_of(self, prefix: str) -> Callable[[TaggedImage], Keywords]:
        levels = {label.name: label.path for label in self._label_set.labels}
        return lambda record: keywords((levels[tag.label] for tag in record.tags), prefix)

    def _sidecar_step(
        self, options: SidecarOptions, keywords_of: Callable[[TaggedImage], Keywords], tally: Tally
    ) -> SidecarStep | None:
        if not options.write_sidecars:
            return None
        writer = SidecarWriter(options.sidecar_name.value, IMAGE_EXTENSIONS, dry_run=options.dry_run)
        owner = owner_of(self._label_set, options.prefix)
        return SidecarStep(writer, keywords_of, owner, tally.sidecars, tally.keywords, dry_run=options.dry_run)

    def _steps(self, sidecars: SidecarOptions, sorting: SortOptions, engine: Model) -> list[Step]:
        """What is done at the end; the report first, because sorting may move the images away."""
        steps: list[Step] = []
        if self._output.report is not None:
            steps.append(partial(self._write_report, self._output.report, engine))
        if sorting.sort_into is not None:
            levels = {label.name: label.path for label in self._label_set.labels}
            sorter = Sorter(sorting.sort_into, sorting.way, levels, dry_run=sidecars.dry_run)
            sort = partial(sort_images, sorter=sorter, dry_run=sidecars.dry_run, quiet=self._output.quiet)
            steps.append(sort)
        return steps

    def _write_report(self, path: str, engine: Model, rows: Iterable[Mapping[str, Any]]) -> int:
        from clipcli.library.report.page import report

        with open_destination(path, "--report") as destination:
            for text in report(rows, self._describe(engine), os.path.dirname(path), engine.options.decode):
                destination.write(text)
        return 0  # failures are part of the page

    def _describe(self, engine: Model) -> dict[str, Any]:
        return describe_run(
            engine,
            label_set=self._label_set.name,
            labels=list(self._label_set.names),
            templates=list(engine.templates_for(self._label_set, self._templates)),
            background=list(self._background),
            thresholds=[self._options.threshold_of(label) for label in self._label_set.labels],
            top=self._options.top,
            exclusive=list(self._options.exclusive),
        )


def _computation(engine: Model) -> dict[str, list[str]]:
    """Digests of all that a model computes with, whatever it is called; in lists, as errors show no digests."""
    return {
        "the model's config or weights": [engine.encoders.digest],
        "the model's preprocessing": [engine.checkpoint.preprocessing.digest],
        "the model's tokenizer": [engine.checkpoint.tokenizer_digest],
    }
