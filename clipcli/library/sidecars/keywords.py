"""How tags are written as keywords, in the three spellings that photo programs read.

- `dc:subject`: flat keywords, the last level of a label.
- `lr:hierarchicalSubject` (Lightroom, darktable): all levels, joined by `|`; for labels with more than one.
- `digiKam:TagsList`: all levels, joined by `/`.

Neither separator can be escaped, so inside a level it becomes a hyphen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clipcli.labels.label_set import UNNAMED, LabelSet


@dataclass(frozen=True, slots=True)
class Keywords:
    """One image's keywords, each list without repetitions."""

    subject: tuple[str, ...]
    hierarchical_subject: tuple[str, ...]
    tags_list: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who wrote a keyword: another label set, or the same one with another prefix, never takes it away."""

    label_set: str
    prefix: str = ""


def owner_of(label_set: LabelSet, prefix: str = "") -> Owner:
    """Whose the keywords of a label set are. Labels given without a name are told apart by what they are."""
    unnamed = label_set.name == UNNAMED
    return Owner(", ".join(sorted(label_set.names)) if unnamed else label_set.name, prefix)


def keywords(paths: Iterable[Sequence[str]], prefix: str = "") -> Keywords:
    """Spell labels as keywords.

    Args:
        paths: The levels of each label, from the top.
        prefix: Goes before every keyword; its slashes make levels, so `ai/` puts everything below `ai`.
    """
    *above, beginning = prefix.split("/")
    subject, hierarchical, tags_list = [], [], []
    for path in paths:
        levels = [*(level for level in above if level), beginning + path[0], *path[1:]]
        subject.append((prefix + path[-1]).strip())
        if len(levels) > 1:
            hierarchical.append("|".join(level.replace("|", "-") for level in levels).strip())
        tags_list.append("/".join(level.replace("/", "-") for level in levels).strip())
    return Keywords(*(tuple(dict.fromkeys(words)) for words in (subject, hierarchical, tags_list)))
