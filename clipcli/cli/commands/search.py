"""`clip search`: the images of a folder that fit a description, or another image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from clipcli.cli.options import (
    OUTPUT,
    FilterOptions,
    Format,
    FormatOptions,
    LibraryName,
    ModelOptions,
    NoUpdate,
    QueryOptions,
    decide_format,
    expand_options,
)
from clipcli.cli.shell.boundary import say
from clipcli.errors import ExitStatus, UsageError


class HitFormat(StrEnum):
    """How hits are printed: everything in `Format`, and one more."""

    auto = "auto"
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    paths = "paths"


@dataclass(frozen=True, slots=True)
class HitOutputOptions(FormatOptions):
    """What `clip search` prints where, and what else it does with its hits."""

    format: Annotated[
        HitFormat,
        typer.Option(
            "--format",
            "-f",
            help="auto: table on a terminal, else jsonl. paths: one path per line.",
            rich_help_panel=OUTPUT,
        ),
    ] = HitFormat.auto  # type: ignore[assignment] # the same words and one more; an enum cannot be extended
    print0: Annotated[
        bool, typer.Option("--print0", help="Print paths that end in NUL, for xargs -0.", rich_help_panel=OUTPUT)
    ] = False
    show: Annotated[bool, typer.Option("--show", help="Show the images in the terminal.", rich_help_panel=OUTPUT)] = (
        False
    )
    contact_sheet: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write a page that shows the images.", rich_help_panel=OUTPUT),
    ] = None
    copy: Annotated[
        str | None, typer.Option(metavar="DIR", help="Copy the images into a folder.", rich_help_panel=OUTPUT)
    ] = None
    link: Annotated[
        str | None, typer.Option(metavar="DIR", help="Link the images into a folder.", rich_help_panel=OUTPUT)
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=OUTPUT)] = (
        False
    )
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.", rich_help_panel=OUTPUT)
    ] = False

    def __post_init__(self) -> None:
        """Check what goes together, and where things shall go, before anything slow begins.

        Raises:
            UsageError: Options that do not go together.
            ClipError: A file or folder cannot be written.
        """
        from clipcli.cli.output.destination import check_destination, check_folder

        FormatOptions.__post_init__(self)
        check_destination(self.contact_sheet, "--contact-sheet")
        check_folder(self.copy, "--copy")
        check_folder(self.link, "--link")
        if self.print0 and (self.json or self.format.value not in (HitFormat.auto, HitFormat.paths)):
            raise UsageError("--print0 prints paths, and does not go with another format", hint="use one of them")
        if self.copy and self.link:
            raise UsageError("--copy and --link do not go together", hint="use one of them")

    @property
    def prints_paths(self) -> bool:
        """Whether nothing but paths is printed."""
        return self.print0 or (not self.json and self.format.value == HitFormat.paths.value)

    def chosen_format(self) -> Format:
        """The format, `auto` decided; see `prints_paths` for the one that is not among them."""
        if self.json or self.prints_paths:
            return Format.json
        return decide_format(Format(self.format.value), self.output)


@expand_options
def search(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT|FOLDER", help="A text to look for, then folders to look in.", show_default=False),
    ] = None,
    *,
    query: QueryOptions,
    filters: FilterOptions,
    library: LibraryName = None,
    no_update: NoUpdate = False,
    model: ModelOptions,
    output: HitOutputOptions,
) -> None:
    """Find the images of a folder that fit a text or an image.

    \b
    clip search "a dog on a beach" ~/photos
    clip search ~/photos --like beach.jpg --plus "at night" --minus people
    clip search "a receipt" ~/photos --after 2024 --print0 | xargs -0 open
    clip search "a red car" --library work --min-z 3 --contact-sheet cars.html
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.hits import act_on_hits, print_hits
    from clipcli.cli.output.libraries import Access

    text, folders = _text_and_folders(what or [], has_query=bool(query.text or query.like or query.vector))
    asked, options, allowed = query.read(text), filters.options(), filters.filters(_under(folders))
    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    chosen = access.of_folders(folders, library)
    failed = access.bring_up(chosen, no_update=no_update)
    hits = chosen.search(asked, options=options, filters=allowed)
    if not hits and not access.quiet:
        say("no image fits" if chosen.counts().images else f"the library {chosen.folder.name} is empty")
    print_hits(chosen, asked, hits, folders, output)
    failed += act_on_hits(hits, asked, output)
    if failed:
        raise typer.Exit(ExitStatus.PARTIAL)


def _text_and_folders(words: Sequence[str], *, has_query: bool) -> tuple[str | None, list[str]]:
    """Tell the text from the folders: it comes first, and is not the name of anything.

    Raises:
        UsageError: Something is neither.
    """
    text: str | None = None
    folders: list[str] = []
    for i, word in enumerate(words):
        path = os.path.expanduser(word)
        if os.path.isdir(path):
            folders.append(word)
        elif os.path.isfile(path):
            raise UsageError(
                f"{word} is a file: a search goes through folders",
                hint=f"to find images like it: clip search --like {word} FOLDER",
            )
        elif i == 0 and not (has_query and os.sep in word):
            text = word
        else:
            raise UsageError(f"{word} is not a folder", hint='give what to look for first, in quotes: "a dog"')
    return text, folders


def _under(folders: Sequence[str]) -> list[str]:
    return [os.path.realpath(os.path.expanduser(folder)) for folder in folders]
