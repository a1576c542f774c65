"""Turns what the user names (files, folders, globs, lists, stdin) into a lazy stream of images. Needs no PIL."""

import codecs
import fnmatch
import os
import re
import select
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from clipcli.errors import ClipError, ImageError, MissingFile, PermissionDenied, UnreadableImage, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

# What Pillow decodes by itself, and HEIC with the extra. Left out on purpose: what Pillow only recognizes (BUFR, GRIB,
# HDF5, MPEG, WMF; `.hdr` means one of them to it, and a Radiance file to photographers), and EPS, for which it would
# start Ghostscript on a file that may be anyone's.
IMAGE_EXTENSIONS = frozenset(
    f".{extension}"
    for extension in (
        "apng avif avifs blp bmp bw cur dcx dds dib fit fits flc fli ftc ftu gbr gif heic heics heif heifs hif "
        "icb icns ico iim im j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx mpo msp pbm pcd pcx pfm pgm png pnm ppm psd "
        "pxr qoi ras rgb rgba sgi tga tif tiff vda vst webp xbm xpm"
    ).split()
)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """One image to read: its path as shown to the user, its bytes or pixels if they are here, or why there is none.

    Names that are not UTF-8 keep their bytes as surrogate escapes (`os.fsencode` gives them back).
    """

    path: str
    data: bytes | None = None
    error: ImageError | None = None
    image: "Image | None" = field(default=None, kw_only=True)

    @property
    def is_file(self) -> bool:
        """Whether there is a path to read, and nothing else."""
        return self.data is None and self.error is None and self.image is None


@dataclass(frozen=True, slots=True)
class Pause:
    """Comes between images where the next one may take a while: standard input has nothing more for now.

    Whoever waits for a batch to fill should finish what there is: the next name may be an hour away.
    """


def images_of(sources: "Iterable[ImageSource | Pause]") -> Iterator[ImageSource]:
    """The images of a stream, for whoever waits for the next one however long it takes."""
    return (source for source in sources if isinstance(source, ImageSource))


_PATIENCE_S = 0.1
_URL = re.compile(r"[a-z]+://")
# No format's images within the limit on pixels come near it; PSD, the largest in use, ends here by definition.
MAX_FILE_BYTES = 2 * 10**9
# Far beyond what any system takes; a list that is not a list may have no separator at all.
_LONGEST_NAME_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class FindOptions:
    """Which images of a folder are taken.

    `exclude` globs are matched against the base name and against the whole path; a folder that matches is not entered.
    `skip_folder`, a real path, is not entered either, unless it, or what is in it, is named itself. `on_skip` is called
    with each file that is passed over because it is not an image by its name.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    follow_symlinks: bool = False
    skip_folder: str | None = None
    on_skip: Callable[[str], None] | None = None


def file_error(path: str, error: OSError | ValueError) -> ImageError:
    """Say in the user's words why the operating system would not open a path."""
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{path}: permission denied")
    if isinstance(error, IsADirectoryError):
        return UnreadableImage(f"{path} is a folder, not an image")
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnreadableImage(f"{path}: {error.strerror or error}")
    if _URL.match(path):
        return MissingFile(f"{path} is a URL, and only files are read; fetch it first: curl -LO {shlex.quote(path)}")
    # A ValueError is a null character in the name, which no file can have.
    if isinstance(error, OSError) and os.path.islink(path):
        return MissingFile(f"{path}: the link leads nowhere")
    return MissingFile(f"{path}: no such file")


def find_images(
    inputs: Sequence[str],
    options: FindOptions | None = None,
    *,
    from_file: str | None = None,
    null_separated: bool = False,
    stdin: BinaryIO | None = None,
) -> Iterator[ImageSource | Pause]:
    """Yield the images that the inputs name, in their order; folders are walked in the order of their names.

    Lazy: no more is held than the names in the folders between the input and the current one. What is missing or may
    not be read becomes a source with an error, and the rest goes on. An image that is named twice is yielded twice.

    Args:
        inputs: Files (taken whatever their name), folders (walked for `IMAGE_EXTENSIONS`), globs where no such path
            exists (matches are taken as if named; `**` crosses folders and then finds files only), and `-` for the
            bytes of one image on standard input.
        options: Which images of a folder are taken.
        from_file: A file that names more files and folders, one a line, or `-` for standard input.
        null_separated: The names in `from_file` end with NUL instead.
        stdin: Stands in for standard input.

    Raises:
        UsageError: Nothing was named, standard input was named twice, or `from_file` cannot be read.
        ClipError: At the end, if there was not a single image.
    """
    options = options or FindOptions()
    if not inputs and from_file is None:
        raise UsageError("no images were named", hint="name files, folders or quoted globs, or use `from_file`")
    if [*inputs, from_file].count("-") > 1:
        raise UsageError(
            "standard input (-) can be read once only, as an image or as the `from_file` list", hint="use - once"
        )
    stdin = stdin or sys.stdin.buffer
    listed = iter(()) if from_file is None else _read_list(from_file, b"\0" if null_separated else b"\n", stdin)
    return _find(inputs, listed, options, stdin)


