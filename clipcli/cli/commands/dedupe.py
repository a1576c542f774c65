"""`clip dedupe`: copies of images, and images that are alike."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import FormatOptions, OutputOptions
from clipcli.cli.options.panels import ACTIONS, LIBRARY
from clipcli.cli.options.query import LibraryName, NoUpdate
from clipcli.cli.output.rows import Column, print_rows
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.expand import expand_options
from clipcli.cli.shell.terminal import printable
from clipcli.cli.shell.wording import counted, size_text
from clipcli.errors import ExitStatus, UsageError
from clipcli.library.index.places import is_below

if TYPE_CHECKING:
    from clipcli.api.libraries.library import Library
    from clipcli.api.libraries.twins import Cluster, Twins
    from clipcli.cli.output.documents.libraries import Access

SCHEMA, CLUSTERS = "clipcli.dedupe/1", "clipcli.clusters/1"


class LevelName(StrEnum):
    """How alike images of a group are."""

    bytes = "bytes"
    pixels = "pixels"
    copy = "copy"
    similar = "similar"


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What counts as the same, and what is kept."""

    level: Annotated[
        LevelName,
        typer.Option(
            help="What counts as a duplicate. bytes: identical files. pixels: identical images. copy: scaled, cropped, "
            "mirrored or slightly edited. similar: similar content.",
            rich_help_panel=LIBRARY,
        ),
    ] = LevelName.copy
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Maximum distance for copy, minimum cosine for similar.", rich_help_panel=LIBRARY
        ),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Search this folder too, and keep its images.", rich_help_panel=LIBRARY),
    ] = None
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="RULES",
            help="Rules for the image to keep, in order: pixels,format,bytes,dated,oldest,path (the default), or "
            "newest.",
            rich_help_panel=LIBRARY,
        ),
    ] = None
    clusters: Annotated[
        int | None,
        typer.Option(metavar="K", help="Group all images into K clusters by what they show.", rich_help_panel=LIBRARY),
    ] = None

    def with_reference(self, folders: Sequence[str]) -> list[str]:
        """The folders to look through: the reference folder too, where folders are named.

        Raises:
            UsageError: The reference folder is not there.
        """
        if self.reference is None:
            return [*folders]
        reference = os.path.realpath(os.path.expanduser(self.reference))
        if not os.path.isdir(reference):
            raise UsageError(f"--reference {self.reference} is not a folder", hint="name a folder that exists")
        inside = any(is_below(reference, os.path.realpath(os.path.expanduser(folder))) for folder in folders)
        return [*folders] if inside or not folders else [*folders, self.reference]


@dataclass(frozen=True, slots=True)
class ActionOptions:
    """What is done with copies."""

    report: Annotated[
        str | None,
        typer.Option(metavar="FILE.html", help="Write an HTML page that shows the groups.", rich_help_panel=ACTIONS),
    ] = None
    move_to: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Move all images except the kept ones to this folder.", rich_help_panel=ACTIONS
        ),
    ] = None
    link: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Create a folder of links for each group in this folder.", rich_help_panel=ACTIONS
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done without doing it.", rich_help_panel=ACTIONS)
    ] = False
    undo: Annotated[
        str | None,
        typer.Option(metavar="DIR|MANIFEST", help="Undo an earlier --move-to or --link.", rich_help_panel=ACTIONS),
    ] = None

    def __post_init__(self) -> None:
        """Check where things shall go, before anything slow begins.

        Raises:
            UsageError: Options that do not go together.
            ClipError: A file or folder cannot be written.
        """
        from clipcli.cli.output.destination import check_destination, check_folder

        check_destination(self.report, "--report")
        check_folder(self.move_to, "--move-to")
        check_folder(self.link, "--link")
        if self.move_to and self.link:
            raise UsageError("--move-to and --link do not go together", hint="use one of them")


@expand_options
def dedupe(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="FOLDER", show_default=False, help="Folders with images.")
    ] = None,
    *,
    groups: GroupOptions,
    actions: ActionOptions,
    labels: LabelOptions,
    library: LibraryName = None,
    no_update: NoUpdate = False,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Find duplicate and similar images. Nothing is ever deleted.

    \b
    clip dedupe ~/photos --report copies.html
    clip dedupe ~/photos --level bytes --move-to ~/copies --dry-run
    clip dedupe ~/inbox ~/photos --reference ~/photos --move-to ~/copies
    clip dedupe ~/photos --clusters 20 --label-set photo-subjects
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.cli.output.documents.libraries import Access

    if actions.undo is not None:
        from clipcli.cli.output.library_events import say_undo
        from clipcli.library.sorting.undo import undo

        events = undo(actions.undo, dry_run=actions.dry_run)
        say_undo(events, actions.undo, dry_run=actions.dry_run, quiet=output.quiet)
        return
    access = Access(model, quiet=output.quiet, bars=not output.no_progress)
    folders = groups.with_reference(folders or [])
    opened = access.of_folders(folders, library)
    failed = access.bring_up(opened, no_update=no_update)
    if groups.clusters is not None:
        _print_clusters(opened, groups.clusters, labels, output)
    else:
        failed += _dedupe(access, opened, folders, groups, actions, output)
    if failed:
        raise typer.Exit(ExitStatus.PARTIAL)


