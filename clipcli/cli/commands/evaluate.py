"""`clip eval`: how good a model is on images whose labels are known."""

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.measuring.alternative import Setting
from clipcli.cli.options.measuring.evaluation import EvaluationOptions, EvaluationOutputOptions
from clipcli.cli.options.measuring.labelled import LabelledOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import Format
from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.rows import print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.wording import counted
from clipcli.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from clipcli.api.evaluation.evaluate import Evaluated, Exam
    from clipcli.api.model import Model
    from clipcli.labels.label_set import LabelSet
    from clipcli.labels.truth import Labelling, Truth

SCHEMA = "clipcli.eval/1"


@expand_options
def evaluate(
    inputs: LabelledOptions,
    labels: LabelOptions,
    question: EvaluationOptions,
    model: ModelOptions,
    output: EvaluationOutputOptions,
) -> None:
    """Measure how accurate a model is on labeled images.

    \b
    clip eval labeled/ --label-set pets
    clip eval labels.csv --label-set pets --report report.html
    clip eval labeled/ --label-set pets --compare "--template photo-7"
    clip eval --captions captions.csv --model demo
    """  # noqa: D301 - \b keeps lines apart
    if question.captions is not None:
        _refuse_with_captions(inputs, labels, question, output)
        _evaluate_captions(question.captions, inputs, model, output)
        return
    labelling = inputs.labelling()
    first = Setting("first", labels, model, inputs, question.temperature)
    second = None if question.compare is None else first.changed(question.compare)
    session = _Session(labelling, output)
    one = session.run(first)
    other = None if second is None else session.run(second)
    document = _document(one, other, labelling, inputs)
    if output.predictions is not None:
        from clipcli.cli.output.documents.predictions import write_predictions

        write_predictions(output.predictions, document["run"], one.exam, one.evaluated)
    if output.report is not None:
        _write_report(output.report, document, one)
    _print(document, output)
    _finish(one.exam, document, output)


class _Run:
    """One setting, run."""

    def __init__(self, setting: Setting, model: "Model", exam: "Exam", truth: "Truth") -> None:
        self.setting, self.model, self.exam = setting, model, exam
        self.templates = setting.labels.templates()
        self.evaluated: Evaluated = exam.evaluate(truth, self.templates, temperature=setting.temperature)

    def describe(self, labelling: "Labelling", inputs: LabelledOptions) -> dict[str, Any]:
        """What a JSON document says of it."""
        from clipcli.api.questions import describe_run

        label_set = self.evaluated.truth.label_set
        head = self.model.class_names is not None
        return describe_run(
            self.model,
            images=labelling.source,
            split=inputs.split,
            label_set=label_set.name,
            labels=list(label_set.names),
            templates=None if head else list(self.model.templates_for(label_set, self.templates)),
            temperature=self.evaluated.temperature,
            calibrated=_is_calibrated(label_set, self.setting),
        )


def _is_calibrated(label_set: "LabelSet", setting: Setting) -> bool:
    learned = label_set.calibration is not None and label_set.calibration.temperature is not None
    return learned and setting.temperature is None


class _Session:
    """Runs settings; features that one has paid for cost the next one nothing."""

    def __init__(self, labelling: "Labelling", output: EvaluationOutputOptions) -> None:
        self._labelling, self._output = labelling, output
        self._last: _Run | None = None

    def run(self, setting: Setting) -> _Run:
        """Evaluate one setting.

        Raises:
            UsageError: There is one label only, or a name is unknown.
            ClipError: Not one image can be used.
        """
        from clipcli.api.evaluation.evaluate import Exam, check_labels
        from clipcli.cli.shell.progress import image_progress

        label_set = setting.labels.read()
        last = self._last
        if last is not None and setting.features_are_those_of(last.setting):
            model, exam = last.model, last.exam
            truth = _truth(setting, self._labelling, label_set, model)
        else:
            model = setting.model.open(setting.reading, quiet=self._output.quiet, bars=not self._output.no_progress)
            truth = _truth(setting, self._labelling, label_set, model)
            check_labels(truth.label_set)
            with image_progress(shown=not (self._output.quiet or self._output.no_progress)) as on_progress:
                exam = Exam.take(model, truth.paths, on_progress)
        self._last = _Run(setting, model, exam, truth)
        return self._last


def _truth(setting: Setting, labelling: "Labelling", label_set: "LabelSet | None", model: "Model") -> "Truth":
    """What is right; a checkpoint with classes of its own has its own labels."""
    from clipcli.api.questions import labels_of

    if model.class_names is not None:
        if label_set is not None:
            raise UsageError(
                f"{model.checkpoint.id} has classes of its own and cannot take other labels",
                hint="leave the labels out, or use a checkpoint with both towers",
            )
        label_set = labels_of(model.class_names)
    return setting.reading.truth(labelling, label_set)


