"""`clip library`: search libraries made, brought up to date, looked at, and deleted."""

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import FormatOptions, OutputOptions
from clipcli.cli.options.panels import LIBRARY
from clipcli.cli.options.query import LibraryName
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.help import CommandGroup, GroupedCommand
from clipcli.cli.shell.wording import counted, size_text
from clipcli.errors import ClipError, ExitStatus, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clipcli.library.index.description import Description
    from clipcli.library.index.store import Counts, Store
    from clipcli.library.index.update import Updated

library_app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Create and update libraries, the search indexes of folders.

    \b
    clip library create ~/photos --model vit-b32
    clip library update ~/photos
    """,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="FOLDER|LIBRARY", help="Folders or names of libraries.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """Which images of the folders belong to a library."""

    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Exclude files and folders that match. Repeatable.", rich_help_panel=LIBRARY),
    ] = None
    include_hidden: Annotated[
        bool, typer.Option("--include-hidden", help="Include hidden files and folders.", rich_help_panel=LIBRARY)
    ] = False
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Follow links to folders.", rich_help_panel=LIBRARY)
    ] = False


@library_app.command(cls=GroupedCommand)
@expand_options
def create(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="FOLDER", show_default=False, help="Folders with images.")
    ] = None,
    *,
    library: LibraryName = None,
    walk: WalkOptions,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Create a library of folders, and add their images.

    \b
    clip library create ~/photos --model vit-b32
    clip library create /media/a /media/b --library archive --exclude "*.gif"
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.libraries import Access

    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    made = access.create(
        folders or [],
        library,
        exclude=walk.exclude or (),
        include_hidden=walk.include_hidden,
        follow_symlinks=walk.follow_symlinks,
    )
    _print_update(made.store, access.update(made), output)


@library_app.command(cls=GroupedCommand)
@expand_options
def update(
    names: Names = None,
    *,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove the images of folders that are now empty.", rich_help_panel=LIBRARY),
    ] = False,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Retry images that could not be used.", rich_help_panel=LIBRARY),
    ] = False,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Update libraries with the changes in their folders. The default is all libraries.

    \b
    clip library update
    clip library update ~/photos --retry
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.libraries import Access

    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    for place in _places(names):
        opened = access.open(place)
        _print_update(opened.store, access.update(opened, prune=prune, retry=retry), output)


@library_app.command("list", cls=GroupedCommand)
@expand_options
def list_(options: FormatOptions) -> None:
    """List libraries that have a name.

    \b
    clip library list
    clip library list --json | jq -r '.results[].name'
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.library.index.places import named_libraries
    from clipcli.library.index.store import Store

    rows = []
    for place, found in named_libraries():
        try:
            if isinstance(found, ClipError):
                raise found
            rows.append(_row(place, found, Store(place).counts()))
        except ClipError as error:
            say(f"warning: {error}", error.hint)
    table = [
        Column("library", [row["name"] for row in rows]),
        Column("images", [f"{row['images']:,}" for row in rows], right=True),
        Column("size", [size_text(row["size_bytes"]) for row in rows], right=True),
        Column("model", [row["model"] for row in rows]),
        Column("folders", ["\n".join(row["folders"]) for row in rows]),
    ]
    print_rows("clipcli.libraries/1", rows, table, options)


@library_app.command(cls=GroupedCommand)
@expand_options
def info(
    name: Annotated[
        str, typer.Argument(help="Folder or name of a library.", metavar="FOLDER|LIBRARY", show_default=False)
    ],
    options: FormatOptions,
) -> None:
    """Show what a library contains, which model made its features, and how old it is.

    \b
    clip library info ~/photos
    clip library info archive --json
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.library.index.store import Store

    (place,) = _places([name])
    store = Store(place)
    row = _row(place, store.description, store.counts())
    lines = {
        "library": row["name"],
        "path": row["path"],
        "folders": "\n".join(row["folders"]),
        "model": f"{row['model']} ({row['dtype']}), {row['dimensions']} dimensions",
        "images": f"{row['images']:,}",
        "cannot be used": f"{row['failed']:,}",
        "size": f"{size_text(row['size_bytes'])}, {counted(row['dead'], 'row')} of images that are gone",
        "index": _index_text(store),
        "last update": row["updated"] or "never finished",
    }
    print_rows("clipcli.libraries/1", [row], [Column("", [*lines]), Column("", [*lines.values()])], options)


@library_app.command(cls=GroupedCommand)
def check(
    names: Names = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged features; the next update computes them again.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare every feature with its stored checksum.

    \b
    clip library check
    clip library check ~/photos --repair
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.library.index.store import Store

    damaged = 0
    for place in _places(names):
        store = Store(place)
        wrong, checked = store.check()
        problem = store.index_problem()
        damaged += len(wrong)
        if not quiet:
            said = f"{counted(len(wrong), 'image')} with damaged features" if wrong else "all features are as written"
            say(f"{place.name}: {counted(checked, 'image')} checked, {said}")
            if problem is not None:
                say(f"{place.name}: {problem}", problem.hint)
        if repair and wrong:
            store.forget_lost()
            store.remove(wrong)
        if repair and problem is not None:
            store.remove_approximate()
    if damaged and not repair:
        raise ClipError("features are damaged", hint="clip library check --repair, then clip library update")


@library_app.command(cls=GroupedCommand)
def compact(names: Names = None, quiet: Quiet = False) -> None:
    """Free the space of images that were removed. An update does this when a fifth of the images were removed.

    \b
    clip library compact
    clip library compact ~/photos
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.library.index.store import Store

    for place in _places(names):
        freed = Store(place).compact()
        if not quiet:
            say(f"{place.name}: {counted(freed, 'row')} freed")


