"""`clip classify`: which of the given labels is on each image."""

from dataclasses import dataclass
from typing import Annotated

import typer

from clipcli.cli.options import (
    LABELS,
    SCORING,
    InputOptions,
    LabelOptions,
    ModelOptions,
    OutputOptions,
    Scoring,
    ScoringName,
    Temperature,
    expand_options,
)
from clipcli.cli.output.runner import describe_run, print_results
from clipcli.cli.shell.boundary import handles_errors, say
from clipcli.errors import UsageError


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What is made of the numbers."""

    depth: Annotated[
        int | None,
        typer.Option(metavar="N", help="Sum labels like animal/dog of a set at a level.", rich_help_panel=LABELS),
    ] = None
    top: Annotated[
        int, typer.Option("--top", "-k", metavar="N", help="Show the N best labels.", rich_help_panel=SCORING)
    ] = 5
    scoring: Scoring = ScoringName.auto
    threshold: Annotated[
        float | None, typer.Option(metavar="X", help="Leave out labels that score less.", rich_help_panel=SCORING)
    ] = None
    none_of_these: Annotated[
        bool, typer.Option("--none-of-these", help="Let an image be none of the labels.", rich_help_panel=SCORING)
    ] = False
    none_text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Word --none-of-these yourself.", rich_help_panel=SCORING),
    ] = None
    temperature: Temperature = 1.0


@handles_errors
@expand_options
def classify(
    inputs: InputOptions,
    labels: LabelOptions,
    answer: AnswerOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Name what is on images, with labels of your own.

    \b
    clip classify img.jpg --labels cat,dog
    clip classify ~/photos --label-set pets --format jsonl | jq -r .label
    cat img.jpg | clip classify - --labels "a red car,a bicycle" --json
    """  # noqa: D301 - \b keeps lines apart
    from clipcli import hub
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.api.questions import answer as answered
    from clipcli.api.questions import no_labels

    options = ClassifyOptions(answer.top, answer.scoring.value, answer.threshold, answer.temperature)
    label_set, templates, sources = labels.read(), labels.templates(), inputs.sources()
    if label_set is None and hub.find_checkpoint(model.model or hub.default_model()):
        raise no_labels()  # said before a download: none of the published checkpoints has classes of its own
    if answer.depth is not None and label_set is not None and label_set.depth == 1:
        raise _nothing_to_sum(labels)
    engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress)
    images = engine.image_features(sources)
    classifier = engine.classifier(
        label_set,
        options,
        templates=templates,
        none_of_these=answer.none_of_these if answer.none_text is None else answer.none_text,
        depth=answer.depth,
    )
    if not classifier.has_scores and not output.quiet:
        say("warning: a softmax over one label means nothing, so there is no score; see cosine, or add labels")
    run = describe_run(
        engine,
        label_set=label_set.name if label_set else None,
        labels=list(classifier.names),
        scoring=classifier.scoring,
        templates=list(engine.templates_for(label_set, templates)) if label_set else None,
    )
    print_results("clipcli.classify/2", run, answered(images, classifier), output)


def _nothing_to_sum(labels: LabelOptions) -> UsageError:
    given = f"--label-set {labels.label_set}" if labels.label_set else "--labels"
    return UsageError(
        f"--depth sums labels of several levels, and those of {given} have one",
        hint="levels, as in animal/dog, come from a file for --label-set; in --labels a slash is an ordinary character",
    )
