"""Apply the calibration of a label set to a model, and refuse it if it was made for another one."""

from collections.abc import Sequence

from clipcli.answers.classify import ClassifyOptions, Learned
from clipcli.compute.encoders import Encoders
from clipcli.errors import LabelSetError, UsageError, warn
from clipcli.labels.calibration import Calibration
from clipcli.labels.expand import question_digest
from clipcli.labels.label_set import LabelSet

_CALIBRATE = "`clip calibrate` learns from labeled images"


def calibration_of(encoders: Encoders, label_set: LabelSet) -> Calibration | None:
    """The calibration of a label set; None if it was never calibrated.

    Raises:
        LabelSetError: It was calibrated for another model.
    """
    calibration = label_set.calibration
    if calibration is None:
        return None
    return calibration.for_model(encoders.digest, encoders.checkpoint.id, label_set.name)


def warn_if_changed(
    encoders: Encoders, label_set: LabelSet, templates: Sequence[str], shown: str | None = None
) -> None:
    """Warn if thresholds were fitted to other labels, prompts or examples than those in use.

    Args:
        encoders: The encoders of the model in use.
        label_set: The labels.
        templates: The templates of their prompts.
        shown: Digest of the examples' contents, see `question_digest`.

    Raises:
        LabelSetError: They were fitted for another model.
    """
    calibration = calibration_of(encoders, label_set)
    if calibration is not None and question_digest(label_set, templates, shown) != calibration.question:
        warn(
            f"thresholds of {label_set.name!r} were fitted to other labels, prompts, templates or examples, and may "
            f"not fit these; {_CALIBRATE}"
        )


def learned_of(
    encoders: Encoders,
    label_set: LabelSet,
    options: ClassifyOptions,
    templates: Sequence[str],
    shown: str | None = None,
) -> Learned:
    """The calibration of a classification; empty if the label set was not calibrated.

    Args:
        encoders: The encoders of the model in use.
        label_set: The labels.
        options: How they are scored.
        templates: The templates of their prompts.
        shown: Digest of the examples' contents, see `question_digest`.

    Raises:
        LabelSetError: It was made for another model, or prediction sets are requested and it has none for these labels.
        UsageError: Prediction sets are requested, and the label set was not calibrated.
    """
    calibration = calibration_of(encoders, label_set)
    if calibration is None:
        if options.coverage is not None:
            raise UsageError(f"label set {label_set.name!r} was not calibrated, so no coverage is known", _CALIBRATE)
        return Learned()
    quantile = (
        None
        if options.coverage is None
        else _quantile(label_set, calibration, options, question_digest(label_set, templates, shown))
    )
    return Learned(calibration.temperature, quantile, calibration.none_below)


def _quantile(
    label_set: LabelSet,
    calibration: Calibration,
    options: ClassifyOptions,
    question: str,
) -> float:
    """The quantile for a coverage, or else for the next higher coverage that was calibrated."""
    if question != calibration.question:
        raise LabelSetError(
            f"labels, prompts or examples of {label_set.name!r} have changed since it was calibrated", hint=_CALIBRATE
        )
    wanted = round(100 * (options.coverage or 0), 6)
    found = next((quantile for percent, quantile in sorted(calibration.quantiles.items()) if percent >= wanted), None)
    if found is None:
        raise LabelSetError(
            f"label set {label_set.name!r} was calibrated with {calibration.images} images, too few for sets that hold "
            f"the right label in {wanted:g}% of cases",
            hint=f"{_CALIBRATE}; 19 images are enough for 0.95, 99 for 0.99",
        )
    return found