def _find(
    inputs: Sequence[str], listed: Iterator[str | None], options: FindOptions, stdin: BinaryIO
) -> Iterator[ImageSource | Pause]:
    found = False
    for path in inputs:
        if path == "-":
            yield Pause()
        for source in _named(path, options, stdin):
            found = True
            yield source
    for name in listed:
        if name is None:
            yield Pause()
            continue
        for source in _existing(name, options):
            found = True
            yield source
    if not found:
        raise _nothing_found(inputs, options)


def _nothing_found(inputs: Sequence[str], options: FindOptions) -> ClipError:
    but = " that `exclude` leaves" if options.exclude else ""
    but += f" outside {options.skip_folder}" if options.skip_folder else ""
    folders = [path for path in inputs if os.path.isdir(path)]
    if not folders:
        return ClipError(f"the inputs name no image{but}", hint="name at least one file or folder that is there")
    return ClipError(
        f"{', '.join(folders)}: no image in it{but}",
        hint="images in folders are known by their extension and hidden ones are skipped (`include_hidden=True`); "
        "files that are named themselves are always taken",
    )


def _named(path: str, options: FindOptions, stdin: BinaryIO) -> Iterator[ImageSource]:
    """Yield what one argument of the command line names; a quoted `~` is no longer the shell's to expand."""
    if path.startswith("~") and not os.path.lexists(path):
        path = os.path.expanduser(path)
    if path == "-":
        yield ImageSource(path, data=stdin.read(MAX_FILE_BYTES + 1))
    elif _is_glob(path) and not os.path.lexists(path):
        yield from _expand(path, options)
    else:
        yield from _existing(path, options)


def _existing(path: str, options: FindOptions) -> Iterator[ImageSource]:
    """Yield a file, or the images of a folder."""
    if _is_excluded(path, options):
        return
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        yield ImageSource(path, error=file_error(path, error))
        return
    if not is_folder:
        yield ImageSource(path)
        return
    for entry in _tree(path, options):
        if entry.error is not None:
            yield ImageSource(entry.path, error=entry.error)
        elif not entry.is_folder:
            if os.path.splitext(entry.path)[1].lower() in IMAGE_EXTENSIONS:
                yield ImageSource(entry.path)
            elif options.on_skip is not None:
                options.on_skip(entry.path)


class _Entry(NamedTuple):
    path: str
    is_folder: bool
    error: ImageError | None = None


def _tree(root: str, options: FindOptions) -> Iterator[_Entry]:
    """Yield a folder and all below it, each folder before what is in it, in the order of their names."""
    seen: set[tuple[int, int]] = set()
    pending = [_Entry(root, is_folder=True)]
    while pending:
        entry = pending.pop()
        if not entry.is_folder:
            yield entry
            continue
        try:
            if options.follow_symlinks:
                # Only links can lead to a folder a second time.
                status = os.stat(entry.path or os.curdir)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            children = _children(entry.path, options)
        except OSError as error:
            yield _Entry(entry.path, is_folder=True, error=file_error(entry.path, error))
            continue
        yield entry
        pending.extend(reversed(children))


def _children(folder: str, options: FindOptions, hidden: bool = False) -> list[_Entry]:
    """List what a folder holds by name, without what is hidden, excluded, a folder link not to follow, or a device."""
    children = []
    with os.scandir(folder or os.curdir) as listing:
        for found in sorted(listing, key=lambda found: found.name):
            path = os.path.join(folder, found.name)
            if found.name.startswith(".") and not (hidden or options.include_hidden):
                continue
            is_folder = _is_folder(found, options.follow_symlinks)
            if is_folder and options.skip_folder is not None and os.path.realpath(path) == options.skip_folder:
                continue
            if is_folder is not None and not _is_excluded(path, options):
                children.append(_Entry(path, is_folder))
    return children


