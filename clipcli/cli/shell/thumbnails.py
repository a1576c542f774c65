"""Images in a terminal: by the protocols of Kitty and of iTerm2 where it has them, else as half blocks of color.

Kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/; iTerm2: https://iterm2.com/documentation-images.html.
Inside tmux their sequences are wrapped, and reach the terminal where `allow-passthrough` is set.
"""

import base64
import io
import os
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_CHUNK = 4096
_PIXELS_A_ROW = 20
_WIDEST_COLUMNS = 60


class Graphics(Enum):
    """How a terminal shows images."""

    kitty = auto()
    iterm2 = auto()
    blocks = auto()


def graphics_of(environment: Mapping[str, str]) -> Graphics:
    """What a terminal understands, as its variables tell."""
    program = environment.get("TERM_PROGRAM", "").lower()
    if "kitty" in environment.get("TERM", "") or environment.get("KITTY_WINDOW_ID") or program == "ghostty":
        return Graphics.kitty
    if program in ("iterm.app", "wezterm", "mintty") or environment.get("LC_TERMINAL") == "iTerm2":
        return Graphics.iterm2
    return Graphics.blocks


def drawn(image: "Image", rows: int, environment: Mapping[str, str] = os.environ) -> str:
    """An image as text for a terminal, some rows high.

    Args:
        image: In mode RGB.
        rows: Lines of the terminal that it may take.
        environment: Variables that tell which terminal it is.
    """
    match graphics_of(environment):
        case Graphics.kitty:
            return _wrapped(_kitty(_scaled(image, rows), rows), environment) + "\n"
        case Graphics.iterm2:
            return _wrapped(_iterm2(_scaled(image, rows), rows), environment) + "\n"
        case Graphics.blocks:
            return _blocks(image, rows)


def _scaled(image: "Image", rows: int) -> bytes:
    """The image as a PNG of about the size in which it is shown."""
    small = image.copy()
    small.thumbnail((rows * _PIXELS_A_ROW * 3, rows * _PIXELS_A_ROW))
    data = io.BytesIO()
    small.save(data, "PNG")
    return data.getvalue()


def _kitty(png: bytes, rows: int) -> str:
    text = base64.b64encode(png).decode("ascii")
    chunks = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]
    parts = []
    for i, chunk in enumerate(chunks):
        keys = f"a=T,f=100,r={rows}," if i == 0 else ""
        parts.append(f"\x1b_G{keys}m={int(i < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2(png: bytes, rows: int) -> str:
    keys = f"inline=1;size={len(png)};height={rows};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(png).decode('ascii')}\x07"


def _wrapped(sequence: str, environment: Mapping[str, str]) -> str:
    if not environment.get("TMUX"):
        return sequence
    return "".join(f"\x1bPtmux;{part}\x1b\\" for part in _escaped_parts(sequence))


def _escaped_parts(sequence: str) -> list[str]:
    """The sequences of a text, each with its escapes doubled, as tmux wants them."""
    parts = sequence.split("\x1b_G")
    whole = [sequence] if len(parts) == 1 else [f"\x1b_G{part}" for part in parts[1:]]
    return [part.replace("\x1b", "\x1b\x1b") for part in whole]


def _blocks(image: "Image", rows: int) -> str:
    """Two pixels per cell: the upper one is the color of the character, the lower one that of its background."""
    small = image.convert("RGB")
    small.thumbnail((_WIDEST_COLUMNS, 2 * rows))
    pixels = np.asarray(small)
    pixels = np.concatenate([pixels, pixels[-1:]]) if len(pixels) % 2 else pixels
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (f"\x1b[38;2;{_color(a)}m\x1b[48;2;{_color(b)}m▀" for a, b in zip(upper, lower, strict=True))
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines)


def _color(pixel: "NDArray[np.uint8]") -> str:
    return ";".join(map(str, pixel.tolist()))
