"""Which language a label set speaks, and the templates for one that brings none.

The built-in templates are few: a default that is quick and never wrong. Bigger sets are files of the library.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from clipcli.errors import LabelSetError
from clipcli.labels.label_set import CONCEPT_SLOT, SLOT, LabelSet, clean_templates

# The Chinese first one is the form of Chinese-CLIP's authors (arXiv:2211.01335).
_DEFAULTS: dict[str, tuple[str, ...]] = {
    "en": ("a photo of a {}.",),
    "zh": ("一张{}的照片。", "照片里有{}。", "这是{}。", "一张拍到{}的图片。"),
    "ar": ("صورة {}.",),
    "de": ("Ein Foto: {}.",),
    "es": ("una foto de {}.",),
    "fr": ("une photo de {}.",),
    "it": ("una foto di {}.",),
    "ja": ("{}の写真。",),
    "ko": ("{} 사진.",),
    "ru": ("фотография: {}.",),
}
_BARE = (SLOT,)
# The most spoken language of each script.
_LANGUAGES = {
    "latin": "en",
    "han": "zh",
    "kana": "ja",
    "hangul": "ko",
    "cyrillic": "ru",
    "arabic": "ar",
    "armenian": "hy",
    "bengali": "bn",
    "devanagari": "hi",
    "ethiopic": "am",
    "georgian": "ka",
    "greek": "el",
    "hebrew": "he",
    "khmer": "km",
    "lao": "lo",
    "myanmar": "my",
    "sinhala": "si",
    "tamil": "ta",
    "telugu": "te",
    "thai": "th",
}
_SCRIPTS = {"cjk": "han", "ideographic": "han", "hiragana": "kana", "katakana": "kana"}


def script_of(text: str) -> str:
    """Name the script of a text: latin, han, kana, hangul, cyrillic, arabic, greek, thai ... or common.

    Any kana makes a text kana (Japanese), any hangul hangul, any Chinese character han, since a single one of them is
    a word ("T恤"). Otherwise the script of most letters; "common" where there is none (digits, emoji).
    """
    counts = Counter(_script(character) for character in text if character.isalpha())
    for script in ("kana", "hangul", "han"):
        if script in counts:
            return script
    return counts.most_common(1)[0][0] if counts else "common"


def _script(letter: str) -> str:
    # The first word of a letter's Unicode name is its script: "CYRILLIC SMALL LETTER A", "CJK UNIFIED IDEOGRAPH-732B".
    name = unicodedata.normalize("NFKC", letter)[0]
    word = unicodedata.name(name, "COMMON").split()[0].split("-")[0].lower()
    return _SCRIPTS.get(word, word)


def language_of_text(text: str) -> str | None:
    """Return the language that a text's script tells (Latin letters count as English); None where it is unknown."""
    return _LANGUAGES.get(script_of(text))


def base_language(tag: str) -> str:
    """Return the language of a BCP 47 tag, without script and region: "zh" of "zh-Hans-CN"."""
    return tag.split("-")[0].lower()


def language_of(label_set: LabelSet) -> str | None:
    """Return the base language that the set states, or the one its labels' scripts tell.

    Latin letters count as English. None if no script has more than half of the labels, or its language is unknown.
    """
    if label_set.language is not None:
        return base_language(label_set.language)
    scripts = Counter(script_of(" ".join(label.prompts)) for label in label_set.labels)
    del scripts["common"]
    if scripts["kana"]:  # Japanese also writes words in Chinese characters alone
        scripts["kana"] += scripts.pop("han", 0)
    if not scripts:
        return "en"
    script, count = scripts.most_common(1)[0]
    return _LANGUAGES.get(script) if 2 * count > scripts.total() else None


def templates_of(
    label_set: LabelSet, templates: Sequence[str] | None = None, *, english: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """Return the templates that a label set's labels go into, with its concept filled in.

    Args:
        label_set: The labels.
        templates: Take the place of its own. Without either, its concept or else its language decides.
        english: The default for English that the model's authors recommend, where they do.

    Raises:
        LabelSetError: A template is wrong, or holds `{concept}` and the set has none.
    """
    if templates is not None:
        chosen = clean_templates(templates)
    elif label_set.templates is not None:
        chosen = label_set.templates
    else:
        chosen = _concept_templates(label_set) or default_templates(label_set, english)
    if label_set.concept is not None:
        return tuple(template.replace(CONCEPT_SLOT, label_set.concept) for template in chosen)
    asking = next((template for template in chosen if CONCEPT_SLOT in template), None)
    if asking is not None:
        raise LabelSetError(
            f"template {asking!r} holds {{concept}}, and label set {label_set.name!r} has none",
            hint="give the file a line like concept: pet, or write the word into the template",
        )
    return chosen


def _concept_templates(label_set: LabelSet) -> tuple[str, ...] | None:
    """The template that names the concept, where the language has one; a concept elsewhere needs templates."""
    if label_set.concept is None:
        return None
    language = language_of(label_set)
    if language == "en":
        article = "an" if label_set.concept[0].lower() in "aeiou" else "a"
        return (f"a photo of {article} {CONCEPT_SLOT}: a {SLOT}.",)
    if language == "zh":
        return (f"一张{CONCEPT_SLOT}的照片：{SLOT}。",)
    raise LabelSetError(
        f"label set {label_set.name!r} has a concept, and there is no default template for its language",
        hint='add templates that hold both, like "a photo of a {concept}: a {}."',
    )


def default_templates(label_set: LabelSet, english: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return the templates for a label set that brings none and a user who gave none.

    They are in the set's language; a mixture of languages, or one without a template here, gets the bare label.

    Args:
        label_set: The label set.
        english: The templates for English that the model's authors recommend, where they do.
    """
    language = language_of(label_set)
    if language == "en" and english is not None:
        return english
    return _DEFAULTS.get(language, _BARE) if language else _BARE
