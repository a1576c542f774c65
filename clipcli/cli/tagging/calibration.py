"""`clip tag --calibrate`: thresholds from labelled images, into a label-set file."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import typer

from clipcli.answers.calibration.thresholds import Fit, fit_thresholds
from clipcli.answers.tag import Tagger
from clipcli.api.model import Model
from clipcli.cli.options import FormatOptions
from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.wording import counted
from clipcli.cli.tagging.options import TagOutputOptions
from clipcli.errors import ExitStatus, UsageError
from clipcli.features.reader import Failed
from clipcli.images.find import FindOptions, ImageSource, find_images, images_of
from clipcli.labels.label_set import LabelSet
from clipcli.labels.write import to_yaml

Labelled = dict[str, set[str]]

_EXAMPLE = "put images into one folder a label, like labelled/cat/1.jpg, or list them in a CSV of path,label"
_CSV = "the file begins with the line path,label and is saved as UTF-8; each line after it is one label of one image"


def calibrate(
    engine: Model, tagger: Tagger, label_set: LabelSet, truth: Labelled, into: str, output: TagOutputOptions
) -> None:
    """Fit thresholds, write a label set that has them, and print how well they do.

    Raises:
        UsageError: Not one image can be used.
        typer.Exit: With `PARTIAL` if an image could not be used.
    """
    known: list[set[str]] = []
    scores = []
    failed = 0
    for item in chain.from_iterable(engine.image_features(ImageSource(path) for path in truth)):
        if isinstance(item, Failed):
            failed += 1
            say(f"left out: {item.error}")
            continue
        known.append(truth[item.source.path])
        scores.append(tagger.scores(item.features[None])[0][0])
    if not scores:
        raise UsageError(
            "--calibrate: none of the labelled images could be used",
            hint="the lines above say what is wrong with each",
        )
    table = np.array([[name in labels for name in label_set.names] for labels in known])
    fits = fit_thresholds(label_set.names, np.stack(scores), table)
    _write(into, label_set, fits)
    _print(fits, output)
    unfitted = sum(fit.threshold is None for fit in fits)
    if not output.quiet:
        fitted, used = counted(len(fits) - unfitted, "label"), counted(len(scores), "image")
        rest = f"; unchanged, for want of images: {counted(unfitted, 'label')}" if unfitted else ""
        say(f"{into}: thresholds of {fitted}, from {used}{rest}")
    if failed:
        raise typer.Exit(ExitStatus.PARTIAL)


def read_labelled(labelled: str, names: tuple[str, ...]) -> Labelled:
    """Read which labels each image has, from folders or a CSV.

    Raises:
        UsageError: They cannot be read, or are not those of the label set.
    """
    pairs = _read_folder(labelled) if os.path.isdir(labelled) else _read_csv(labelled)
    truth: Labelled = {}
    for path, label, place in pairs:
        if label not in names:
            raise UsageError(
                f"--calibrate {labelled}: {place} {label!r} is no label of the label set",
                hint=f"its labels are {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}",
            )
        truth.setdefault(path, set()).add(label)
    if not truth:
        raise UsageError(
            f"--calibrate {labelled}: no labelled image in it",
            hint=_EXAMPLE,
        )
    return truth


def _read_folder(folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield the images of `folder/label/`; levels of a hierarchy are folders inside each other."""
    for source in images_of(find_images([folder], FindOptions(follow_symlinks=True))):
        label = os.path.relpath(os.path.dirname(source.path), folder).replace(os.sep, "/")
        if label != ".":
            yield source.path, label, "folder"


def _read_csv(file: str) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a CSV with the columns path and label; an image with several labels has several rows."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise UsageError(f"--calibrate {file}: the first line must name the columns path and label", hint=_CSV)
            for row in reader:
                path = str(Path(file).parent / (row["path"] or ""))
                yield path, row["label"] or "", f"line {reader.line_num}:"
    except OSError as error:
        raise UsageError(f"--calibrate {file}: {error.strerror or error}", hint=_EXAMPLE) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--calibrate {file}: this is no CSV in UTF-8 ({error})", hint=_CSV) from error


def _write(into: str, label_set: LabelSet, fits: list[Fit]) -> None:
    labels = tuple(
        label if fit.threshold is None else replace(label, threshold=fit.threshold)
        for label, fit in zip(label_set.labels, fits, strict=True)
    )
    with open_destination(into, "--calibrate-into") as destination:
        destination.write(to_yaml(replace(label_set, labels=labels, name=Path(into).stem)))


def _print(fits: list[Fit], output: TagOutputOptions) -> None:
    fitted = [fit for fit in fits if fit.threshold is not None]
    rows = [
        {
            "label": fit.label,
            "images": fit.images,
            "threshold": fit.threshold,
            "precision": fit.precision,
            "recall": fit.recall,
        }
        for fit in fitted
    ]
    numbers = ("threshold", "precision", "recall")
    columns = [
        Column("label", [fit.label for fit in fitted]),
        Column("images", [str(fit.images) for fit in fitted], right=True),
        *(Column(name, [f"{row[name]:.3f}" for row in rows], right=True) for name in numbers),
    ]
    options = FormatOptions(format=output.chosen_format(), output=output.output)
    print_rows("clipcli.calibration/2", rows, columns, options)
