"""The concepts of the demo model: what each is called and which emoji show it. Imports no torch."""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.demo_training.fetch import package_folder
from tests.demo_training.vendors import EMOJIBASE

COLOURS = frozenset("red orange yellow green blue purple brown black white".split())
COLOURED_ANYWAY = frozenset({"orange", "lemon", "lime", "rainbow", "blood drop"})


@dataclass(frozen=True)
class Concept:
    """One thing the model knows.

    Args:
        names: Everyday name first, then other wordings.
        labels: The emojibase labels of the emoji that show it.
        hexcodes: Their code points, as emojibase writes them.
        tags: Looser words ("animal", "fruit"), shared between concepts.
        held_out: Never trained.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    hexcodes: tuple[str, ...]
    tags: tuple[str, ...]
    held_out: bool

    @property
    def name(self) -> str:
        """The everyday name."""
        return self.names[0]

    @cached_property
    def coloured(self) -> bool:
        """Whether another hue would make it something else."""
        return bool(COLOURS & set(re.findall(r"\w+", self.name.lower()))) or self.name in COLOURED_ANYWAY


def load_concepts(work: Path) -> list[Concept]:
    """Read concepts.toml and emojibase into the list of concepts, sorted by name."""
    rules = tomllib.loads(Path(__file__).with_name("concepts.toml").read_text("utf-8"))
    folder = package_folder(work, EMOJIBASE)
    subgroups = json.loads((folder / "meta/groups.json").read_text("utf-8"))["subgroups"]
    emoji = {e["label"]: e for e in json.loads((folder / "en/data.json").read_text("utf-8")) if "subgroup" in e}
    merged = {label for others in rules["same"].values() for label in others}
    chosen = [
        label
        for label, e in emoji.items()
        if (subgroups[str(e["subgroup"])] in rules["subgroups"] or label in rules["labels"])
        and label not in rules["drop"]
        and label not in merged
    ]
    concepts = [_concept(label, emoji, rules) for label in chosen]
    return sorted(_without_ambiguous_tags(concepts), key=lambda concept: concept.name.lower())


def _concept(label: str, emoji: dict[str, dict[str, Any]], rules: dict[str, Any]) -> Concept:
    labels = (label, *rules["same"].get(label, []))
    return Concept(
        names=tuple(rules["called"].get(label, [label])),
        labels=labels,
        hexcodes=tuple(emoji[one]["hexcode"] for one in labels),
        tags=tuple(tag for tag in emoji[label].get("tags", ()) if re.fullmatch(r"[a-z]{3,}", tag)),
        held_out=label in rules["held_out"],
    )


def _without_ambiguous_tags(concepts: list[Concept]) -> Iterable[Concept]:
    """Drop a tag that names another concept ("bone" of dog), and tags of concepts that are never trained."""
    names = {name.lower() for concept in concepts for name in concept.names}
    for concept in concepts:
        tags = () if concept.held_out else tuple(tag for tag in concept.tags if tag not in names)
        yield Concept(concept.names, concept.labels, concept.hexcodes, tags, concept.held_out)