def _is_folder(found: "os.DirEntry[str]", follow_symlinks: bool) -> bool | None:
    """Tell folders from files; None for what is neither, or a link to a folder that is not to be followed."""
    try:
        if found.is_dir():
            return True if follow_symlinks or not found.is_symlink() else None
        # A link that leads nowhere is taken for a file: reading it will say so.
        return False if found.is_file() or not os.path.exists(found.path) else None
    except OSError:
        return False


def _is_excluded(path: str, options: FindOptions) -> bool:
    if not options.exclude:
        return False
    # "../photos" is matched as "photos", lest a pattern for hidden names take it for one.
    whole = os.path.normpath(path)
    while whole.startswith(os.pardir + os.sep):
        whole = whole[len(os.pardir + os.sep) :]
    if whole in (os.curdir, os.pardir):
        return False
    globs = [glob.removeprefix("./").rstrip("/") for glob in options.exclude]
    return any(fnmatch.fnmatch(name, glob) for glob in globs for name in (os.path.basename(whole), whole))


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _expand(pattern: str, options: FindOptions) -> Iterator[ImageSource]:
    """Yield the images that a glob matches, or an error that names it."""
    parts = PurePath(pattern).parts
    # Folders below ** are crossed already; walking them as well would yield their images twice.
    files_only = "**" in parts[:-1]
    matched = False
    for entry in _matches("", parts, options):
        if entry.error is None and files_only and os.path.isdir(entry.path):
            continue
        matched = True
        if entry.error is not None:
            yield ImageSource(entry.path, error=entry.error)
        else:
            yield from _existing(entry.path, options)
    if not matched:
        yield ImageSource(pattern, error=MissingFile(f"{pattern}: no file matches"))


def _matches(folder: str, parts: Sequence[str], options: FindOptions) -> Iterator[_Entry]:
    """Match the parts of a glob one after the other, each folder in the order of its names."""
    part, rest = parts[0], parts[1:]
    if part == "**" and rest:
        for entry in _tree(folder, options):
            if entry.error is not None:
                yield entry
            elif entry.is_folder:
                yield from _matches(entry.path, rest, options)
    elif part == "**":
        yield _Entry(folder or os.curdir, is_folder=True)
    elif not _is_glob(part):
        path = os.path.join(folder, part)
        if rest:
            yield from _matches(path, rest, options)
        elif os.path.lexists(path):
            yield _Entry(path, is_folder=False)
    else:
        yield from _glob_children(folder, part, rest, options)


def _glob_children(folder: str, part: str, rest: Sequence[str], options: FindOptions) -> Iterator[_Entry]:
    try:
        children = _children(folder, options, hidden=part.startswith("."))
    except PermissionError as error:
        yield _Entry(folder, is_folder=True, error=file_error(folder, error))
        return
    except OSError:
        return
    for child in children:
        if not fnmatch.fnmatch(os.path.basename(child.path), part):
            continue
        if not rest:
            yield child
        elif child.is_folder:
            yield from _matches(child.path, rest, options)


def _read_list(from_file: str, separator: bytes, stdin: BinaryIO) -> Iterator[str | None]:
    """Open a list of names at once, so that a wrong one is a usage error, and read it as it is asked for."""
    if from_file == "-":
        return _split_names(stdin, separator)
    try:
        stream = open(from_file, "rb")
    except OSError as error:
        raise UsageError(
            f"from_file {from_file}: {error.strerror or error}", parameter="from_file", value=from_file
        ) from error
    return _split_names(stream, separator)


def _split_names(stream: BinaryIO, separator: bytes) -> Iterator[str | None]:
    """Yield names as they are written, and None whenever the next one keeps us waiting."""
    # read1, where there is one, gives what a slow producer has written so far instead of waiting for a whole block.
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while True:
        if _keeps_waiting(stream):
            yield None
        if not (block := read(1 << 16)):
            break
        *names, rest = (rest + block).split(separator)
        if len(rest) > _LONGEST_NAME_BYTES:
            raise UsageError(
                "the list of names holds one of more than a million bytes",
                hint="give one name per line, or with `null_separated` end each with NUL",
            )
        yield from _decode_names(names, separator)
    yield from _decode_names([rest], separator)


def _keeps_waiting(stream: BinaryIO) -> bool:
    """Whether nothing can be read at once; no where that cannot be known (Windows knows it of sockets only)."""
    try:
        return not select.select([stream], [], [], _PATIENCE_S)[0]
    except (OSError, ValueError):
        return False


def _decode_names(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for name in names:
        if separator == b"\n":
            name = name.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r")
        if name:
            yield os.fsdecode(name)
