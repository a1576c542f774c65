"""Labeled images as examples of labels: names matched as `match` does, and new labels where no name fits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipcli.errors import LabelSetError, warn
from clipcli.labels.label_set import UNNAMED, Label, LabelSet
from clipcli.labels.truth.labelling import Labelling
from clipcli.labels.truth.names import NONE, NONE_NAMES, Matcher, label_of, natural

_SHOWN_NAMES = 5


def paths_by_name(labelling: Labelling) -> dict[str, list[str]]:
    """The images of each name.

    Raises:
        LabelSetError: An image has several names, and an example shows one label.
    """
    several = next((image for image in labelling.images if len(image.names) > 1), None)
    if several is not None:
        names = " and of ".join(repr(name) for name in several.names)
        raise LabelSetError(f"{several.path} is an example of {names}", hint="give each example one label")
    found: dict[str, list[str]] = {}
    for image in labelling.images:
        found.setdefault(image.names[0], []).append(image.path)
    return found


def with_examples(label_set: LabelSet | None, examples: Mapping[str, Sequence[str]]) -> LabelSet:
    """Add images to the labels that their names mean; a name that means none becomes a label of its own.

    A label that is called `none` or by a number is known by its images alone. What was fitted to the label set without
    the examples no longer holds and is left out, with a warning.

    Args:
        label_set: The labels; None for those that the names make.
        examples: Files, folders and globs by name.

    Raises:
        LabelSetError: A name cannot be a label, or an image is an example of two labels.
    """
    if label_set is None:
        names = sorted(examples, key=natural)
        return LabelSet(UNNAMED, tuple(_new_label(name, examples[name]) for name in names))
    if label_set.calibration is not None:
        warn(f"calibrated without the examples, and used without its calibration and thresholds: {label_set.name}")
        label_set = label_set.uncalibrated()
    matcher = Matcher(label_set)
    labels = list(label_set.labels)
    added = []
    for name, paths in examples.items():
        index = matcher.find(name)
        if index is None or index == NONE:
            labels.append(_new_label(name, paths))
            added.append(repr(name))
        else:
            both = dict.fromkeys((*labels[index].examples, *paths))
            labels[index] = replace(labels[index], examples=tuple(both))
    if added:
        more = f" and {len(added) - _SHOWN_NAMES} more" if len(added) > _SHOWN_NAMES else ""
        names_shown = ", ".join(added[:_SHOWN_NAMES])
        warn(f"examples add labels that are not among those given: {names_shown}{more}")
    teaching = label_set.teaching and label_set.teaching.of_other_examples()
    return replace(label_set, labels=tuple(labels), teaching=teaching)


def _new_label(name: str, examples: Sequence[str]) -> Label:
    label = label_of(name)
    if name.isdecimal() or name.casefold() in NONE_NAMES:
        return replace(label, prompts=(), wordless=True, examples=tuple(examples))
    return replace(label, examples=tuple(examples))
