"""Options that do not go together, across their groups.

Imports no room that needs numpy, PIL or torch.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.measuring.calibration import CalibrationOptions
from clipcli.cli.options.output import RunOutputOptions, TagOutputOptions
from clipcli.cli.options.scoring import ThresholdOptions
from clipcli.cli.options.sidecars import SidecarName, SidecarOptions
from clipcli.cli.options.sorting import SortOptions
from clipcli.errors import UsageError


@dataclass(frozen=True, slots=True)
class TagOnly:
    """Options that only `clip tag` has."""

    thresholds: ThresholdOptions
    sidecars: SidecarOptions
    calibration: CalibrationOptions
    undo: str | None
    output: TagOutputOptions


def refuse_conflicts(
    inputs: InputOptions, sorting: SortOptions, output: RunOutputOptions, tag: TagOnly | None = None
) -> None:
    """Refuse options of which one would be ignored, or undo what another does.

    Raises:
        UsageError: Naming both.
    """
    calibrated = tag.calibration.calibrate if tag is not None else None
    if tag is not None and tag.undo is not None:
        given = [*_named_inputs(inputs), *_tagging(tag, sorting), *(["--calibrate"] if calibrated is not None else [])]
        others = [name for name in given if name != "--dry-run"]
        _refuse_beside("--undo", others, "only takes back what its manifest says")
    elif tag is not None and tag.sidecars.remove_tags:
        given = [*_tagging(tag, sorting), *(["--calibrate"] if calibrated is not None else [])]
        others = [name for name in given if name not in ("--sidecar-name", "--prefix", "--dry-run")]
        _refuse_beside("--remove-tags", others, "only takes keywords out of sidecars")
        _refuse_what_needs_files(inputs, sorting, output, tag)
    elif tag is not None and calibrated is not None:
        given = [*_named_inputs(inputs), *_tagging(tag, sorting)]
        _refuse_beside("--calibrate", given, "fits thresholds to images of its own, and tags none")
    else:
        _refuse_lone(sorting, tag)
        _refuse_what_needs_files(inputs, sorting, output, tag)
    _refuse_shared_files(inputs, output, tag.calibration if tag is not None else CalibrationOptions())


def _named_inputs(inputs: InputOptions) -> list[str]:
    options = {
        "--from-file": inputs.from_file is not None,
        "--exclude": bool(inputs.exclude),
        "--include-hidden": inputs.include_hidden,
        "--follow-symlinks": inputs.follow_symlinks,
    }
    return [*(inputs.images or [])[:1], *(name for name, given in options.items() if given)]


def _tagging(tag: TagOnly, sorting: SortOptions) -> list[str]:
    thresholds, sidecars, output = tag.thresholds, tag.sidecars, tag.output
    options = {
        "--threshold": thresholds.threshold is not None,
        "--top": thresholds.top is not None,
        "--exclusive": bool(thresholds.exclusive),
        "--write-sidecars": sidecars.write_sidecars,
        "--sidecar-name": sidecars.sidecar_name is not SidecarName.stem,
        "--prefix": bool(sidecars.prefix),
        "--dry-run": sorting.dry_run,
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


def _refuse_lone(sorting: SortOptions, tag: TagOnly | None) -> None:
    written = tag is not None and tag.sidecars.write_sidecars
    if tag is not None and tag.sidecars.sidecar_name is not SidecarName.stem and not written:
        raise UsageError("--sidecar-name needs --write-sidecars", hint="add it, or leave --sidecar-name out")
    if tag is not None and tag.sidecars.prefix and not (written or tag.output.is_exiftool):
        raise UsageError(
            "--prefix needs --write-sidecars or --format exiftool",
            hint="it is put before keywords: add one of them, or leave --prefix out",
        )
    if sorting.dry_run and not (written or sorting.sort_into is not None):
        others = (
            "--write-sidecars, --remove-tags, --sort-into DIR or --undo DIR" if tag is not None else "--sort-into DIR"
        )
        raise UsageError(
            f"--dry-run needs {others}",
            hint=f"it shows what would be done: add {others.split()[0].strip(',')}, or leave --dry-run out",
        )


def _refuse_what_needs_files(
    inputs: InputOptions, sorting: SortOptions, output: RunOutputOptions, tag: TagOnly | None
) -> None:
    wishes = {
        "--write-sidecars": tag is not None and tag.sidecars.write_sidecars,
        "--remove-tags": tag is not None and tag.sidecars.remove_tags,
        "--sort-into": sorting.sort_into is not None,
    }
    wished = next((name for name, wish in wishes.items() if wish), None)
    if wished is not None and "-" in (inputs.images or []):
        raise UsageError(f"{wished} needs files, not an image on standard input", hint="name the image's file")
    if sorting.move and output.resume:
        raise UsageError(
            "--resume and --move do not go together: images that have moved away would lose their rows",
            hint="finish the run first; then --move in a run of its own, which is quick: features are cached",
        )


def _refuse_shared_files(inputs: InputOptions, output: RunOutputOptions, calibration: CalibrationOptions) -> None:
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
    read = list(_read_files(inputs, calibration))
    for option, path in written.items():
        for source, what in read:
            if _are_one_file(path, source):
                raise UsageError(f"{option} {path}: this is {what}", hint=f"give {option} a file of its own")


def _read_files(inputs: InputOptions, calibration: CalibrationOptions) -> Iterator[tuple[str, str]]:
    """Yield what must not be written over, and what it is."""
    yield from ((image, "an image that is to be read") for image in inputs.images or [])
    if inputs.from_file is not None:
        yield inputs.from_file, "the list of images"
    if calibration.calibrate is not None:
        yield calibration.calibrate, "what --calibrate reads"


def _are_one_file(path: str, other: str) -> bool:
    """Whether one would be written over the other; a device or a pipe holds nothing that could be lost."""
    if "-" in (path, other) or (os.path.exists(path) and not os.path.isfile(path)):
        return False
    return os.path.realpath(path) == os.path.realpath(other)
