"""Numbers and lists as text, formatted the same in every message."""

from collections.abc import Iterable


def counted(number: int, thing: str) -> str:
    """A number of things: "1 image", "2 images", "12,000 images"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def listed(parts: Iterable[str]) -> str:
    """A list where there is one cell for it: "ice cream | apple pie"."""
    return " | ".join(parts)


def size_text(size_bytes: int | None) -> str:
    """A size in MB or GB (powers of ten, as disks are sold); empty for None."""
    if size_bytes is None:
        return ""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= 0.9995 * factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes} B"
