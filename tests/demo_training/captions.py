"""Captions: how a concept is put into words, in training and (never the same templates) in the evaluation.

Imports no torch.
"""

import random
import re
from collections.abc import Sequence

from tests.demo_training.concepts import Concept

NONE_CAPTIONS = (
    "nothing",
    "none of these",
    "something else",
    "an empty picture",
    "a plain background",
    "none of the above",
    "nothing in particular",
    "an empty background",
    "a blank image",
    "empty space",
    "background",
    "no object",
    "just noise",
    "other",
)
KINDS = (
    "picture photo image drawing icon pictogram emoji symbol sticker illustration sketch painting cartoon graphic logo "
    "rendering sign print photograph snapshot close-up figure toy shape"
).split()
LOOKS = (
    "small large big little bright dark blurry good bad nice simple colourful colorful flat clean cropped cool plain "
    "beautiful clear single tiny low-resolution black-and-white hand-drawn digital modern old funny cute rough".split()
)
OPENERS = (
    "",
    "",
    "",
    "this is ",
    "here is ",
    "it is ",
    "there is ",
    "it shows ",
    "we see ",
    "i see ",
    "this shows ",
    "look at ",
    "that is ",
)
TAILS = (
    " on a white background",
    " on a plain background",
    " on a coloured background",
    " in the middle",
    " in the picture",
    " in the scene",
    " against a dark background",
    ", isolated",
    " from the front",
    " seen up close",
    " in colour",
    " of some kind",
)
JOINTS = (
    "{} and {}",
    "{} and {}",
    "{} and {}",
    "{} next to {}",
    "{} with {}",
    "{}, {}",
    "{} beside {}",
    "both {} and {}",
)
SYLLABLES = (
    "ba be bi bo bra cen cha co cru da den di dro el em en fa fi flo ga ge gri ha hen in ka ke kno la len li lo ma men "
    "mi mo na ner ni no or pa per pi plo ra ren ri ro sa ser shi so sta ta ten ti to tra un va ver vi wa wen wi yo"
).split()
STRANGE = 0.15
# The evaluation's own: none of them can come out of `Captioner`.
UNSEEN_TEMPLATES = (
    "a child's doodle of the {}.",
    "can you find the {} here?",
    "a postage stamp with a {} printed across it.",
)
ENSEMBLE = ("{}", "a {}", "a picture of a {}.", "an icon of a {}.", "a drawing of a {}.", "a photo of a {}.")


class Captioner:
    """Draws captions from a seeded generator.

    Args:
        concepts: What there is to say.
        rng: Where chance comes from.
    """

    def __init__(self, concepts: Sequence[Concept], rng: random.Random) -> None:
        """Keep both."""
        self.concepts = concepts
        self.rng = rng

    def phrase(self, concept: int) -> str:
        """Name a concept: mostly its everyday name, often another wording, seldom a loose tag."""
        names, tags = self.concepts[concept].names, self.concepts[concept].tags
        if tags and self.rng.random() < 0.08:
            return self.rng.choice(tags)
        return names[0] if self.rng.random() < 0.6 else self.rng.choice(names)

    def nothing(self) -> str:
        """Say that nothing is there, sometimes through a template, as a program would that adds a label."""
        phrase = self.rng.choice(NONE_CAPTIONS)
        return phrase if self.rng.random() < 0.65 else self.sentence([phrase])

    def sentence(self, phrases: Sequence[str]) -> str:
        """Wrap the names of one to three things into a caption."""
        rng = self.rng
        bare = rng.random() < 0.4
        noun = self._join([phrase if bare else self._article() + phrase for phrase in phrases])
        if bare:
            return noun
        if rng.random() < 0.65:
            look = rng.choice(LOOKS) + " " if rng.random() < 0.3 else ""
            kind = look + (self._strange() if rng.random() < STRANGE else rng.choice(KINDS))
            noun = self._article(kind) + kind + rng.choice((" of ", " of ", " of ", " showing ", " with ")) + noun
        opener = self._strange() + " " if rng.random() < STRANGE else rng.choice(OPENERS)
        tail = " " + self._strange() if rng.random() < STRANGE else rng.choice(TAILS) if rng.random() < 0.2 else ""
        return opener + noun + tail + rng.choice(("", ".", "!" if rng.random() < 0.1 else "."))

    def _join(self, parts: Sequence[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        joint = self.rng.choice(JOINTS)
        return joint.format(parts[0], parts[1]) if len(parts) == 2 else ", ".join(parts[:2]) + " and " + parts[2]

    def _strange(self) -> str:
        """Make up one or two words: what a template says besides the name must not matter, known or not."""
        rng = self.rng
        return " ".join("".join(rng.choices(SYLLABLES, k=rng.randint(1, 2))) for _ in range(rng.randint(1, 2)))

    def _article(self, noun: str = "") -> str:
        # "a apple" is what a template makes of "apple": the model must not care.
        return self.rng.choice(("a ", "a ", "a ", "the ", "an " if noun[:1] in "aeiou" else "a ", "", "one ", "my "))


def words(texts: Sequence[str]) -> set[str]:
    """Return the lower-case words of `texts`."""
    return {word for text in texts for word in re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())}


def vocabulary(concepts: Sequence[Concept]) -> list[str]:
    """Every word a training caption can hold, sorted: what the demo model has seen."""
    trained = [concept for concept in concepts if not concept.held_out]
    named = [text for concept in trained for text in (*concept.names, *concept.tags)]
    frames = [*NONE_CAPTIONS, *KINDS, *LOOKS, *OPENERS, *TAILS, *JOINTS, "a an the one my of showing with"]
    return sorted(words([*named, *frames]))
