"""What a terminal is spared and offered: no raw control characters, and color or movement only where they are wanted.

Imports nothing but the standard library: every command reads this module.
"""

import os
import unicodedata
from enum import StrEnum
from typing import Protocol

# Letters of Persian and Indic scripts are joined and parted by these, and emoji are made of them.
_JOINERS = "\u200c\u200d"
_LEFT_TO_RIGHT_MARK = "\u200e"


class Style(StrEnum):
    """What a text may look like on a terminal (ECMA-48, select graphic rendition)."""

    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BOLD_RED = "1;31"
    DIM = "2"


class Stream(Protocol):
    """Whatever may be a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""


def printable(text: str) -> str:
    """Control characters, marks that turn the direction, and bytes that are not UTF-8, as escapes.

    A name of a file must not move the cursor, and must not look like another name.
    """
    if not text.isprintable():
        text = "".join(character if _is_harmless(character) else _escaped(character) for character in text)
    return text


def styled(text: str, style: Style) -> str:
    """A text in a style; whether to use any is for `wants_colour` to say."""
    return f"\x1b[{style}m{text}\x1b[0m"


def held_in_place(text: str) -> str:
    """A text that no terminal reorders together with what stands right of it, as Hebrew and Arabic would be."""
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text):
        return f"{_LEFT_TO_RIGHT_MARK}{text}{_LEFT_TO_RIGHT_MARK}"
    return text


def can_redraw(stream: Stream | None) -> bool:
    """Whether a stream is a terminal that can move its cursor: bars and block characters are for it alone."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def wants_colour(stream: Stream | None) -> bool:
    """Whether to color what goes to a stream.

    An empty variable counts as unset (no-color.org). `NO_COLOR` takes precedence over `FORCE_COLOR` and
    `CLICOLOR_FORCE`, which ask for color in a pipe too.
    """
    if os.environ.get("NO_COLOR"):
        return False
    forced = any(os.environ.get(name, "") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return forced or can_redraw(stream)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
