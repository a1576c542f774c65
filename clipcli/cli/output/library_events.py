"""Report on stderr what the library room does to the user's files."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.sidecars import SidecarOptions
from clipcli.cli.output.summary import counts_text
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipError, ExitStatus, ImageError, UsageError
from clipcli.images.find import IMAGE_EXTENSIONS, images_of
from clipcli.library.events import AlreadyThere, LeftAlone, SidecarChanged, SidecarUnchanged, Sorted, TakenBack, Way
from clipcli.library.sidecars.files import SidecarError, SidecarWriter
from clipcli.library.sidecars.keywords import Keywords, Owner, owner_of
from clipcli.library.sorting.sorter import Sorter
from clipcli.results import Failure, TaggedImage

_DONE: dict[Way, str] = {"link": "linked in", "copy": "copied to", "move": "moved to"}


def sort_images(
    rows: Iterable[Mapping[str, Any]], sorter: Sorter, *, dry_run: bool, quiet: bool, command: str = "tag"
) -> int:
    """Sort all images that have a tag, and say what was done and which command reverses it.

    Returns:
        How many could not be sorted.
    """
    done = there = failed = 0
    for event in sorter.sort((row["path"], row["tags"][0]["label"]) for row in rows if row.get("tags")):
        match event:
            case LeftAlone(path, reason):
                failed += 1
                say(f"{path} could not be sorted: {reason}")
            case AlreadyThere():
                there += 1
            case Sorted(way, source, target, is_sidecar):
                done += not is_sidecar
                if dry_run:
                    say(f"would {way} {source} to {target}")
    if not quiet and not dry_run:
        hint = f"to take it back: clip {command} --undo {shlex.quote(sorter.folder)}" if done else None
        rest = f"; already there: {counted(there, 'image')}" if there else ""
        say(f"{counted(done, 'image')} {_DONE[sorter.way]} {sorter.folder}{rest}", hint=hint)
    return failed


def say_undo(events: Iterable[TakenBack | LeftAlone], manifest: str, *, dry_run: bool, quiet: bool) -> None:
    """Take a sorting back, and say what was done.

    Raises:
        ClipError: Something could not be taken back.
    """
    done = left = 0
    for event in events:
        match event:
            case LeftAlone(path, reason):
                left += 1
                say(f"{path} is unchanged: {reason}")
            case TakenBack(way, source, target):
                done += 1
                if dry_run:
                    say(f"would move {target} back to {source}" if way == "move" else f"would remove {target}")
    if left:
        raise ClipError(
            f"{left} of {done + left} steps of {manifest} could not be undone",
            hint="fix the causes printed above, and run the same command again",
        )
    if not quiet and not dry_run:
        say(f"{counted(done, 'file')} undone")


class SidecarStep:
    """Writes the sidecars of batches before their rows are written.

    In this order a run that is killed in between writes them again, which changes nothing; the other way round they
    would be missing for good.
    """

    def __init__(
        self,
        writer: SidecarWriter,
        keywords_of: Callable[[TaggedImage], Keywords],
        owner: Owner,
        counts: Counter[str],
        keyword_counts: Counter[str],
        *,
        dry_run: bool,
    ) -> None:
        self._owner = owner
        self._keyword_counts = keyword_counts
        self._writer = writer
        self._keywords_of = keywords_of
        self._counts = counts
        self._dry_run = dry_run

    def apply(self, records: Sequence[TaggedImage]) -> list[TaggedImage]:
        """Write sidecars; an image whose sidecar cannot be written keeps its tags and gets an error."""
        return [self._apply_one(record) for record in records]

    def _apply_one(self, record: TaggedImage) -> TaggedImage:
        if record.error is not None:
            return record
        try:
            event = self._writer.write(record.path, self._keywords_of(record), self._owner)
        except SidecarError as error:
            self._counts["failed"] += 1
            message = f"{record.path}: {error}"
            return replace(record, error=Failure("SidecarError", message))
        count_sidecar(event, self._counts, self._keyword_counts, dry_run=self._dry_run)
        return record


def count_sidecar(
    event: SidecarChanged | SidecarUnchanged, counts: Counter[str], keyword_counts: Counter[str], *, dry_run: bool
) -> None:
    """Count what was done to a sidecar, and in a dry run say it."""
    if isinstance(event, SidecarUnchanged):
        counts["unchanged"] += 1
        return
    counts["would change" if dry_run else "removed" if event.is_removed else "written"] += 1
    for change in event.changes:
        if change.property == "dc:subject":  # the others spell the same labels once more
            keyword_counts["added"] += len(change.added)
            keyword_counts["removed"] += len(change.removed)
    if dry_run:
        say(_describe(event))


def remove_tags(
    inputs: InputOptions, labels: LabelOptions, options: SidecarOptions, *, dry_run: bool, quiet: bool
) -> None:
    """Take our keywords out of the sidecars of images: all, or those of a label set and prefix. Needs no model.

    Raises:
        UsageError: A prefix without a label set.
        typer.Exit: With `PARTIAL` if a sidecar could not be changed.
    """
    label_set = labels.read()
    if label_set is None and options.prefix:
        raise UsageError(
            "--prefix needs --label-set or --labels beside --remove-tags",
            hint="name the label set whose keywords have the prefix, or leave --prefix out to take back all",
        )
    owner = None if label_set is None else owner_of(label_set, options.prefix)
    writer = SidecarWriter(options.sidecar_name.value, IMAGE_EXTENSIONS, dry_run=dry_run)
    sidecars: Counter[str] = Counter()
    keywords: Counter[str] = Counter()
    for source in images_of(inputs.sources()):
        try:
            if source.error is not None:
                raise source.error
            count_sidecar(writer.remove(source.path, owner), sidecars, keywords, dry_run=dry_run)
        except ImageError as error:
            sidecars["failed"] += 1
            say(f"{source.path}: {error}")
    if not quiet:
        counts = {"sidecars": sidecars, "keywords": keywords}
        say("done", details=[f"{name:<9} {counts_text(count)}" for name, count in counts.items() if count.total()])
    if sidecars["failed"]:
        raise typer.Exit(ExitStatus.PARTIAL)


def _describe(event: SidecarChanged) -> str:
    parts = []
    for change in event.changes:
        words = [*(f"+{word}" for word in change.added), *(f"-{word}" for word in change.removed)]
        parts.append(f"{change.property} {', '.join(words)}")
    verb = "remove" if event.is_removed else "write"
    return f"would {verb} {event.path}: {'; '.join(parts)}"
