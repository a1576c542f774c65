"""Which of several copies to keep: the user's rules, one after the other."""

import os
from collections.abc import Callable, Sequence

from clipcli.errors import UsageError
from clipcli.library.index.places import is_below
from clipcli.library.index.table import ImageRow

# Formats that lose nothing, or less than a JPEG of the same image.
_BETTER_FORMATS = ("PNG", "TIFF", "HEIF", "AVIF", "BMP", "PPM", "GIF", "JPEG2000", "QOI", "PSD")

RULES: dict[str, Callable[[ImageRow], object]] = {
    "pixels": lambda image: -(image.width or 0) * (image.height or 0),
    "format": lambda image: image.format not in _BETTER_FORMATS,
    "bytes": lambda image: -image.size_bytes,
    "dated": lambda image: image.taken is None,
    "oldest": lambda image: image.taken or image.modified,
    "newest": lambda image: tuple(-ord(character) for character in image.taken or image.modified),
    "path": lambda image: (len(os.fsencode(image.path)), image.path),
}
"""What each rule prefers is smaller: more pixels, a better format, more bytes, a date in the metadata, older, newer, a
shorter path."""

DEFAULT_RULES = ("pixels", "format", "bytes", "dated", "oldest", "path")


def check_rules(rules: Sequence[str]) -> None:
    """Refuse rules that do not exist.

    Raises:
        UsageError: Naming those that do.
    """
    for rule in rules:
        if rule not in RULES:
            raise UsageError(f"{rule!r} is not a rule of what to keep", hint=f"there are: {', '.join(RULES)}")


def in_order_of_keeping(
    images: Sequence[ImageRow], rules: Sequence[str] = DEFAULT_RULES, reference: str | None = None
) -> list[ImageRow]:
    """Sort images so that the first of any that are the same is the one to keep.

    Args:
        images: The images.
        rules: What counts, the most important first; equal images are sorted by path.
        reference: A folder, absolute, whose images come before all others.
    """
    check_rules(rules)

    def key(image: ImageRow) -> tuple[object, ...]:
        outside = reference is not None and not is_below(image.path, reference)
        return (outside, *(RULES[rule](image) for rule in rules), image.path)

    return sorted(images, key=key)
