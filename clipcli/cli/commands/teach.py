"""`clip labels teach`: a label set whose labels are known by example, and whether the examples help."""

from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.inputs import ReadingOptions
from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import TalkOptions
from clipcli.cli.options.panels import LABELS
from clipcli.cli.output.destination import open_destination
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.wording import counted
from clipcli.errors import ExitStatus, LabelSetError

if TYPE_CHECKING:
    from pathlib import Path

    from clipcli.api.examples import Lesson
    from clipcli.api.model import Model

_SHOWN = 5


@expand_options
def teach(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="Name or path of the new label set.", show_default=False)
    ],
    labels: LabelOptions,
    reading: ReadingOptions,
    model: ModelOptions,
    output: TalkOptions,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing label set of this name.", rich_help_panel=LABELS)
    ] = False,
) -> None:
    """Create a label set with example images, and report whether they help.

    \b
    clip labels teach grades --examples grades/
    clip labels teach my-pets --label-set pets --examples my-pets/
    clip labels teach my-pets --label-set my-pets --model vit-l14 --force
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.api.examples import learn
    from clipcli.api.questions import no_labels
    from clipcli.cli.output.documents.lesson import print_lesson
    from clipcli.cli.shell.progress import image_progress
    from clipcli.images.find import FindOptions
    from clipcli.labels.starter import new_file

    path, is_name = new_file(name)
    if path.exists() and not force:
        raise LabelSetError(f"{path}: already exists", hint="choose another name, or add --force to replace it")
    # Folders of links are a usual way to lay out labeled images.
    find = FindOptions(tuple(reading.exclude or ()), reading.include_hidden, follow_symlinks=True)
    label_set = labels.read(find)
    if label_set is None:
        raise no_labels()
    engine = model.open(reading, quiet=output.quiet, bars=not output.no_progress)
    with image_progress(shown=not (output.quiet or output.no_progress)) as on_progress:
        lesson = learn(engine, label_set, labels.templates(), on_progress, again=True)
    if is_name:
        path.parent.mkdir(parents=True, exist_ok=True)
    _write(lesson, engine, labels.templates(), path)
    print_lesson(lesson, output)
    if not output.quiet:
        _say(lesson, path)
    if lesson.failures:
        raise typer.Exit(ExitStatus.PARTIAL)


def _write(lesson: "Lesson", model: "Model", templates: tuple[str, ...] | None, path: "Path") -> None:
    """Write the label set: the paths of its examples, not the images."""
    from dataclasses import replace

    from clipcli.labels.teaching import Teaching
    from clipcli.labels.write import to_yaml

    label_set = lesson.label_set.uncalibrated()
    taught = tuple(replace(label, examples=files) for label, files in zip(label_set.labels, lesson.files, strict=True))
    label_set = replace(
        label_set,
        name=path.stem,
        labels=taught,
        teaching=Teaching(model.encoders.digest, model.checkpoint.id, lesson.shown),
    )
    if templates is not None:  # what was tried holds for these
        label_set = replace(label_set, templates=model.templates_for(lesson.label_set, templates), concept=None)
    with open_destination(str(path), "NAME") as destination:
        destination.write(to_yaml(label_set, path.parent))


def _say(lesson: "Lesson", path: "Path") -> None:
    for error in lesson.failures:
        say(f"left out: {error}")
    outcomes = lesson.outcomes
    single = [outcome.label for outcome in outcomes if outcome.used == 1]
    worse = [outcome.label for outcome in outcomes if outcome.is_worse]
    details = [
        f"{copy} is nearly the same as {first}, and counts once with it" for copy, first in lesson.copies[:_SHOWN]
    ]
    if len(lesson.copies) > _SHOWN:
        details.append(f"more that are nearly the same: {len(lesson.copies) - _SHOWN:,}")
    if single:
        details.append(f"one example says nothing about how good a label is; that is all of: {_few(single)}")
    if lesson.label_set.calibration is not None:
        details.append("without the calibration and its thresholds, which were fitted before")
    if not lesson.taught.strength:
        details.append("the texts alone do as well: the examples change nothing")
    say(
        f"{path}: {counted(sum(outcome.used for outcome in outcomes), 'example')} of {counted(len(outcomes), 'label')}",
        details=details,
    )
    if worse:
        say(f"warning: examples made worse: {_few(worse)}", hint="look for wrong or unusual images among them")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
