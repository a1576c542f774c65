"""`clip search`: the images of a folder that fit a description, or another image."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import HitOutputOptions
from clipcli.cli.options.query import FilterOptions, LibraryName, NoUpdate, QueryOptions
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.errors import ExitStatus, UsageError


@expand_options
def search(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT|FOLDER", help="The text to search for, then the folders to search.", show_default=False
        ),
    ] = None,
    *,
    query: QueryOptions,
    filters: FilterOptions,
    library: LibraryName = None,
    no_update: NoUpdate = False,
    model: ModelOptions,
    output: HitOutputOptions,
) -> None:
    """Find images in a folder that match a text or an image.

    \b
    clip search "a dog on a beach" ~/photos
    clip search ~/photos --like beach.jpg --plus "at night" --minus people
    clip search "a receipt" ~/photos --after 2024 --print0 | xargs -0 open
    clip search "a red car" --library work --min-z 3 --contact-sheet cars.html
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.hits import act_on_hits, print_hits
    from clipcli.cli.output.documents.libraries import Access

    text, folders = _text_and_folders(what or [], has_query=bool(query.text or query.like or query.vector))
    asked, options, allowed = query.read(text), filters.options(), filters.filters(_under(folders))
    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    chosen = access.of_folders(folders, library)
    failed = access.bring_up(chosen, no_update=no_update)
    hits = chosen.search(asked, options=options, filters=allowed)
    if chosen.index_problem is not None:
        access.warn(f"{chosen.index_problem}; every image was compared")
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
                f"{word} is a file: only folders can be searched",
                hint=f"to search for similar images: clip search --like {word} FOLDER",
            )
        elif i == 0 and not (has_query and os.sep in word):
            text = word
        else:
            raise UsageError(f"{word} is not a folder", hint='give the text to search for first, in quotes: "a dog"')
    return text, folders


def _under(folders: Sequence[str]) -> list[str]:
    return [os.path.realpath(os.path.expanduser(folder)) for folder in folders]
