"""JSON that ExifTool reads: `exiftool -json=tags.json FILES` writes the keywords into the images themselves.

The objects are keyed by `SourceFile` (Image::ExifTool, option -json=); property names are ExifTool's, with their group.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clipcli.cli.output.destination import Destination
from clipcli.files import dump
from clipcli.library.sidecars.keywords import Keywords
from clipcli.results import TaggedImage


class ExiftoolRenderer:
    """One array with an object for each image that has tags."""

    def __init__(self, destination: Destination, keywords_of: Callable[[TaggedImage], Keywords]) -> None:
        """Write to a destination, in the spelling that sidecars have."""
        self._destination = destination
        self._keywords_of = keywords_of
        self._separator = "\n"

    def start(self, run: Mapping[str, Any]) -> None:
        """Open the array."""
        self._destination.write("[")

    def write(self, records: Iterable[TaggedImage]) -> None:
        """Write a batch."""
        for record in records:
            if record.tags:
                self._destination.write(f"{self._separator}{dump(self._object(record))}")
                self._separator = ",\n"
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Close the array."""
        self._destination.write("\n]\n")
        self._destination.flush()

    def _object(self, record: TaggedImage) -> dict[str, object]:
        keywords = self._keywords_of(record)
        properties = {
            "SourceFile": record.path,
            "XMP-dc:Subject": list(keywords.subject),
            "XMP-lr:HierarchicalSubject": list(keywords.hierarchical_subject),
            "XMP-digiKam:TagsList": list(keywords.tags_list),
        }
        return {name: value for name, value in properties.items() if value}
