"""What commands of libraries have in common: finding or making the library, and bringing it up to date."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.options.inputs import ReadingOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.progress import can_show_bars, make_progress
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipError, UsageError
from clipcli.progress import Progress

if TYPE_CHECKING:
    from clipcli.api.libraries.library import Library
    from clipcli.api.model import Model
    from clipcli.library.index.update import Updated

_MOST_SAID = 5


@dataclass(frozen=True, slots=True)
class Access:
    """How a command gets at libraries.

    Attributes:
        model: Options of the model; without a name, a library's own model is used.
        quiet: Say nothing but errors.
        bars: Whether bars may be shown.
        reading: How images are read.
    """

    model: ModelOptions
    quiet: bool
    bars: bool
    reading: ReadingOptions = field(default_factory=ReadingOptions)

    def open(self, folder: Path) -> "Library":
        """Open a library that exists."""
        from clipcli.api.libraries.library import Library
        from clipcli.library.index.store import Store

        store = Store(folder)
        identity = store.description.model
        options = self.model
        if options.model is None:
            options = replace(options, model=identity.name, revision=options.revision or identity.revision)
        if options.dtype == "auto":
            options = replace(options, dtype=identity.precision)

        def opened() -> "Model":
            return options.open(self.reading, quiet=self.quiet, bars=self.bars)

        return Library(store, opened, cache=not options.no_cache)

    def open_model(self) -> "Model":
        """Open the model of the options."""
        return self.model.open(self.reading, quiet=self.quiet, bars=self.bars)

    def create(self, folders: Sequence[str], name: str | None, **choices: object) -> "Library":
        """Make an empty library."""
        from clipcli.api.libraries.library import Library, covered_folders

        covered_folders(folders)  # said before a model is fetched
        model = self.open_model()
        return Library.create(*folders, model=model, name=name, **choices)  # type: ignore[arg-type]

    def of_folders(self, folders: Sequence[str], name: str | None) -> "Library":
        """The library that covers some folders, a new one if there is none; or the one of a name.

        Raises:
            UsageError: Neither is given.
        """
        from clipcli.library.index.description import FILE_NAME
        from clipcli.library.index.places import library_folder, library_over

        if name is not None:
            place = library_folder(name)
            if folders and not (place / FILE_NAME).exists():
                return self.create(folders, name)
            return self.open(place)
        if not folders:
            raise UsageError("no folder is named", hint="name a folder with images, or --library NAME")
        covering = library_over(*folders)
        return self.open(covering) if covering is not None else self._create_like(folders)

    def _create_like(self, folders: Sequence[str]) -> "Library":
        """Make a library of some folders; where libraries of single ones exist, with their model and exclusions."""
        from clipcli.library.index.description import read_description
        from clipcli.library.index.places import library_over

        places = {place for folder in folders if (place := library_over(folder)) is not None}
        known = [read_description(place) for place in sorted(places)]
        like = self
        if self.model.model is None and known:
            identity = known[0].model
            like = replace(self, model=replace(self.model, model=identity.name, revision=identity.revision))
        return like.create(
            folders,
            None,
            exclude=tuple(dict.fromkeys(glob for description in known for glob in description.exclude)),
            include_hidden=any(description.include_hidden for description in known),
            follow_symlinks=any(description.follow_symlinks for description in known),
        )

    def update(self, library: "Library", *, prune: bool = False, retry: bool = False) -> "Updated":
        """Bring a library up to date, showing how far it is.

        Raises:
            ClipError: It cannot be written to.
        """
        from clipcli.library.index.update import Added, Kept, Unusable, Updated, Walked

        end, unusable = Updated(), 0
        with update_bar(shown=self.bars and not self.quiet) as (begin, advance):
            for event in library.iter_update(prune=prune, retry=retry):
                match event:
                    case Walked(pending=pending):
                        begin(pending)
                    case Added(images=images):
                        advance(images)
                    case Kept(folder=folder, message=message):
                        self.warn(f"{folder}: {message}; what the library has of it is kept")
                    case Unusable(path=path, message=message):
                        unusable += 1
                        if unusable <= _MOST_SAID:
                            self.warn(message if path in message else f"{path}: {message}")
                    case Updated():
                        end = event
        if unusable > _MOST_SAID:
            self.warn(f"and {counted(unusable - _MOST_SAID, 'image')} more that cannot be used")
        return end

    def bring_up(self, library: "Library", *, no_update: bool) -> int:
        """Bring a library up to date, or say how old it is; returns how many images failed just now."""
        if no_update:
            self.say_age(library)
            return 0
        updated = self.refresh(library)
        return updated.failed if updated is not None else 0

    def refresh(self, library: "Library") -> "Updated | None":
        """Bring a library up to date before it is used; one that cannot be written to is used as it is."""
        try:
            return self.update(library)
        except ClipError as error:
            if os.access(library.folder, os.W_OK):
                raise
            self.warn(f"{error}; it is used as it is")
            return None

    def warn(self, message: str) -> None:
        """Say something that is not an error."""
        if not self.quiet:
            say(f"warning: {message}")

    def say_age(self, library: "Library") -> None:
        """Say how old a library is that is not brought up to date."""
        if not self.quiet:
            updated = library.counts().updated
            age = "never finished" if updated is None else f"of {_age(time.time() - updated)} ago"
            say(f"not looking for changes: the last update is {age}")


@contextmanager
def update_bar(
    *, shown: bool, text: str = "indexing"
) -> Iterator[tuple[Callable[[int | None], None], Callable[[int], None]]]:
    """Show a bar over images that are encoded, once there are some.

    Yields:
        A function to call with their number, None if it is not known, and one to call with how many are done.
    """
    if not shown or not can_show_bars():
        yield (lambda count: None), (lambda count: None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    progress = make_progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    task = progress.add_task(text, total=None)

    def begin(count: int | None) -> None:
        if count != 0:
            progress.update(task, total=count)
            progress.start()

    try:
        yield begin, lambda count: progress.update(task, advance=count)
    finally:
        progress.stop()


@contextmanager
def progress_bar(text: str, *, shown: bool) -> Iterator[Progress]:
    """Show a bar over images, once there are some."""
    with update_bar(shown=shown, text=text) as (begin, advance):
        before = 0

        def report(done: int, total: int) -> None:
            nonlocal before
            if not before:
                begin(total)
            advance(done - before)
            before = done

        yield report


def shown_as(path: str, folders: Sequence[str]) -> str:
    """A path below a folder as the user wrote that folder; elsewhere as it is."""
    for folder in folders:
        real = os.path.realpath(os.path.expanduser(folder))
        if path.startswith(real.rstrip(os.sep) + os.sep):
            return os.path.join(folder, os.path.relpath(path, real))
    return path


def _age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return "less than a minute"
