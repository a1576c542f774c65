"""`clip classify`: which of the given labels is on each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.labels import LabelOptions, examples_of
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import RunOutputOptions
from clipcli.cli.options.panels import LABELS, SCORING
from clipcli.cli.options.scoring import Scoring, ScoringName, Temperature
from clipcli.cli.options.shards import ShardOptions
from clipcli.cli.options.sorting import SortOptions
from clipcli.cli.output.shapes import CLASSIFIED
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.answers.classify import HeadClassifier, LabelClassifier
    from clipcli.api.model import Model


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What is made of the numbers."""

    depth: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Add up the scores of labels such as animal/dog to level N of the hierarchy.",
            rich_help_panel=LABELS,
        ),
    ] = None
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="N", help="Show the N best labels.", rich_help_panel=SCORING)
    ] = 5
    scoring: Scoring = ScoringName.auto
    threshold: Annotated[
        float | None, typer.Option(metavar="X", help="Omit labels that score less than X.", rich_help_panel=SCORING)
    ] = None
    none_of_these: Annotated[
        bool,
        typer.Option(
            "--none-of-these", help="Add an answer for images that match none of the labels.", rich_help_panel=SCORING
        ),
    ] = False
    none_text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Use this text for --none-of-these.", rich_help_panel=SCORING),
    ] = None
    temperature: Temperature = None
    coverage: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Show a set of labels that contains the correct one in this share of cases, such as 0.95. Needs a "
            "label set from `clip calibrate`.",
            rich_help_panel=SCORING,
        ),
    ] = None


@expand_options
def classify(
    inputs: InputOptions,
    labels: LabelOptions,
    answer: AnswerOptions,
    sorting: SortOptions,
    shards: ShardOptions,
    model: ModelOptions,
    output: RunOutputOptions,
) -> None:
    """Classify images with labels of your own.

    \b
    clip classify img.jpg --labels cat,dog
    clip classify ~/photos --label-set pets --output pets.csv
    clip classify ~/photos --label-set pets --sort-into sorted
    cat img.jpg | clip classify - --labels "a red car,a bicycle" --json
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub
    from clipcli.api.questions import no_labels
    from clipcli.cli.options.conflicts import refuse_conflicts
    from clipcli.cli.output.runner import Runner
    from clipcli.cli.output.sharded import is_sharded, only_files, run_shards

    refuse_conflicts(inputs, sorting, output)
    sharded = is_sharded(inputs, output.output, shards, only_files(output, sorting))
    question = ClassifyQuestion(labels, answer, quiet=output.quiet)
    if not question.has_labels and hub.find_checkpoint(model.model or hub.default_model()):
        raise no_labels()  # said before a download: none of the published checkpoints has classes of its own
    if sharded and output.output is not None:
        from clipcli.scale.questions import Ask

        ask = Ask("classify", question)
        run_shards(ask, inputs, shards, model, output.output, quiet=output.quiet, no_progress=output.no_progress)
        return
    Runner(question, inputs, model, output, sorting).run()


class ClassifyQuestion:
    """Which label fits best."""

    shape = CLASSIFIED

    def __init__(self, labels: LabelOptions, answer: AnswerOptions, *, quiet: bool) -> None:
        """Read the labels.

        Raises:
            UsageError: Something is wrong with them, or with how they shall be scored.
        """
        from clipcli.answers.classify import ClassifyOptions

        self._options = ClassifyOptions(
            answer.top, answer.scoring.value, answer.threshold, answer.temperature, answer.coverage
        )
        self._label_set, self._templates = labels.read(), labels.templates()
        self._none = answer.none_of_these if answer.none_text is None else answer.none_text
        self._depth = answer.depth
        self._quiet = quiet
        self._classifier: LabelClassifier | HeadClassifier
        if answer.depth is not None and self._label_set is not None and self._label_set.depth == 1:
            raise _nothing_to_sum(labels)

    @property
    def has_labels(self) -> bool:
        """Whether labels are given; without, the checkpoint must bring classes of its own."""
        return self._label_set is not None

    @property
    def levels(self) -> Mapping[str, Sequence[str]]:
        """The levels of labels, as far as they are summed."""
        if self._label_set is None:
            return {}
        paths = (label.path[: self._depth] for label in self._label_set.labels)
        if self._depth is None:
            return {label.name: label.path for label in self._label_set.labels}
        return {"/".join(path): path for path in paths}

    def settings(self, model: "Model") -> dict[str, Any]:
        """What an answer depends on."""
        label_set, options = self._label_set, self._options
        return {
            "label set": label_set.name if label_set else None,
            "labels": [(label.name, label.prompts) for label in label_set.labels] if label_set else None,
            "examples": examples_of(label_set),
            "templates": self._templates_for(model),
            "--depth": self._depth,
            "--top": options.top,
            "--scoring": options.scoring,
            "--threshold": options.threshold,
            "--temperature": options.temperature,
            "--coverage": options.coverage,
            "calibration": label_set.calibration.as_fields() if label_set and label_set.calibration else None,
            "--none-of-these": self._none,
        }

    def prepare(self, model: "Model") -> "LabelClassifier | HeadClassifier":
        """Encode the labels."""
        from clipcli.api.judges import classifier

        self._classifier = classifier(
            model,
            self._label_set,
            self._options,
            templates=self._templates,
            none_of_these=self._none,
            depth=self._depth,
        )
        if not self._classifier.has_scores and not self._quiet:
            say("warning: a softmax over one label means nothing, so there is no score; see cosine, or add labels")
        return self._classifier

    def describe(self, model: "Model") -> dict[str, Any]:
        """The labels and templates."""
        from clipcli.api.questions import describe_classify

        return describe_classify(model, self._label_set, self._templates, self._classifier, self._options)

    def _templates_for(self, model: "Model") -> list[str] | None:
        return list(model.templates_for(self._label_set, self._templates)) if self._label_set else None


def _nothing_to_sum(labels: LabelOptions) -> UsageError:
    given = f"--label-set {', '.join(labels.label_set)}" if labels.label_set else "--labels"
    return UsageError(
        f"--depth sums labels of several levels, and those of {given} have one",
        hint="levels, as in animal/dog, come from a file for --label-set; in --labels a slash is an ordinary character",
    )
