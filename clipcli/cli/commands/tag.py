"""`clip tag`: the labels that apply to each image of a library, and what is done with them."""

from clipcli.cli.options import InputOptions, LabelOptions, ModelOptions, expand_options
from clipcli.cli.shell.boundary import handles_errors
from clipcli.cli.tagging.options import (
    CalibrationOptions,
    SidecarOptions,
    SortOptions,
    TagOutputOptions,
    ThresholdOptions,
)


@handles_errors
@expand_options
def tag(
    inputs: InputOptions,
    labels: LabelOptions,
    thresholds: ThresholdOptions,
    sidecars: SidecarOptions,
    sorting: SortOptions,
    calibration: CalibrationOptions,
    model: ModelOptions,
    output: TagOutputOptions,
) -> None:
    """Give images the labels that apply: several, or none.

    \b
    clip tag ~/photos --label-set photo-subjects --output tags.jsonl --resume
    clip tag ~/photos --label-set photo-subjects --write-sidecars --prefix ai/
    clip tag ~/photos --label-set pets --sort-into sorted --report report.html
    clip tag --label-set pets --calibrate labelled/ --calibrate-into my-pets.yaml
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.tagging.conflicts import refuse_conflicts

    refuse_conflicts(inputs, thresholds, sidecars, sorting, calibration, output)
    if sorting.undo is not None:
        from clipcli.cli.output.library_events import say_undo
        from clipcli.library.sorting.undo import undo

        events = undo(sorting.undo, dry_run=sidecars.dry_run)
        say_undo(events, sorting.undo, dry_run=sidecars.dry_run, quiet=output.quiet)
        return
    from clipcli.cli.tagging.request import TagRequest

    request = TagRequest(inputs, labels, thresholds, model, output)
    if calibration.calibrate is not None and calibration.calibrate_into is not None:
        request.calibrate(calibration.calibrate, calibration.calibrate_into)
    else:
        request.tag(sidecars, sorting)