def _dedupe(
    access: "Access",
    library: "Library",
    folders: Sequence[str],
    groups: GroupOptions,
    actions: ActionOptions,
    output: OutputOptions,
) -> int:
    from clipcli.cli.output.documents.libraries import progress_bar

    keep = None if groups.keep is None else [rule.strip() for rule in groups.keep.split(",")]
    with progress_bar("comparing", shown=access.bars and not access.quiet) as on_progress:
        found = library.duplicates(
            groups.level.value,
            threshold=groups.threshold,
            reference=groups.reference,
            keep=keep,
            under=folders,
            on_progress=on_progress,
        )
    rows = [_row(number, twins, folders) for number, twins in enumerate(found, start=1)]
    print_rows(SCHEMA, rows, _table(rows), output, head={"run": library.describe(), "summary": _summary(found)})
    if actions.report is not None:
        _write_report(actions.report, found, groups.level.value)
    if not output.quiet:
        spare = sum(twin.image.size_bytes for twins in found for twin in twins.others)
        copies = sum(len(twins.others) for twins in found)
        say(f"{counted(len(found), 'group')}; all but one of each are {counted(copies, 'image')}, {size_text(spare)}")
    return _act(found, actions, quiet=output.quiet)


def _act(found: "Sequence[Twins]", actions: ActionOptions, *, quiet: bool) -> int:
    """Move or link what was found; returns how many could not be."""
    folder = actions.move_to or actions.link
    if folder is None:
        return 0
    from clipcli.cli.output.library_events import sort_images
    from clipcli.library.sorting.sorter import Sorter

    rows: list[dict[str, Any]] = []
    for number, twins in enumerate(found, start=1):
        images = [twin.image for twin in twins.others]
        images = images if actions.move_to else [twins.keep, *images]
        rows.extend({"path": image.path, "tags": [{"label": f"group-{number:04}"}]} for image in images)
    levels = {row["tags"][0]["label"]: (row["tags"][0]["label"],) for row in rows}
    sorter = Sorter(folder, "move" if actions.move_to else "link", levels, dry_run=actions.dry_run)
    return sort_images(rows, sorter, dry_run=actions.dry_run, quiet=quiet, command="dedupe")


def _row(number: int, twins: "Twins", folders: Sequence[str]) -> dict[str, Any]:
    from clipcli.cli.output.documents.libraries import shown_as

    keep = twins.keep
    kept = {"path": shown_as(keep.path, folders), "cosine": 1.0, "distance": 0.0}
    members = [
        {"path": shown_as(twin.image.path, folders), "cosine": twin.cosine, "distance": twin.distance}
        for twin in twins.others
    ]
    images = [keep, *(twin.image for twin in twins.others)]
    return {
        "group": number,
        "level": twins.level,
        "keep": kept["path"],
        "members": [
            {**member, "bytes": image.size_bytes, "width": image.width, "height": image.height}
            for member, image in zip([kept, *members], images, strict=True)
        ],
    }


def _table(rows: Sequence[dict[str, Any]]) -> list[Column]:
    def cells(text: Any) -> list[str]:
        return ["\n".join(text(member, i) for i, member in enumerate(row["members"])) for row in rows]

    return [
        Column("group", [str(row["group"]) for row in rows], right=True),
        Column("", cells(lambda member, i: "copy" if i else "keep")),
        Column("path", cells(lambda member, i: printable(member["path"]))),  # a line each
        Column("size", cells(lambda member, i: f"{member['width']} x {member['height']}"), right=True),
        Column("", cells(lambda member, i: size_text(member["bytes"])), right=True),
        Column("distance", cells(lambda member, i: f"{member['distance']:.2f}" if i else ""), right=True),
    ]


def _summary(found: "Sequence[Twins]") -> dict[str, int]:
    others = [twin.image.size_bytes for twins in found for twin in twins.others]
    return {"groups": len(found), "copies": len(others), "bytes": sum(others)}


def _write_report(path: str, found: "Sequence[Twins]", level: str) -> None:
    from clipcli.cli.output.destination import open_destination
    from clipcli.library.report.sheet import Picture, Section, sheet

    sections = (
        Section(
            f"Group {number}",
            [
                Picture(twins.keep.path, f"keep: {twins.keep.width} x {twins.keep.height}", marked=True),
                *(
                    Picture(twin.image.path, f"{twin.image.width} x {twin.image.height}, distance {twin.distance:.2f}")
                    for twin in twins.others
                ),
            ],
        )
        for number, twins in enumerate(found, start=1)
    )
    about = f"Level {level}. The image to keep is outlined."
    with open_destination(path, "--report") as destination:
        for piece in sheet(f"{counted(len(found), 'group')} of copies", about, sections, os.path.dirname(path) or "."):
            destination.write(piece)


def _print_clusters(library: "Library", count: int, labels: LabelOptions, output: FormatOptions) -> None:
    found = library.clusters(count, labels.read(), templates=labels.templates())
    rows = [
        {"cluster": number, "label": cluster.label, "images": len(cluster.paths), "face": cluster.paths[0]}
        | {"members": list(cluster.paths)}
        for number, cluster in enumerate(found, start=1)
    ]
    print_rows(CLUSTERS, rows, _cluster_table(found), output, head={"run": library.describe()})


def _cluster_table(found: "Sequence[Cluster]") -> list[Column]:
    return [
        Column("cluster", [str(number) for number in range(1, len(found) + 1)], right=True),
        Column("label", [cluster.label or "" for cluster in found]),
        Column("images", [f"{len(cluster.paths):,}" for cluster in found], right=True),
        Column("face", [cluster.paths[0] for cluster in found]),
    ]
