"""Options of `clip tag` that do not go together, across their groups.

Imports no room that needs numpy, PIL or torch.
"""

import os
from itertools import combinations

from clipcli.cli.options import InputOptions
from clipcli.cli.tagging.options import (
    CalibrationOptions,
    SidecarName,
    SidecarOptions,
    SortOptions,
    TagOutputOptions,
    ThresholdOptions,
)
from clipcli.errors import UsageError


def refuse_conflicts(
    inputs: InputOptions,
    thresholds: ThresholdOptions,
    sidecars: SidecarOptions,
    sorting: SortOptions,
    calibration: CalibrationOptions,
    output: TagOutputOptions,
) -> None:
    """Refuse options of which one would be ignored, or undo what another does.

    Raises:
        UsageError: Naming both.
    """
    given = [*_named_inputs(inputs), *_tagging(thresholds, sidecars, sorting, output)]
    if sorting.undo is not None:
        calibrating = ["--calibrate"] if calibration.calibrate is not None else []
        others = [name for name in [*given, *calibrating] if name != "--dry-run"]
        _refuse_beside("--undo", others, "only takes back what its manifest says")
    elif calibration.calibrate is not None:
        _refuse_beside("--calibrate", given, "fits thresholds to images of its own, and tags none")
    else:
        _refuse_lone(sidecars, sorting, output)
        _refuse_what_needs_files(inputs, sidecars, sorting, output)
    _refuse_shared_files(inputs, calibration, output)


def _named_inputs(inputs: InputOptions) -> list[str]:
    options = {
        "--from-file": inputs.from_file is not None,
        "--exclude": bool(inputs.exclude),
        "--include-hidden": inputs.include_hidden,
        "--follow-symlinks": inputs.follow_symlinks,
    }
    return [*(inputs.images or [])[:1], *(name for name, given in options.items() if given)]


def _tagging(
    thresholds: ThresholdOptions, sidecars: SidecarOptions, sorting: SortOptions, output: TagOutputOptions
) -> list[str]:
    options = {
        "--threshold": thresholds.threshold is not None,
        "--top": thresholds.top is not None,
        "--exclusive": bool(thresholds.exclusive),
        "--write-sidecars": sidecars.write_sidecars,
        "--sidecar-name": sidecars.sidecar_name is not SidecarName.stem,
        "--prefix": bool(sidecars.prefix),
        "--dry-run": sidecars.dry_run,
        "--sort-into": sorting.sort_into is not None,
        "--format exiftool": output.is_exiftool,
        "--resume": output.resume,
        "--report": output.report is not None,
        "--fail-fast": output.fail_fast,
    }
    return [name for name, given in options.items() if given]


def _refuse_beside(option: str, others: list[str], what_it_does: str) -> None:
    if others:
        raise UsageError(
            f"{option} and {others[0]} do not go together", hint=f"leave {others[0]} out: {option} {what_it_does}"
        )


def _refuse_lone(sidecars: SidecarOptions, sorting: SortOptions, output: TagOutputOptions) -> None:
    written = sidecars.write_sidecars
    if sidecars.sidecar_name is not SidecarName.stem and not written:
        raise UsageError("--sidecar-name needs --write-sidecars", hint="add it, or leave --sidecar-name out")
    if sidecars.prefix and not (written or output.is_exiftool):
        raise UsageError(
            "--prefix needs --write-sidecars or --format exiftool",
            hint="it stands before the keywords that these write: add one of them, or leave --prefix out",
        )
    if sidecars.dry_run and not (written or sorting.sort_into is not None):
        raise UsageError(
            "--dry-run needs --write-sidecars, --sort-into DIR or --undo MANIFEST",
            hint="it says what they would do: add one of them, or leave --dry-run out",
        )


def _refuse_what_needs_files(
    inputs: InputOptions, sidecars: SidecarOptions, sorting: SortOptions, output: TagOutputOptions
) -> None:
    wishes = {"--write-sidecars": sidecars.write_sidecars, "--sort-into": sorting.sort_into is not None}
    wished = next((name for name, wish in wishes.items() if wish), None)
    if wished is not None and "-" in (inputs.images or []):
        raise UsageError(f"{wished} needs files, and an image on standard input is none", hint="name the image's file")
    if sorting.move and output.resume:
        raise UsageError(
            "--resume and --move do not go together: images that have moved away would lose their rows",
            hint="tag to the end first; then --move in a run of its own, which is quick: features are remembered",
        )


def _refuse_shared_files(inputs: InputOptions, calibration: CalibrationOptions, output: TagOutputOptions) -> None:
    options = {
        "--output": output.output or "-",
        "--report": output.report,
        "--calibrate-into": calibration.calibrate_into,
    }
    written = {option: path for option, path in options.items() if path is not None}
    for (one, path), (other, second) in combinations(written.items(), 2):
        if path == second == "-" or _are_one_file(path, second):
            place = "standard output" if path == "-" else path
            raise UsageError(f"{one} and {other} both write to {place}", hint="give each a file of its own")
    read = [(image, "an image that is to be read") for image in inputs.images or []]
    read += [(inputs.from_file, "the list of images")] if inputs.from_file is not None else []
    read += [(calibration.calibrate, "what --calibrate reads")] if calibration.calibrate is not None else []
    for option, path in written.items():
        for source, what in read:
            if _are_one_file(path, source):
                raise UsageError(f"{option} {path}: this is {what}", hint=f"give {option} a file of its own")


def _are_one_file(path: str, other: str) -> bool:
    """Whether one would be written over the other; a device or a pipe holds nothing that could be lost."""
    if "-" in (path, other) or (os.path.exists(path) and not os.path.isfile(path)):
        return False
    return os.path.realpath(path) == os.path.realpath(other)
