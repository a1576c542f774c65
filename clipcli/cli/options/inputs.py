"""Which images, and how they are read."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from clipcli.cli.options.panels import INPUTS
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.images.find import ImageSource, Pause


class Alpha(StrEnum):
    """How transparent pixels are converted to RGB."""

    white = "white"
    drop = "drop"


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """Which images of a folder are taken, and how images are read."""

    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Exclude files and folders that match. Repeatable.", rich_help_panel=INPUTS),
    ] = None
    include_hidden: Annotated[
        bool, typer.Option("--include-hidden", help="Include hidden files and folders.", rich_help_panel=INPUTS)
    ] = False
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", help="Refuse images of more than N megapixels.", rich_help_panel=INPUTS)
    ] = 256
    no_exif: Annotated[
        bool, typer.Option("--no-exif", help="Ignore the orientation in EXIF.", rich_help_panel=INPUTS)
    ] = False
    exact_decode: Annotated[
        bool,
        typer.Option(
            "--exact-decode", help="Decode large images at full size, which is slower.", rich_help_panel=INPUTS
        ),
    ] = False
    alpha: Annotated[
        Alpha,
        typer.Option(
            help="Put transparent images on a white background, or drop transparency.", rich_help_panel=INPUTS
        ),
    ] = Alpha.white

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            UsageError: `--max-megapixels` would refuse every image, or is not a number.
        """
        if not self.max_megapixels > 0:
            raise UsageError(f"--max-megapixels must be a number above 0, not {self.max_megapixels:g}")


@dataclass(frozen=True, slots=True)
class InputOptions(ReadingOptions):
    """Which images."""

    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Files, folders (searched recursively), quoted globs, or - for one image on stdin.",
            show_default=False,
            rich_help_panel=INPUTS,
        ),
    ] = None
    from_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Read paths from a file or stdin, one per line.", rich_help_panel=INPUTS),
    ] = None
    null_separated: Annotated[
        bool,
        typer.Option(
            "--null", "-0", help="Paths in --from-file end in NUL, as written by find -print0.", rich_help_panel=INPUTS
        ),
    ] = False
    follow_symlinks: Annotated[
        bool, typer.Option("--follow-symlinks", help="Follow links to folders.", rich_help_panel=INPUTS)
    ] = False

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: `--null` without a list, or what `ReadingOptions` refuses.
        """
        ReadingOptions.__post_init__(self)
        if self.null_separated and self.from_file is None:
            raise UsageError(
                "--null needs --from-file: it applies to the paths in that list",
                hint="add --from-file FILE, or --from-file - for stdin",
            )

    @property
    def are_files(self) -> bool:
        """Whether all is there to be read, and read again: no standard input, and no pipe that someone may write."""
        named = [*(self.images or []), *([] if self.from_file is None else [self.from_file])]
        return all(path != "-" and (_is_file(path) or not os.path.exists(path)) for path in named)

    def sources(
        self, *, skip_folder: str | None = None, on_skip: Callable[[str], None] | None = None
    ) -> "Iterator[ImageSource | Pause]":
        """Find the images, lazily.

        Args:
            skip_folder: A folder in which none are looked for, where it lies below a folder that is named.
            on_skip: Called with each file of a folder that is not an image.
        """
        from clipcli.images.find import FindOptions, find_images

        skipped = None if skip_folder is None else os.path.realpath(skip_folder)
        options = FindOptions(tuple(self.exclude or ()), self.include_hidden, self.follow_symlinks, skipped, on_skip)
        return find_images(
            self.images or [],
            options,
            from_file=self.from_file,
            null_separated=self.null_separated,
            stdin=sys.stdin.buffer if sys.stdin else io.BytesIO(),  # closed by whoever started us: as if empty
        )


def _is_file(path: str) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)
