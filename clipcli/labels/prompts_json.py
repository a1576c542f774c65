"""Prompts that a language model wrote, as CuPL (arXiv:2209.03320) and DCLIP (arXiv:2210.07183) publish them: JSON."""

import json
import unicodedata
from pathlib import Path
from typing import Any

from clipcli.errors import LabelSetError
from clipcli.labels.label_set import SLOT, Label, LabelSet

_MAX_BYTES = 100_000_000
_SHAPE = '{"cat": ["A cat is a small animal.", ...], "dog": [...]}'


def read_prompts_json(path: str, name: str, *, descriptors: bool = False) -> tuple[LabelSet, int]:
    """Read texts by label into a label set.

    Sentences are prompts as they stand, so the set's only template is the bare slot; descriptors go into whatever
    templates are used. A text that comes again in one label is left out: it would weigh double in the mean.

    Args:
        path: The file: one object, each label with a list of texts, or with an object of such lists.
        name: Of the label set.
        descriptors: The texts say what one sees on a label.

    Returns:
        The label set, and how many texts were left out.

    Raises:
        LabelSetError: The file is something else, or its labels break the rules.
    """
    labels, repeated = [], 0
    for label, value in _read(path).items():
        texts = _texts(value)
        if not texts:
            raise LabelSetError(f"{path}: label {label!r} has no texts", hint=f"the file looks like {_SHAPE}")
        cleaned = [unicodedata.normalize("NFC", " ".join(text.split())) for text in texts]
        unique = tuple(dict.fromkeys(text for text in cleaned if text))
        repeated += len(texts) - len(unique)
        try:
            labels.append(Label(label, descriptors=unique) if descriptors else Label(label, unique))
        except LabelSetError as error:
            raise LabelSetError(f"{path}: {error}", hint=error.hint) from error
    try:
        return LabelSet(name, tuple(labels), None if descriptors else (SLOT,), source=Path(path).name), repeated
    except LabelSetError as error:
        raise LabelSetError(f"{path}: {error}", hint=error.hint) from error


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise LabelSetError(f"{path}: {error.strerror or error}") from error
    if len(data) > _MAX_BYTES:
        raise LabelSetError(f"{path}: larger than {_MAX_BYTES // 1_000_000} MB, which no file of prompts is")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelSetError(f"{path} is not JSON in UTF-8", hint=f"it looks like {_SHAPE}") from error
    if not isinstance(found, dict):
        raise LabelSetError(f"{path} holds no object", hint=f"it looks like {_SHAPE}")
    return found


def _texts(value: object) -> list[str]:
    """The texts of a label; empty if they are anything but texts."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return []
    return value
