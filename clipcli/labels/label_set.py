"""Labels and label sets as plain data, and the rules that every one of them keeps.

Whatever its origin (typed, a YAML file, Python), a label set that exists is valid. Imports no room but errors.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipcli.errors import LabelSetError
from clipcli.labels.calibration import Calibration
from clipcli.labels.teaching import Teaching

SLOT = "{}"
CONCEPT_SLOT = "{concept}"
UNNAMED = "labels"
"""The name of a label set that is given on the command line or from Python."""


def clean_text(text: str, what: str) -> str:
    """Normalize a label, a wording or a template: Unicode NFC, no space at either end.

    Args:
        text: What the user wrote.
        what: What it is, to begin the error message with ("label").

    Raises:
        LabelSetError: If nothing is left, or a line break, tab or other control character is inside.
    """
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned:
        raise LabelSetError(f"{what} is empty")
    if any(_is_noncharacter(ord(character)) for character in cleaned):
        raise LabelSetError(
            f"{what} {cleaned!r} contains a code point that is not a character and is not allowed in XML",
            hint="remove it",
        )
    categories = {unicodedata.category(character) for character in cleaned}
    if "Cs" in categories:  # how Python carries bytes of the command line that are not UTF-8
        raise LabelSetError(f"{what} {cleaned!r} is not UTF-8 text")
    if "Cc" in categories:
        raise LabelSetError(
            f"{what} {cleaned!r} holds a line break, a tab or another control character",
            hint="write it on one line, with spaces",
        )
    return cleaned


def _is_noncharacter(code: int) -> bool:
    """Whether Unicode promises never to put a character there (The Unicode Standard, section 23.7)."""
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def clean_template(template: str) -> str:
    """Normalize one template and check that it has one place for the label.

    Raises:
        LabelSetError: If it does not hold `{}` exactly once.
    """
    cleaned = clean_text(template, "template")
    if cleaned.count(SLOT) != 1:
        raise LabelSetError(
            f"template {cleaned!r} must hold {{}} exactly once, not {cleaned.count(SLOT)} times",
            hint='write {} where the label goes: "a photo of a {}."',
        )
    return cleaned


def clean_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Normalize templates; a repeated one would weigh double in the mean, so it is refused.

    Raises:
        LabelSetError: If there are none, if one is repeated, or one does not hold `{}` exactly once.
    """
    cleaned = tuple(clean_template(template) for template in templates)
    if not cleaned:
        raise LabelSetError("no template is given", hint='"{}" alone makes the bare label the prompt')
    repeated = next((text for text in cleaned if cleaned.count(text) > 1), None)
    if repeated is not None:
        raise LabelSetError(f"template {repeated!r} is there twice", hint="remove one of the two")
    return cleaned


@dataclass(frozen=True)
class Label:
    """One class of a label set.

    Attributes:
        name: What results show; levels of a hierarchy are joined by slashes.
        prompts: The wordings that go into the templates; by default the last level of the name.
        path: The levels of the name from the top; by default one level. Kept beside the name because a name may
            hold a slash that separates nothing ("AC/DC").
        threshold: Least score in [0, 1] at which `tag` gives this label, in place of the general one.
        group: The group it belongs to ("weather"), of which one label may be given alone.
        id: What data sets call it where they do not use its name, such as a WordNet id ("n02123045").
        descriptors: What one sees on it ("pointed ears"); each makes one more sentence, see `expand`.
        examples: Images that show it: files, folders and globs.
        wordless: Whether it is known by its examples alone: it has no prompts.
    """

    name: str
    prompts: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    threshold: float | None = None
    group: str | None = None
    id: str | None = None
    descriptors: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    wordless: bool = False

    def __post_init__(self) -> None:
        """Normalize, fill in what was not given, check the rest.

        Raises:
            LabelSetError: If a text is empty, a wording or an example is repeated, there is neither, or the threshold
                lies outside [0, 1].
        """
        name = clean_text(self.name, "label")
        path = self.path or (name,)
        wordings = self.prompts or (() if self.wordless else path[-1:])
        prompts = tuple(clean_text(prompt, f"a prompt of label {name!r}") for prompt in wordings)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "prompts", prompts)
        descriptors = tuple(clean_text(text, f"a descriptor of label {name!r}") for text in self.descriptors)
        object.__setattr__(self, "descriptors", descriptors)
        if self.id is not None:
            object.__setattr__(self, "id", clean_text(self.id, f"the id of label {name!r}"))
        if self.wordless and (prompts or descriptors or not self.examples):
            raise LabelSetError(
                f"label {name!r} must have prompts, or examples and no text at all",
                hint="leave out `prompts: []`, or add examples and remove the descriptors",
            )
        for what, texts in (("prompt", prompts), ("descriptor", descriptors), ("example", self.examples)):
            if len(set(texts)) < len(texts):
                raise LabelSetError(f"label {name!r} has the same {what} twice", hint="remove one of the two")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise LabelSetError(f"threshold of label {name!r} must lie between 0 and 1, not {self.threshold}")


