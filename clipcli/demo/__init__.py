"""The bundled model: where its files lie, which words it knows, and images to try it on.

It recognizes pictograms, not photographs, and only the concepts it was trained on; see MODEL_CARD.md.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from clipcli.errors import DamagedModelError

FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "words.txt")
_SAMPLE_SUFFIXES = {".png", ".jpg", ".webp"}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def folder() -> Path:
    """Return the folder that holds the bundled model.

    Raises:
        DamagedModelError: This installation lacks a file of the model.
    """
    here = Path(__file__).parent
    missing = [name for name in FILES if not (here / name).is_file()]
    if missing:
        raise DamagedModelError(
            f"the bundled model is not in this installation: {here} lacks {', '.join(missing)}",
            hint="install clipcli from a complete wheel or checkout, or use another model",
        )
    return here


def samples() -> list[Path]:
    """Return the sample images, sorted; each is named after what it shows."""
    return sorted(path for path in (Path(__file__).parent / "samples").iterdir() if path.suffix in _SAMPLE_SUFFIXES)


def unknown_words(labels: Iterable[str]) -> list[str]:
    """Return the words of `labels` that no training caption held, each once, in order.

    A plural of a known word counts as known. Words are letters; numbers and punctuation are passed over.

    Raises:
        DamagedModelError: This installation lacks a file of the model.
    """
    known = _known_words()
    words = dict.fromkeys(word.lower() for label in labels for word in _WORD.findall(label))
    return [word for word in words if not _singulars(word) & known]


def _singulars(word: str) -> set[str]:
    forms = {word}
    for ending, singular in (("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending):
            forms.add(word.removesuffix(ending) + singular)
    return forms


@cache
def _known_words() -> frozenset[str]:
    return frozenset((folder() / "words.txt").read_text("utf-8").split())
