"""Images and the names that somebody gave them, before anything is matched."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image with its names.

    Attributes:
        path: Where it is.
        names: As they are written; one for most images.
        place: Where that is said, for errors: "line 3", "folder cats".
    """

    path: str
    names: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Labelling:
    """Labeled images from one folder or file.

    Attributes:
        source: The folder or file.
        images: One entry an image, in the order in which they first come.
        unlabelled: Images that have no name: they lie outside of the folders of labels, or their cell is empty.
    """

    source: str
    images: tuple[Labelled, ...]
    unlabelled: int = 0

    @property
    def names(self) -> dict[str, int]:
        """Every name and how many images have it, in the order in which they first come."""
        counts: dict[str, int] = {}
        for image in self.images:
            for name in image.names:
                counts[name] = counts.get(name, 0) + 1
        return counts

    @classmethod
    def of(cls, source: str, images: Iterable[Labelled]) -> "Labelling":
        """Join what is said of one path in several places: its names are all of them."""
        found: dict[str, Labelled] = {}
        for image in images:
            known = found.get(image.path)
            if known is None:
                found[image.path] = image
            elif set(image.names) - set(known.names):
                names = tuple(dict.fromkeys((*known.names, *image.names)))
                found[image.path] = Labelled(image.path, names, known.place)
        labelled = tuple(image for image in found.values() if image.names)
        return cls(source, labelled, len(found) - len(labelled))
