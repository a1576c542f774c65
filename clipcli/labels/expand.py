"""From labels to prompts: every wording in every template. Pure; the same for all model families."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from clipcli.labels.label_set import SLOT, LabelSet


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

    Args:
        label_set: Labels in order. The `none` label is not expanded; append it to the labels where it is wanted.
        templates: Checked templates (see `clean_templates`).
    """
    texts: list[str] = []
    owners: list[int] = []
    for owner, label in enumerate(label_set.labels):
        filled = dict.fromkeys(template.replace(SLOT, prompt) for prompt in label.prompts for template in templates)
        texts.extend(filled)
        owners.extend([owner] * len(filled))
    return Prompts(tuple(texts), tuple(owners))
