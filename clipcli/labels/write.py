"""Label sets written back into the format that `read` reads. Comments of an earlier file are not kept."""

import math

import yaml

from clipcli.labels.label_set import Label, LabelSet


def to_yaml(label_set: LabelSet) -> str:
    """Write a label set as a file that reads as the same set; labels of one group move together."""
    about = {
        "name": label_set.name,
        "description": label_set.description,
        "language": label_set.language,
        "source": label_set.source,
        "concept": label_set.concept,
        "templates": list(label_set.templates or ()),
        "background": list(label_set.background),
        "none": None if label_set.none is None else _label(label_set.none),
        "calibration": None if label_set.calibration is None else label_set.calibration.as_fields(),
    }
    document: dict[str, object] = {key: value for key, value in about.items() if value}
    document["labels"] = _labels(label_set)
    # A text that went on in another line could begin it with a dash, as only a list entry may.
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=math.inf)


def _labels(label_set: LabelSet) -> list[object]:
    entries: list[object] = []
    groups: dict[str, list[object]] = {}
    for label in label_set.labels:
        if label.group is None:
            entries.append(_label(label))
        elif label.group in groups:
            groups[label.group].append(_label(label))
        else:
            groups[label.group] = [_label(label)]
            entries.append({"group": label.group, "labels": groups[label.group]})
    return entries


def _label(label: Label) -> object:
    name = "/".join(level.replace("/", "\\/") for level in label.path)
    entry: dict[str, object] = {"name": name}
    if label.prompts != label.path[-1:]:
        entry["prompts"] = list(label.prompts)
    if label.descriptors:
        entry["descriptors"] = list(label.descriptors)
    if label.threshold is not None:
        entry["threshold"] = label.threshold
    if label.id is not None:
        entry["id"] = label.id
    return name if len(entry) == 1 else entry
