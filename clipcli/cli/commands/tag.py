"""`clip tag`: the labels that apply to each image of a library, and what is done with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.labels import LabelOptions, examples_of
from clipcli.cli.options.measuring.calibration import CalibrationOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import TagOutputOptions
from clipcli.cli.options.scoring import ThresholdOptions
from clipcli.cli.options.shards import ShardOptions
from clipcli.cli.options.sidecars import SidecarOptions
from clipcli.cli.options.sorting import SortOptions, Undo
from clipcli.cli.output.shapes import TAGGED
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options

if TYPE_CHECKING:
    from clipcli.answers.tag import Tagger
    from clipcli.api.model import Model
    from clipcli.cli.output.run import BatchStep
    from clipcli.cli.output.runner import Additions
    from clipcli.cli.output.summary import Tally
    from clipcli.labels.label_set import LabelSet
    from clipcli.library.sidecars.keywords import Keywords
    from clipcli.results import TaggedImage


@expand_options
def tag(
    inputs: InputOptions,
    labels: LabelOptions,
    thresholds: ThresholdOptions,
    sidecars: SidecarOptions,
    sorting: SortOptions,
    calibration: CalibrationOptions,
    shards: ShardOptions,
    model: ModelOptions,
    output: TagOutputOptions,
    undo: Undo = None,
) -> None:
    """Tag images with every label that applies: several, or none.

    \b
    clip tag ~/photos --label-set photo-subjects --output tags.jsonl --resume
    clip tag ~/photos --label-set photo-subjects --write-sidecars --prefix ai/
    clip tag ~/photos --label-set pets --sort-into sorted --report report.html
    clip tag ~/photos --label-set pets --format exiftool --output tags.args
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.options.conflicts import TagOnly, refuse_conflicts

    refuse_conflicts(inputs, sorting, output, TagOnly(thresholds, sidecars, calibration, undo, output))
    if undo is not None:
        from clipcli.cli.output.library_events import say_undo
        from clipcli.library.sorting.undo import undo as take_back

        events = take_back(undo, dry_run=sorting.dry_run)
        say_undo(events, undo, dry_run=sorting.dry_run, quiet=output.quiet)
        return
    if sidecars.remove_tags:
        from clipcli.cli.output.library_events import remove_tags

        remove_tags(inputs, labels, sidecars, dry_run=sorting.dry_run, quiet=output.quiet)
        return
    question = TagQuestion(labels, thresholds)
    from clipcli.cli.output.sharded import is_sharded, only_files, run_shards

    files = {
        **only_files(output, sorting),
        "--write-sidecars": sidecars.write_sidecars,
        "--calibrate": calibration.calibrate,
        "--format exiftool": output.is_exiftool,
    }
    if is_sharded(inputs, output.output, shards, files) and output.output is not None:
        from clipcli.scale.questions import Ask

        ask = Ask("tag", question)
        run_shards(ask, inputs, shards, model, output.output, quiet=output.quiet, no_progress=output.no_progress)
        return
    if calibration.calibrate is not None and calibration.calibrate_into is not None:
        _calibrate(question, calibration.calibrate, calibration.calibrate_into, inputs, model, output)
        return
    from clipcli.cli.output.runner import Runner

    additions = _additions(question, sidecars, output, dry_run=sorting.dry_run)
    Runner(question, inputs, model, output, sorting, additions).run()


