"""Sidecar files: which one belongs to an image, and how it is changed without ever being half written."""

import errno
import os
from typing import Literal

from clipcli.errors import ImageError
from clipcli.files import read_regular, replacing
from clipcli.library.events import SidecarChanged, SidecarUnchanged
from clipcli.library.sidecars.keywords import Keywords, Owner, keywords
from clipcli.library.sidecars.xmp import XmpError, is_empty, merge

Naming = Literal["stem", "full"]

_MAX_BYTES = 32_000_000


class SidecarError(ImageError):
    """The image is fine; its sidecar could not be written."""


class SidecarWriter:
    """Writes sidecars beside images."""

    def __init__(self, naming: Naming, image_extensions: frozenset[str], *, dry_run: bool = False) -> None:
        """Choose how sidecars are named.

        Args:
            naming: `stem` for `IMG.xmp`, `full` for `IMG.jpg.xmp`.
            image_extensions: What makes a neighbour an image, lower case with the dot.
            dry_run: Say what would change, and change nothing.
        """
        self._naming = naming
        self._extensions = image_extensions
        self._dry_run = dry_run
        self._folder: str | None = None
        self._owners: dict[str, str] = {}

    def write(self, image: str, keywords: Keywords, owner: Owner) -> SidecarChanged | SidecarUnchanged:
        """Bring an image's sidecar up to date. One is made only where there is something to say.

        Args:
            image: The image's path.
            keywords: All that the owner has to say of it.
            owner: Whose keywords they are: those of others stay.

        Raises:
            SidecarError: It belongs to another image, is not XMP that we understand, or cannot be written. Nothing was
                changed.
        """
        return self._update(image, keywords, owner)

    def remove(self, image: str, owner: Owner | None = None) -> SidecarChanged | SidecarUnchanged:
        """Take our keywords out of an image's sidecar, and remove it if we made it and nothing is left in it.

        Args:
            image: The image's path.
            owner: Whose keywords; None for everyone's of ours.

        Raises:
            SidecarError: As for `write`.
        """
        return self._update(image, keywords([]), owner)

    def _update(self, image: str, keywords: Keywords, owner: Owner | None) -> SidecarChanged | SidecarUnchanged:
        path = self._path_of(image)
        try:
            packet = _read(path)
            merged, changes = merge(packet, keywords, owner)
            changed = bool(changes) if packet is None else merged != packet
            removed = changed and packet is not None and is_empty(merged) and not os.path.islink(path)
            if changed and not self._dry_run:
                _write(path, None if removed else merged)
        except XmpError as error:
            raise SidecarError(f"{path} is unchanged: {error}") from error
        except OSError as error:
            raise SidecarError(f"{path} cannot be written: {error.strerror or error}") from error
        return SidecarChanged(path, changes, removed) if changed else SidecarUnchanged(path)

    def _path_of(self, image: str) -> str:
        if self._naming == "full":
            return f"{image}.xmp"
        stem, _ = os.path.splitext(image)
        name = os.path.basename(image)
        owner = self._owner_of(*os.path.split(stem), image=name)
        if owner != name:  # rows have no hints
            raise SidecarError(
                f"{stem}.xmp would be the sidecar of {owner} and of {name}: name sidecars in full (sidecar_name=full)"
            )
        return f"{stem}.xmp"

    def _owner_of(self, folder: str, stem: str, *, image: str) -> str:
        """The first by name of the images in a folder that share a stem.

        Asked of the folder and not of the run, so that the answer is the same whichever images are tagged today.
        """
        if folder != self._folder:
            self._owners = {}
            try:
                names = sorted(os.listdir(folder or os.curdir))
            except OSError:
                names = []
            for name in names:
                root, extension = os.path.splitext(name)
                if extension.lower() in self._extensions:
                    self._owners.setdefault(root, name)
            self._folder = folder
        return self._owners.get(stem, image)


def _read(path: str) -> bytes | None:
    try:
        return read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        if os.path.islink(path):
            raise OSError(errno.ENOENT, "it is a link to a file that is missing") from None
        return None


def _write(path: str, packet: bytes | None) -> None:
    if packet is None:
        os.unlink(path)
        return
    with replacing(path) as file:
        file.write(packet)
