"""Check whether a model supports the language of its labels: if not, its answers have no meaning."""

from collections.abc import Sequence

from clipcli import demo, hub
from clipcli.labels.templates import base_language, language_of_text

_NAMES = {
    "am": "Amharic",
    "ar": "Arabic",
    "bn": "Bengali",
    "el": "Greek",
    "en": "English",
    "he": "Hebrew",
    "hi": "Hindi",
    "hy": "Armenian",
    "ja": "Japanese",
    "ka": "Georgian",
    "km": "Khmer",
    "ko": "Korean",
    "lo": "Lao",
    "my": "Burmese",
    "ru": "Russian",
    "si": "Sinhala",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "zh": "Chinese",
}


def spoken_languages(model_id: str, family: str) -> frozenset[str]:
    """Languages (ISO 639-1) that a model's text tower was trained for, as published.

    A model that is not in the registry may be any of its family, so it gets all languages of the family's checkpoints.
    """
    row = hub.find_checkpoint(model_id)
    rows = [row] if row else [row for row in hub.CHECKPOINTS if row.family == family]
    return frozenset(language for row in rows for language in row.languages)


def foreign_language(texts: Sequence[str], stated: str | None, spoken: frozenset[str]) -> tuple[str, list[str]] | None:
    """The first language among texts that a model does not support, and the texts in it.

    A stated language is used as it is. Otherwise the language follows from each text's script; Latin letters count only
    if all texts use them, because names and brands use them in any language.
    """
    if stated is not None:
        language = base_language(stated)
        return None if language in spoken else (language, list(texts))
    languages = [language_of_text(text) for text in texts]
    if any(language not in ("en", None) for language in languages):
        languages = [None if language == "en" else language for language in languages]
    foreign = next((language for language in languages if language is not None and language not in spoken), None)
    if foreign is None:
        return None
    return foreign, [text for text, language in zip(texts, languages, strict=True) if language == foreign]


def language_warning(texts: Sequence[str], stated: str | None, model_id: str, family: str) -> str | None:
    """A warning about texts that the model does not understand, with a model that does; None if there are none."""
    found = foreign_language(texts, stated, spoken_languages(model_id, family))
    if found is None:
        return unseen_words_warning(texts) if model_id == hub.DEMO else None
    language, foreign = found
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    name = _NAMES.get(language, f"of language {language!r}")
    better = next(iter(hub.checkpoints_for(language)), None)
    advice = f"; {better.hub_id} ({better.alias}) does" if better else ""
    return f"{foreign[0]!r}{more}: {name}, which {model_id} does not speak, so the scores mean little{advice}"


def unseen_words_warning(texts: Sequence[str]) -> str | None:
    """The warning about words that the bundled model was not trained on; None if it was trained on all of them."""
    unseen = demo.unknown_words(texts)
    if not unseen:
        return None
    words = f"the word{'s' if len(unseen) > 1 else ''} {', '.join(map(repr, unseen[:5]))}"
    more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    it = "them" if len(unseen) > 1 else "it"
    return f"the demo model has never seen {words}{more}, so results that depend on {it} mean nothing"
