"""`clip calibrate`: what labeled images teach about a model and a label set, written into the label set."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.measuring.evaluation import CalibrateOutputOptions
from clipcli.cli.options.measuring.labelled import LabelledOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import OutputOptions
from clipcli.cli.output.destination import open_destination
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.wording import counted
from clipcli.errors import ExitStatus, LabelSetError, UsageError

if TYPE_CHECKING:
    from clipcli.api.evaluation.calibrate import Calibrated
    from clipcli.labels.label_set import LabelSet


@expand_options
def calibrate(
    inputs: LabelledOptions, labels: LabelOptions, model: ModelOptions, output: CalibrateOutputOptions
) -> None:
    """Calibrate scores with labeled images.

    Fits a temperature and prediction sets for `clip classify`, thresholds for `clip tag`, and a limit for images that
    show none of the labels. Writes them into a label set, which is valid for one model.

    \b
    clip calibrate labeled/ --label-set pets --into my-pets.yaml
    clip calibrate labels.csv -s scenes --split val --into my-scenes.yaml
    """  # noqa: D301 - \b keeps lines apart
    if output.into is None:
        raise UsageError("--into is missing", hint="name the file that gets the label set: --into my-labels.yaml")
    run_calibration(inputs, labels.read(), labels.templates(), model, output.into, output)


def run_calibration(
    inputs: LabelledOptions,
    label_set: "LabelSet | None",
    templates: tuple[str, ...] | None,
    model: ModelOptions,
    into: str,
    output: CalibrateOutputOptions | OutputOptions,
) -> None:
    """Calibrate, write the label set, print what was learned.

    Raises:
        UsageError: The images or their labels cannot be used.
        typer.Exit: With `PARTIAL` if an image could not be used.
    """
    from clipcli.api.evaluation.calibrate import calibrate as learn
    from clipcli.api.evaluation.evaluate import Exam
    from clipcli.cli.output.documents.calibration import print_calibration
    from clipcli.cli.shell.progress import image_progress
    from clipcli.labels.write import to_yaml

    truth = inputs.truth(inputs.labelling(), label_set)
    _keep_other_files(Path(into), truth.label_set)
    engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress)
    with image_progress(shown=not (output.quiet or output.no_progress)) as on_progress:
        exam = Exam.take(engine, truth.paths, on_progress)
    learned = learn(exam, truth, templates)
    with open_destination(into, "--into") as destination:
        destination.write(to_yaml(replace(learned.label_set, name=Path(into).stem)))
    print_calibration(learned, output)
    if not output.quiet:
        for _, error in exam.failures:
            say(f"left out: {error}")
        say(f"{into}: learned from {counted(learned.images, 'image')}", details=_details(learned))
    if exam.failures:
        raise typer.Exit(ExitStatus.PARTIAL)


def _keep_other_files(path: Path, label_set: "LabelSet") -> None:
    """Refuse to replace anything but an earlier state of the same label set.

    Raises:
        UsageError: The file holds other labels, or is not a label set.
    """
    from clipcli.labels.library import find_label_set

    if not path.is_file():
        return
    with suppress(LabelSetError):
        if find_label_set(os.path.abspath(path)).names == label_set.names:
            return
    raise UsageError(
        f"--into {path}: this file exists, and does not hold the labels that are calibrated",
        hint="name another file, or remove this one",
    )


def _details(learned: "Calibrated") -> list[str]:
    """What there is to know of it, a line each."""
    from clipcli.api.evaluation.calibrate import FEW_FOR_A_THRESHOLD, FEW_IMAGES, LEAST_KEPT, REPORTED_COVERAGE

    found: list[str] = []
    unfitted = sum(fit.threshold is None for fit in learned.thresholds)
    if unfitted:
        found.append(f"thresholds unchanged, for want of images: {counted(unfitted, 'label')}")
    few = sum(fit.threshold is not None and fit.images < FEW_FOR_A_THRESHOLD for fit in learned.thresholds)
    if few:
        found.append(
            f"thresholds fitted to fewer than {FEW_FOR_A_THRESHOLD} images, which may not hold: {counted(few, 'label')}"
        )
    if learned.none is not None and learned.none.kept < LEAST_KEPT:
        found.append(
            f"the limit for none takes the label from {1 - learned.none.kept:.0%} of the images that have one: their "
            "cosines are no higher than those of the folder none; remove none_below from the file to do without it"
        )
    if learned.temperature is None:
        found.append(f"no temperature: {_why_none(learned)}")
    else:
        fit = learned.temperature
        found.append(f"temperature {fit.temperature:.3f}, between {fit.low:.3f} and {fit.high:.3f}")
        if fit.images < FEW_IMAGES:
            found.append(f"that is few: {FEW_IMAGES} images or more make it steady")
    if learned.sets is None:
        found.append(
            f"sets for a coverage of {REPORTED_COVERAGE:g} were not tested: that takes 24 images with one label, and "
            "using them takes 19"
        )
    return found


def _why_none(learned: "Calibrated") -> str:
    calibration = learned.label_set.calibration
    if calibration is not None and calibration.quantiles:
        return "all answers are right or all are wrong, which says nothing about how sure they may be"
    return "it needs images with one label each, of two labels or more"