@library_app.command(cls=GroupedCommand)
@expand_options
def index(
    names: Annotated[list[str], typer.Argument(metavar="FOLDER|LIBRARY", show_default=False)],
    *,
    remove: Annotated[
        bool, typer.Option("--rm", help="Delete the index; the library stays.", rich_help_panel=LIBRARY)
    ] = False,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Build an approximate index, for libraries of millions of images; searches then use it.

    \b
    clip library index archive
    clip library index archive --rm
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.libraries import Access, progress_bar

    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    rows = []
    for place in _places(names):
        opened = access.open(place)
        if remove:
            removed = opened.remove_index()
            if not output.quiet:
                say(f"{place.name}: {'deleted the index' if removed else 'there is no index'}; the library stays")
            continue
        begin = time.monotonic()
        with progress_bar("building", shown=access.bars and not access.quiet) as on_progress:
            facts = opened.build_index(on_progress=on_progress)
        rows.append(
            {
                "library": place.name,
                "images": facts.moments.count,
                "seconds": round(time.monotonic() - begin, 1),
                "size_bytes": facts.graph[0],
                "text_recall": facts.recall[0],
                "image_recall": facts.recall[1],
            }
        )
    if not remove:
        print_rows("clipcli.library_index/1", rows, _index_table(rows), output)


@library_app.command(cls=GroupedCommand)
def rm(
    names: Annotated[list[str], typer.Argument(metavar="FOLDER|LIBRARY", show_default=False)], quiet: Quiet = False
) -> None:
    """Delete libraries, but not their images.

    \b
    clip library rm archive
    clip library rm ~/photos
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.library.index.store import Store

    for place in _places(names):
        Store(place).delete()
        if not quiet:
            say(f"deleted the library {place.name}; the images are not deleted")


def _index_text(store: "Store") -> str:
    from clipcli.library.index.approximate import NoIndex, read_facts

    try:
        facts = read_facts(store.folder)
    except NoIndex as problem:
        return str(problem)
    texts, images = facts.recall
    covered = f"{counted(facts.moments.count, 'image')}, {size_text(facts.graph[0])}"
    return f"{covered}; finds {texts:.1%} of the 10 best for a text, {images:.1%} for an image"


def _index_table(rows: "Sequence[dict[str, Any]]") -> list[Column]:
    return [
        Column("library", [row["library"] for row in rows]),
        Column("images", [f"{row['images']:,}" for row in rows], right=True),
        Column("time", [f"{row['seconds']:,.1f} s" for row in rows], right=True),
        Column("size", [size_text(row["size_bytes"]) for row in rows], right=True),
        Column("recall@10 of texts", [f"{row['text_recall']:.3f}" for row in rows], right=True),
        Column("of images", [f"{row['image_recall']:.3f}" for row in rows], right=True),
    ]


def _places(names: list[str] | None) -> "list[Path]":
    """The libraries that names or folders stand for, all that have a name without any.

    Raises:
        UsageError: There is none.
    """
    from clipcli.library.index.places import find_library, named_libraries

    if not names:
        found = [place for place, _ in named_libraries()]
        if not found:
            raise UsageError("there are no libraries yet", hint="make one: clip library create ~/photos")
        return found
    places = []
    for name in names:
        place = find_library(name)
        if place is None:
            raise UsageError(
                f"{name}: there is no library of this name or folder", hint="`clip library list` shows all libraries"
            )
        places.append(place)
    return places


def _row(place: "Path", description: "Description", counts: "Counts") -> dict[str, Any]:
    updated = None if counts.updated is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(counts.updated))
    return {
        "name": place.name,
        "path": str(place),
        "folders": list(description.folders),
        "model": description.model.name,
        "dtype": description.model.precision,
        "dimensions": description.dimensions,
        "images": counts.images,
        "failed": counts.failed,
        "dead": counts.dead,
        "size_bytes": counts.size_bytes,
        "updated": updated,
    }


def _print_update(store: "Store", updated: "Updated", output: OutputOptions) -> None:
    row = {"library": store.folder.name, **asdict(updated)}
    table = [
        Column(name, [f"{value:,}" if isinstance(value, int) else value], right=isinstance(value, int))
        for name, value in row.items()
    ]
    print_rows("clipcli.library_update/1", [row], table, output)
    if updated.failed:
        raise typer.Exit(ExitStatus.PARTIAL)