class TagQuestion:
    """Which labels apply."""

    shape = TAGGED

    def __init__(self, labels: LabelOptions, thresholds: ThresholdOptions) -> None:
        """Read labels and thresholds.

        Raises:
            UsageError: Something is wrong with them, or there are none.
        """
        from clipcli.answers.tag import TagOptions
        from clipcli.api.questions import no_labels
        from clipcli.labels.background import background_of

        label_set = labels.read()
        if label_set is None:
            raise no_labels()
        self.label_set: LabelSet = label_set
        self.templates = labels.templates()
        self._background = background_of(label_set)
        self._options = TagOptions(thresholds.threshold, thresholds.top, tuple(thresholds.exclusive or ()))
        self._options.check_groups(label_set)

    @property
    def levels(self) -> Mapping[str, Sequence[str]]:
        """The levels of each label."""
        return {label.name: label.path for label in self.label_set.labels}

    def settings(self, model: "Model") -> dict[str, Any]:
        """What an answer depends on."""
        labels, options = self.label_set.labels, self._options
        members = {group: [label.name for label in labels if label.group == group] for group in options.exclusive}
        return {
            "label set": self.label_set.name,
            "labels": [(label.name, label.prompts, label.threshold) for label in labels],
            "examples": examples_of(self.label_set),
            "templates": model.templates_for(self.label_set, self.templates),
            "background": self._background,
            "--threshold": options.threshold,
            "--top": options.top,
            "exclusive groups": members,
        }

    def prepare(self, model: "Model") -> "Tagger":
        """Encode labels and background."""
        from clipcli.api.judges import tagger

        return tagger(model, self.label_set, self._options, templates=self.templates)

    def describe(self, model: "Model") -> dict[str, Any]:
        """Labels, templates, background and thresholds."""
        from clipcli.api.questions import describe_tag

        return describe_tag(model, self.label_set, self.templates, self._options)


def _additions(
    question: TagQuestion, sidecars: SidecarOptions, output: TagOutputOptions, *, dry_run: bool
) -> "Additions[TaggedImage]":
    """What `clip tag` alone does in a run: sidecars, and the format for ExifTool."""
    from clipcli.cli.output.documents.exiftool import ExiftoolRenderer
    from clipcli.cli.output.runner import Additions
    from clipcli.library.sidecars.keywords import keywords

    keywords_of = _keywords_of(question, sidecars.prefix)
    # Without a prefix nothing tells our keywords from those of others, so none is removed from images.
    stale = keywords(question.levels.values() if sidecars.prefix else (), sidecars.prefix)
    written = sidecars.write_sidecars
    return Additions(
        each=partial(_sidecar_step, question, sidecars, keywords_of, dry_run) if written else None,
        settings={
            "--write-sidecars": written,
            "--sidecar-name": sidecars.sidecar_name.value if written else None,
            "--prefix": sidecars.prefix if written else None,
            "--dry-run": dry_run if written else None,
        },
        renderer=partial(ExiftoolRenderer, keywords_of=keywords_of, stale=stale) if output.is_exiftool else None,
    )


def _keywords_of(question: TagQuestion, prefix: str) -> "Callable[[TaggedImage], Keywords]":
    from clipcli.library.sidecars.keywords import keywords

    levels = question.levels
    return lambda record: keywords((levels[tag.label] for tag in record.tags), prefix)


def _sidecar_step(
    question: TagQuestion,
    options: SidecarOptions,
    keywords_of: "Callable[[TaggedImage], Keywords]",
    dry_run: bool,
    tally: "Tally[TaggedImage]",
) -> "BatchStep[TaggedImage]":
    from clipcli.cli.output.library_events import SidecarStep
    from clipcli.images.find import IMAGE_EXTENSIONS
    from clipcli.library.sidecars.files import SidecarWriter
    from clipcli.library.sidecars.keywords import owner_of

    writer = SidecarWriter(options.sidecar_name.value, IMAGE_EXTENSIONS, dry_run=dry_run)
    owner = owner_of(question.label_set, options.prefix)
    return SidecarStep(writer, keywords_of, owner, tally.sidecars, tally.keywords, dry_run=dry_run).apply


def _calibrate(
    question: TagQuestion,
    labelled: str,
    into: str,
    inputs: InputOptions,
    model: ModelOptions,
    output: TagOutputOptions,
) -> None:
    """Do what `clip calibrate` does: this is how it was spelled before it had a command of its own."""
    from clipcli.cli.commands.calibrate import run_calibration
    from clipcli.cli.options.inputs import ReadingOptions
    from clipcli.cli.options.measuring.labelled import LabelledOptions

    if not output.quiet:
        say("warning: --calibrate is deprecated", hint="use `clip calibrate IMAGES --label-set NAME --into FILE`")
    reading = {field.name: getattr(inputs, field.name) for field in fields(ReadingOptions)}
    labelled_options = LabelledOptions(**reading, images=labelled)
    run_calibration(labelled_options, question.label_set, question.templates, model, into, output)
