"""From labels to prompts: every wording in every template. Pure; the same for all model families."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from clipcli.labels.background import background_of
from clipcli.labels.label_set import SLOT, Label, LabelSet
from clipcli.labels.templates import language_of


@dataclass(frozen=True)
class Prompts:
    """The prompts of a label set.

    Attributes:
        texts: T prompts, label by label; those of one label lie together.
        owners: For each prompt the index of its label, ascending from 0 to C-1 with none left out.
    """

    texts: tuple[str, ...]
    owners: tuple[int, ...]

    @property
    def by_label(self) -> list[tuple[str, ...]]:
        """The prompts of each label."""
        pairs = groupby(zip(self.owners, self.texts, strict=True), key=lambda pair: pair[0])
        return [tuple(text for _, text in group) for _, group in pairs]


def expand(label_set: LabelSet, templates: Sequence[str]) -> Prompts:
    """Put each wording of each label into each template.

    Within one label a text counts once, even when two pairs of wording and template make the same text ("dog" in
    "a photo of a {}." and "photo of a dog" in "a {}."): repeated, it would weigh double in the label's mean.

    A descriptor makes one more wording of the first: "dog, which has floppy ears" (arXiv:2210.07183, section 3.1).
    A label without words has the background's prompts, which fit any image about equally well: its examples decide.

    Args:
        label_set: Labels in order. The `none` label is not expanded; append it to the labels where it is wanted.
        templates: Checked templates (see `clean_templates`).
    """
    language = language_of(label_set) if any(label.descriptors for label in label_set.labels) else None
    texts: list[str] = []
    owners: list[int] = []
    for owner, label in enumerate(label_set.labels):
        wordings = [*label.prompts, *_described(label, language)]
        filled = dict.fromkeys(template.replace(SLOT, wording) for wording in wordings for template in templates)
        filled = filled or dict.fromkeys(background_of(label_set))
        texts.extend(filled)
        owners.extend([owner] * len(filled))
    return Prompts(tuple(texts), tuple(owners))


def question_digest(label_set: LabelSet, templates: Sequence[str], shown: str | None = None) -> str:
    """Digest of everything that a model is asked: names and prompts, in order, and examples. 16 hexadecimal digits.

    Args:
        label_set: The labels.
        templates: What their prompts are put into.
        shown: Digest of what the examples show, see `Lesson.shown`; None for a set that has none.
    """
    question: list[object] = list(zip(label_set.names, expand(label_set, templates).by_label, strict=True))
    if shown is not None:
        question.append(shown)
    return hashlib.blake2b(json.dumps(question).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


# How a descriptor that is not a noun begins, and what then stands before it.
_VERBS = frozenset("is are has have can may often usually typically lives comes".split())
_STATES = frozenset("used made covered seen found shaped".split())


def _described(label: Label, language: str | None) -> list[str]:
    """Wordings of a label with one of its descriptors each."""
    if not label.descriptors:
        return []
    name = label.prompts[0]
    if language != "en":
        comma = "，" if language == "zh" else ", "
        return [f"{name}{comma}{descriptor}" for descriptor in label.descriptors]
    return [f"{name}, which {_clause(descriptor)}" for descriptor in label.descriptors]


def _clause(descriptor: str) -> str:
    first = descriptor.split()[0].lower()
    if first in _VERBS:
        return descriptor
    return f"is {descriptor}" if first in _STATES else f"has {descriptor}"
