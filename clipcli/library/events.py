"""What happens to the user's files, one record per step: the functions of this room yield them and print nothing."""

from dataclasses import dataclass
from typing import Literal

Way = Literal["link", "copy", "move"]


@dataclass(frozen=True, slots=True)
class Sorted:
    """A file got its place in a sorted folder, or would get it in a dry run.

    Attributes:
        way: How it got there.
        source: Where it was; absolute.
        target: Where it is; absolute.
        is_sidecar: Whether it is a sidecar that belongs to the image sorted before it.
    """

    way: Way
    source: str
    target: str
    is_sidecar: bool = False


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """An earlier sorting has put the image where it belongs."""

    path: str


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A step of a sorting was undone, or would be in a dry run."""

    way: Way
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file was not touched."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeywordChange:
    """The difference of one keyword property, such as `dc:subject`."""

    property: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SidecarChanged:
    """A sidecar was written, or would be in a dry run.

    Attributes:
        path: The sidecar.
        changes: What changed in it.
        is_removed: Whether it was removed: we had made it, and it holds nothing any more.
    """

    path: str
    changes: tuple[KeywordChange, ...]
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class SidecarUnchanged:
    """A sidecar already says what it should, or none is needed."""

    path: str
