"""The images of a run, and what there is to say of the names besides: files passed over, images named twice."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.output.summary import skipped_text
from clipcli.cli.shell.wording import counted

if TYPE_CHECKING:
    from clipcli.images.find import ImageSource, Pause

# Not images, and nobody takes them for some: they belong to images.
_COMPANIONS = (".xmp",)


class WatchedInputs:
    """Sources of images, counted as they go by."""

    def __init__(self, inputs: InputOptions, skip_folder: str | None) -> None:
        """Name the inputs; nothing is looked for yet.

        Args:
            inputs: Which images.
            skip_folder: A folder in which none are looked for, unless it is named itself.
        """
        self._inputs = inputs
        self._skip_folder = skip_folder
        self._skipped: Counter[str] = Counter()
        self._repeated = 0
        # One folder alone lists nothing twice, and a million names take memory.
        self._may_repeat = inputs.from_file is not None or len(inputs.images or ()) > 1

    def __iter__(self) -> "Iterator[ImageSource | Pause]":
        """Find the images.

        Raises:
            UsageError: Nothing was named, or a list cannot be read.
        """
        sources = self._inputs.sources(skip_folder=self._skip_folder, on_skip=self._note_skipped)
        return self._noting_repeats(sources) if self._may_repeat else sources

    @property
    def count_all(self) -> Callable[[], int] | None:
        """Walks the inputs once more to count them; None where standard input or a pipe gives them only once."""
        if not self._inputs.are_files:
            return None
        from clipcli.images.find import images_of

        return lambda: sum(1 for _ in images_of(self._inputs.sources(skip_folder=self._skip_folder)))

    def remarks(self) -> Iterable[str]:
        """What to say at the end of the run."""
        if self._skipped:
            yield skipped_text(self._skipped)
        if self._repeated:
            yield f"{counted(self._repeated, 'image')} named more than once, with a row for each time{self._why()}"

    def _why(self) -> str:
        """Where lists of images name them twice: `find` lists folders too, and those are walked."""
        return " (with find, use -type f: folders are walked)" if self._inputs.from_file is not None else ""

    def _noting_repeats(self, sources: "Iterator[ImageSource | Pause]") -> "Iterator[ImageSource | Pause]":
        seen: set[int] = set()
        from clipcli.images.find import ImageSource

        for source in sources:
            if isinstance(source, ImageSource) and source.data is None:
                key = hash(os.path.abspath(source.path))
                self._repeated += key in seen
                seen.add(key)
            yield source

    def _note_skipped(self, path: str) -> None:
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in _COMPANIONS:
            self._skipped[suffix or "without a suffix"] += 1