def _document(one: _Run, other: _Run | None, labelling: "Labelling", inputs: LabelledOptions) -> dict[str, Any]:
    from clipcli.api.evaluation.evaluate import compare
    from clipcli.cli.output.documents import evaluation as shown

    figures = one.evaluated.figures
    comparison = None
    if other is not None:
        run = other.describe(labelling, inputs)
        found = compare(one.evaluated, other.evaluated)
        comparison = shown.comparison_document(found, other.evaluated, other.setting.name, run)
    return {
        "schema": SCHEMA,
        "run": one.describe(labelling, inputs),
        "figures": shown.figures(figures),
        "comparison": comparison,
        "results": shown.label_rows(figures),
        "confusions": shown.confusion_rows(figures),
        "reliability": shown.reliability_rows(figures),
        "summary": shown.summary(one.evaluated, len(one.exam.failures)),
    }


def _write_report(path: str, document: dict[str, Any], one: _Run) -> None:
    from clipcli.library.report.evaluation import evaluation_report

    evaluated, decoding = one.evaluated, one.model.options.decode
    page = evaluation_report(document, evaluated.figures, evaluated.labelled_paths, os.path.dirname(path), decoding)
    with open_destination(path, "--report") as destination:
        destination.write(page)


def _print(document: dict[str, Any], output: EvaluationOutputOptions) -> None:
    from clipcli.cli.output.documents.evaluation import write_table

    table = partial(write_table, document=document)
    print_rows(SCHEMA, document["results"], table, output, head=document)


def _finish(exam: "Exam", document: Mapping[str, Any], output: EvaluationOutputOptions) -> None:
    """Say what was left out, and the result if the rows do not, and leave with the status that fits.

    Raises:
        typer.Exit: With `PARTIAL` if an image could not be used.
    """
    if not output.quiet:
        from clipcli.cli.output.documents.evaluation import in_words

        summary = document["summary"]
        for _, error in exam.failures:
            say(f"left out: {error}")
        details = [] if output.chosen_format() in (Format.json, Format.table) else in_words(document)
        if summary["unlabelled"]:
            details.append(f"left out, without a label: {counted(summary['unlabelled'], 'image')}")
        if summary["unknown"]:
            names = ", ".join(f"{name} ({count:,})" for name, count in summary["unknown"].items())
            details.append(f"left out, not in the label set: {names}")
        if summary["labels_without_images"]:
            details.append(f"labels without images: {summary['labels_without_images']:,} of {summary['labels']:,}")
        if summary["several_labels"]:
            details.append(f"with several labels, any of which is right: {counted(summary['several_labels'], 'image')}")
        say(f"{counted(summary['judged'], 'image')}, {counted(summary['labels'], 'label')}", details=details)
    if exam.failures:
        raise typer.Exit(ExitStatus.PARTIAL)


def _refuse_with_captions(
    inputs: LabelledOptions, labels: LabelOptions, question: EvaluationOptions, output: EvaluationOutputOptions
) -> None:
    given = {
        "--split": inputs.split,
        "--map": inputs.mapping,
        "--class-names": inputs.class_names,
        "--ignore-unknown": inputs.ignore_unknown or None,
        "--labels": labels.labels,
        "--label-set": labels.label_set,
        "--template": labels.template,
        "--no-template": labels.no_template or None,
        "--examples": labels.examples,
        "--compare": question.compare,
        "--temperature": question.temperature,
        "--predictions": output.predictions,
        "--report": output.report,
    }
    other = next((name for name, value in given.items() if value is not None), None)
    if other is not None:
        raise UsageError(f"--captions and {other} do not go together", hint="captions are compared as they are")


def _evaluate_captions(
    file: str, inputs: LabelledOptions, model: ModelOptions, output: EvaluationOutputOptions
) -> None:
    from clipcli.api.evaluation.evaluate import evaluate_captions
    from clipcli.cli.output.documents.evaluation import retrieval_columns, retrieval_rows
    from clipcli.cli.shell.progress import image_progress
    from clipcli.labels.truth import captions_from_table

    captioned = captions_from_table(file, inputs.images)
    engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress)
    with image_progress(shown=not (output.quiet or output.no_progress)) as on_progress:
        result = evaluate_captions(engine, captioned, on_progress)
    rows = retrieval_rows(result)
    print_rows("clipcli.retrieval/2", rows, retrieval_columns(rows), output)
    if not output.quiet:
        for _, error in result.failures:
            say(f"left out: {error}")
    if result.failures:
        raise typer.Exit(ExitStatus.PARTIAL)
