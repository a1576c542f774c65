"""What OpenAI's own code and open_clip's do to a text before they tokenize it, and `transformers` does not.

Broken encodings, typographic quotes, wide letters and HTML's entities are replaced. Imports `ftfy`, which knows how,
only for a text that may need it.
"""

import re

from clipcli.errors import UsageError

TEXT_CLEANINGS = ("auto", "openai", "none")
"""How a text is cleaned: `auto` means as the checkpoint's files say, which is `none` where they say nothing."""

# White space, visible ASCII without an ampersand, and letters of scripts that no encoding of one byte a character has
# and that do not combine (Hebrew, Arabic, kana, Han, Hangul): `ftfy` and `html.unescape` leave these as they are.
_PLAIN = re.compile(
    r"[\t\n\r\x20-\x25\x27-\x7e\u05d0-\u05ea\u0621-\u063a\u0641-\u064a"
    r"\u3001\u3002\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\uac00-\ud7a3]*"
)


def check_text_cleaning(name: str) -> None:
    """Refuse a name that is not one of `TEXT_CLEANINGS`.

    Raises:
        UsageError: It is not.
    """
    if name not in TEXT_CLEANINGS:
        raise UsageError(
            f"text_cleaning must be one of {', '.join(TEXT_CLEANINGS)}, not {name!r}",
            parameter="text_cleaning",
            value=name,
        )


def clean_openai(text: str) -> str:
    """Clean and lower-case a text; see `repaired`."""
    return repaired(text).lower()


def repaired(text: str) -> str:
    """Repair a text, replace HTML's entities, and make runs of white space one blank.

    Source: `basic_clean` and `whitespace_clean` in `clip/simple_tokenizer.py` of openai/CLIP (arXiv:2103.00020).
    """
    if not _PLAIN.fullmatch(text):
        import html

        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def cleaning_version() -> str:
    """What decides the outcome beside the text: which `ftfy` is installed."""
    from importlib.metadata import version

    return version("ftfy")
