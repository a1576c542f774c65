"""Several label sets as one: a union, in the order given."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from clipcli.errors import LabelSetError, warn
from clipcli.labels.background import background_of
from clipcli.labels.expand import expand
from clipcli.labels.label_set import SLOT, Label, LabelSet
from clipcli.labels.teaching import Teaching
from clipcli.labels.templates import default_templates


def join(sets: Sequence[LabelSet], *, own_templates: bool = True) -> LabelSet:
    """Make one label set of several.

    A name that several sets have is one label, that of the first of them, with a warning (`ClipWarning`). Labels keep
    their thresholds and groups. Where the sets' templates differ, each label is given its own set's prompts in full.
    The background is that of all sets together, and `none` that of the first set that has one. What was calibrated for
    one of the sets, thresholds included, does not hold for all of them and is left out, with a warning.

    Args:
        sets: At least one.
        own_templates: Whether labels go through the templates of their sets; if not, templates are given elsewhere.

    Raises:
        LabelSetError: A set is given twice, or labels of two sets have different names and the same prompts.
    """
    first, *others = sets
    if not others:
        return first
    names = [label_set.name for label_set in sets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise LabelSetError(f"label set {twice!r} is given twice", hint="give each label set once")
    sets = _uncalibrated(sets)
    templates = {label_set.templates or default_templates(label_set) for label_set in sets}
    differ = own_templates and len(templates) > 1
    return LabelSet(
        name="+".join(names),
        labels=_union([_with_prompts(label_set) if differ else label_set for label_set in sets]),
        templates=(SLOT,) if differ else templates.pop() if own_templates else None,
        language=first.language if len({label_set.language for label_set in sets}) == 1 else None,
        none=next((label_set.none for label_set in sets if label_set.none is not None), None),
        background=_backgrounds(sets),
        teaching=_teaching(sets),
    )


def _uncalibrated(sets: Sequence[LabelSet]) -> list[LabelSet]:
    """The sets without what was fitted to each alone: other labels and another background would change it."""
    calibrated = [label_set.name for label_set in sets if label_set.calibration is not None]
    if calibrated:
        warn(f"calibrated for itself alone and used without its calibration and thresholds: {', '.join(calibrated)}")
    return [label_set.uncalibrated() for label_set in sets]


def _teaching(sets: Sequence[LabelSet]) -> Teaching | None:
    """The model that the sets were taught with."""
    records = [(label_set.teaching, label_set.name) for label_set in sets if label_set.teaching is not None]
    taught = {teaching.of_other_examples(): name for teaching, name in records}
    if len(taught) > 1:
        models = ", ".join(f"{name!r} with {teaching.model_name}" for teaching, name in taught.items())
        raise LabelSetError(f"these label sets were taught with different models: {models}", hint="use one of them")
    return next(iter(taught), None)


def _union(sets: Sequence[LabelSet]) -> tuple[Label, ...]:
    """The labels of all sets, each name once."""
    owners: dict[str, LabelSet] = {}
    labels: list[Label] = []
    for label_set in sets:
        for label in label_set.labels:
            owner = owners.setdefault(label.name, label_set)
            if owner is label_set:
                labels.append(label)
    clashes = [
        (name, owner.name, label_set.name)
        for label_set in sets
        for name in label_set.names
        if (owner := owners[name]) is not label_set
    ]
    if clashes:
        shown = ", ".join(f"{name!r} of {owner} and {other}" for name, owner, other in clashes[:8])
        more = f" and {len(clashes) - 8} more" if len(clashes) > 8 else ""
        warn(f"labels with the same name are one, as in the set given first: {shown}{more}")
    return tuple(labels)


def _with_prompts(label_set: LabelSet) -> LabelSet:
    """A set whose labels have the prompts that its templates make of them."""
    templates = label_set.templates or default_templates(label_set)
    prompts = expand(label_set, templates).by_label
    labels = tuple(
        label if label.wordless else replace(label, prompts=own)
        for label, own in zip(label_set.labels, prompts, strict=True)
    )
    return replace(label_set, labels=labels, templates=(SLOT,))


def _backgrounds(sets: Sequence[LabelSet]) -> tuple[str, ...]:
    """The backgrounds of all sets; none where no set has one, so that the default stands in."""
    if not any(label_set.background for label_set in sets):
        return ()
    return tuple(dict.fromkeys(chain.from_iterable(background_of(label_set) for label_set in sets)))