@dataclass(frozen=True)
class LabelSet:
    """Labels in order, and what a file may say about them.

    Attributes:
        name: The name it is found by, or "labels" for labels given on the command line.
        labels: At least one; names are unique, upper and lower case being different.
        templates: Each holds `{}` once; None where the file gives none, see `default_templates`.
        language: BCP 47 tag ("en", "zh"), or None where nothing was said.
        description: One line.
        source: Where the labels come from.
        none: The "none of these" label, which goes through the templates as the others do.
        background: Whole prompts (no template is applied) that stand for "anything else" when `tag` scores a label.
        concept: What all labels are ("pet"), for templates that hold `{concept}`; see `templates_of`.
        calibration: What was learned from labeled images.
        teaching: Which model its examples were tried with.
    """

    name: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...] | None = None
    language: str | None = None
    description: str = ""
    source: str = ""
    none: Label | None = None
    background: tuple[str, ...] = ()
    concept: str | None = None
    calibration: Calibration | None = None
    teaching: Teaching | None = None

    def __post_init__(self) -> None:
        """Check the rules that hold between labels.

        Raises:
            LabelSetError: If the set has no labels, a label is repeated, two have the same prompts or the same example,
                or a template is not valid.
        """
        if not self.labels:
            raise LabelSetError(f"label set {self.name!r} has no labels")
        if self.templates is not None:
            object.__setattr__(self, "templates", clean_templates(self.templates))
        self._check_concept()
        everything = self.labels if self.none is None else (*self.labels, self.none)
        names: set[str] = set()
        for label in everything:
            if label.name in names:
                raise LabelSetError(f"label {label.name!r} is there twice", hint="each label may be given once")
            names.add(label.name)
        ids: dict[str, str] = {}
        for label in self.labels:
            if label.id is not None and ids.setdefault(label.id, label.name) != label.name:
                raise LabelSetError(f"labels {ids[label.id]!r} and {label.name!r} have the same id {label.id!r}")
        self._check_shared(everything)

    def _check_shared(self, labels: Sequence[Label]) -> None:
        """Refuse prompts and examples of which two labels claim the same."""
        owners: dict[frozenset[str], str] = {}
        for label in labels:
            other = owners.setdefault(frozenset(label.prompts), label.name)
            if other != label.name and not label.wordless:
                raise LabelSetError(
                    f"labels {other!r} and {label.name!r} have the same prompts, so nothing could tell them apart",
                    hint="give one of them other prompts: {name: ..., prompts: [...]}",
                )
        shown: dict[str, str] = {}
        for label in labels:
            for example in label.examples:
                if shown.setdefault(example, label.name) != label.name:
                    raise LabelSetError(f"{example} is an example of label {shown[example]!r} and of {label.name!r}")

    def _check_concept(self) -> None:
        """Refuse a concept that no prompt would hold, and a place for one that there is not."""
        asked = any(CONCEPT_SLOT in template for template in self.templates or ())
        if self.concept is not None:
            object.__setattr__(self, "concept", clean_text(self.concept, "concept"))
            if self.templates is not None and not asked:
                raise LabelSetError(
                    f"concept {self.concept!r} is used by none of the templates",
                    hint='write {concept} into one: "a photo of a {concept}: a {}.", or leave out the templates',
                )
        elif asked:
            raise LabelSetError(
                "a template holds {concept}, and the label set has no concept", hint="add a line: concept: pet"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The label names in order."""
        return tuple(label.name for label in self.labels)

    def uncalibrated(self) -> "LabelSet":
        """The set without what was fitted to it alone: calibration and thresholds."""
        if self.calibration is None:
            return self
        labels = tuple(replace(label, threshold=None) for label in self.labels)
        return replace(self, labels=labels, calibration=None)

    @property
    def has_examples(self) -> bool:
        """Whether images are part of what the labels are."""
        return any(label.examples for label in self.labels)

    @property
    def depth(self) -> int:
        """The number of levels of the deepest label; 1 if the set is flat."""
        return max(len(label.path) for label in self.labels)


def parents(labels: Sequence[Label], depth: int) -> tuple[str, ...]:
    """Name the ancestor of each label at a depth, for sums over children.

    A label that does not reach that deep stands for itself.

    Args:
        labels: Labels of one set.
        depth: Levels to keep, from the top; at least 1.

    Returns:
        One name a label, in their order: `animal/dog` for `animal/dog/beagle` at depth 2.

    Raises:
        LabelSetError: If the depth is less than 1.
    """
    if depth < 1:
        raise LabelSetError(f"depth must be 1 or more, not {depth}", parameter="depth", value=depth)
    return tuple("/".join(label.path[:depth]) for label in labels)
