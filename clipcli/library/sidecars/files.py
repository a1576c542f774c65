"""Sidecar files: which one belongs to an image, and how it is changed without ever being half written."""

import os
from typing import Literal

from clipcli.errors import ImageError
from clipcli.files import replacing
from clipcli.library.events import SidecarChanged, SidecarUnchanged
from clipcli.library.sidecars.keywords import Keywords
from clipcli.library.sidecars.xmp import XmpError, merge

Naming = Literal["stem", "full"]

_MAX_BYTES = 64_000_000


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

    def write(self, image: str, keywords: Keywords) -> SidecarChanged | SidecarUnchanged:
        """Bring an image's sidecar up to date. One is made only where there is something to say.

        Raises:
            SidecarError: It belongs to another image, is no XMP, or cannot be written. Nothing was changed.
        """
        path = self._path_of(image)
        try:
            packet = _read(path)
            merged, changes = merge(packet, keywords)
            if changes and not self._dry_run:
                with replacing(path) as file:
                    file.write(merged)
        except XmpError as error:
            raise SidecarError(f"{path} is left alone: {error}") from error
        except OSError as error:
            raise SidecarError(f"{path} cannot be written: {error.strerror or error}") from error
        return SidecarChanged(path, changes) if changes else SidecarUnchanged(path)

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
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > _MAX_BYTES:
        raise XmpError(f"larger than {_MAX_BYTES // 1_000_000} MB")
    return data
