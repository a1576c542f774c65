"""Label sets written back into the format that `read` reads. Comments of an earlier file are not kept."""

import glob
import math
import os

import yaml

from clipcli.labels.label_set import Label, LabelSet


def to_yaml(label_set: LabelSet, folder: str | os.PathLike[str] | None = None) -> str:
    """Write a label set as a file that reads as the same set; labels of one group move together.

    Args:
        label_set: The label set.
        folder: Where the file will lie: examples in it are named from there, so that both can move together.
    """
    beside = None if folder is None else os.path.join(os.path.abspath(folder), "")
    about = {
        "name": label_set.name,
        "description": label_set.description,
        "language": label_set.language,
        "source": label_set.source,
        "concept": label_set.concept,
        "templates": list(label_set.templates or ()),
        "background": list(label_set.background),
        "none": None if label_set.none is None else _label(label_set.none, beside),
        "calibration": None if label_set.calibration is None else label_set.calibration.as_fields(),
        "taught": None if label_set.teaching is None else label_set.teaching.as_fields(),
    }
    document: dict[str, object] = {key: value for key, value in about.items() if value}
    document["labels"] = _labels(label_set, beside)
    # A text that went on in another line could begin it with a dash, as only a list entry may.
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=math.inf)


def _labels(label_set: LabelSet, beside: str | None) -> list[object]:
    entries: list[object] = []
    groups: dict[str, list[object]] = {}
    for label in label_set.labels:
        if label.group is None:
            entries.append(_label(label, beside))
        elif label.group in groups:
            groups[label.group].append(_label(label, beside))
        else:
            groups[label.group] = [_label(label, beside)]
            entries.append({"group": label.group, "labels": groups[label.group]})
    return entries


def _label(label: Label, beside: str | None) -> object:
    name = "/".join(level.replace("/", "\\/") for level in label.path)
    entry: dict[str, object] = {"name": name}
    if label.prompts != label.path[-1:]:
        entry["prompts"] = list(label.prompts)
    if label.examples:
        entry["examples"] = [_from(beside, example) for example in label.examples]
    if label.descriptors:
        entry["descriptors"] = list(label.descriptors)
    if label.threshold is not None:
        entry["threshold"] = label.threshold
    if label.id is not None:
        entry["id"] = label.id
    return name if len(entry) == 1 else entry


def _from(beside: str | None, path: str) -> str:
    """A path as a file in a folder names it."""
    if beside is None:
        return path
    return next((path.removeprefix(start) for start in (beside, glob.escape(beside)) if path.startswith(start)), path)
