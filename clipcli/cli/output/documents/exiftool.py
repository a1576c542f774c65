"""An argument file for ExifTool: `exiftool -@ tags.args` writes the keywords into the images themselves."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clipcli.cli.output.destination import Destination
from clipcli.cli.shell.terminal import printable
from clipcli.library.sidecars.exiftool import arguments
from clipcli.library.sidecars.keywords import Keywords
from clipcli.results import TaggedImage


class ExiftoolRenderer:
    """The arguments of each image, one per line."""

    def __init__(
        self, destination: Destination, keywords_of: Callable[[TaggedImage], Keywords], stale: Keywords
    ) -> None:
        self._destination = destination
        self._keywords_of = keywords_of
        self._stale = stale

    def start(self, run: Mapping[str, Any]) -> None:
        """Write nothing: every image stands for itself."""

    def write(self, records: Iterable[TaggedImage]) -> None:
        """Write a batch."""
        for record in records:
            if record.error is None or record.tags:
                text = arguments(record.path, self._keywords_of(record), self._stale)
                if self._destination.is_terminal:
                    text = "\n".join(printable(line) for line in text.split("\n"))
                self._destination.write(text, errors="surrogateescape")
        self._destination.flush()

    def finish(self, summary: Mapping[str, int]) -> None:
        """Write nothing."""
