"""How tags are written as keywords, in the three spellings that photo programs read.

- `dc:subject`: flat keywords, the last level of a label.
- `lr:hierarchicalSubject` (Lightroom, darktable): all levels, joined by `|`; for labels with more than one.
- `digiKam:TagsList`: all levels, joined by `/`.

Neither separator can be escaped, so inside a level it becomes a hyphen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keywords:
    """One image's keywords, each list without repetitions."""

    subject: tuple[str, ...]
    hierarchical_subject: tuple[str, ...]
    tags_list: tuple[str, ...]


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
        subject.append(prefix + path[-1])
        if len(levels) > 1:
            hierarchical.append("|".join(level.replace("|", "-") for level in levels))
        tags_list.append("/".join(level.replace("/", "-") for level in levels))
    return Keywords(*(tuple(dict.fromkeys(words)) for words in (subject, hierarchical, tags_list)))
