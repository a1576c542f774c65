"""Images into one folder per label, by links, copies or moves.

Every step is in a manifest before it is done, so whatever interrupts a sorting, `undo` takes back what was done.
Nothing that exists is ever overwritten.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext

from clipcli.errors import ClipError
from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.library.events import AlreadyThere, LeftAlone, Sorted, Way
from clipcli.library.sorting.manifest import Manifest, Move
from clipcli.library.sorting.placing import ERRORS, carry_out, is_regular, is_there, reason

# What Windows does not allow in names; a slash is one on every system.
_FORBIDDEN = '<>:"/\\|?*'


class Sorter:
    """Puts images into the folders of their best labels."""

    def __init__(self, folder: str, way: Way, levels: Mapping[str, Sequence[str]], *, dry_run: bool = False) -> None:
        """Choose where images go.

        Args:
            folder: Gets a folder for each label, levels of a hierarchy inside each other.
            way: How they get there.
            levels: The levels of each label; without any, images go into the folder itself.
            dry_run: Say what would be done, and do nothing.
        """
        self.folder = os.path.abspath(folder)
        self.way = way
        self._levels = levels
        self._dry_run = dry_run
        self._planned: set[str] = set()
        self._manifest = Manifest(self.folder)

    @property
    def manifest(self) -> str | None:
        """The manifest; None while nothing was sorted."""
        return self._manifest.path

    def sort(self, images: Iterable[tuple[str, str]]) -> Iterator[Sorted | AlreadyThere | LeftAlone]:
        """Sort images.

        Args:
            images: Each with its best label.

        Yields:
            What became of each image, and of each sidecar that goes with it.

        Raises:
            ClipError: The folder or its manifest cannot be written.
        """
        with closing(self._manifest):
            for path, label in images:
                events: list[Sorted | AlreadyThere | LeftAlone] = []
                try:
                    source = os.path.abspath(path)
                    self._refuse(source)
                    with nullcontext() if self._dry_run else self._manifest.claiming():
                        for event in self._sort_one(path, source, label):
                            events.append(event)
                except ERRORS as error:
                    events.append(LeftAlone(path, reason(error)))
                except ClipError:
                    yield from events
                    raise
                yield from events  # whoever takes them may be slow, and other sortings wait no longer

    def _sort_one(self, path: str, source: str, label: str) -> Iterator[Sorted | AlreadyThere]:
        folder = self._folder_of(label)
        placed: list[Move] = []
        while not placed:
            moves = self._moves(source, folder)
            if not moves:
                yield AlreadyThere(path)
                return
            try:
                self._place(moves[0])
            except FileExistsError:
                if not os.path.lexists(moves[0].target):
                    raise  # it is the folder's place that is taken
                continue  # another program has just taken the name
            placed = moves
        yield _event(placed[0])
        for sidecar in placed[1:]:
            self._place(sidecar)
            yield _event(sidecar, is_sidecar=True)

    def _refuse(self, source: str) -> None:
        """Refuse what could not be sorted, or not be taken back.

        Raises:
            OSError: Saying why.
        """
        if not os.path.exists(source):
            raise FileNotFoundError(errno.ENOENT, "it has vanished")
        if self.way == "move" and not is_regular(source):
            raise OSError(errno.EINVAL, "it is a link, and links are not moved: sort by links or copies")
        if self.way == "move" and os.path.splitext(source)[1].lower() not in IMAGE_EXTENSIONS:
            raise OSError(errno.EINVAL, "its name is not an image's, so moving it could not be undone: sort by links")

    def _folder_of(self, label: str) -> str:
        """The folder of a label.

        Raises:
            OSError: A link leads out of the sorted folder.
        """
        folder = os.path.join(self.folder, *(_folder_name(level) for level in self._levels[label]))
        real, root = os.path.realpath(folder), os.path.realpath(self.folder)
        if real != root and not real.startswith(root + os.sep):
            raise OSError(errno.ELOOP, f"{folder} is a link that leads out of the sorted folder")
        return folder

    def _place(self, move: Move) -> None:
        self._planned.add(move.target)
        if self._dry_run:
            return
        self._manifest.note(move)
        try:
            os.makedirs(os.path.dirname(move.target), exist_ok=True)
            carry_out(move, self.folder)
        except ERRORS:
            self._manifest.withdraw(move)
            raise

    def _moves(self, source: str, folder: str) -> list[Move]:
        """The image and, unless it is linked, its sidecars, under the first number that is free for all of them."""
        if os.path.realpath(os.path.dirname(source)) == os.path.realpath(folder):
            return []
        stem, extension = os.path.splitext(os.path.basename(source))
        sidecars = _sidecars(source) if self.way != "link" else []
        number = 0
        while True:
            number += 1
            base = os.path.join(folder, stem if number == 1 else f"{stem}-{number}")
            if self.way != "move" and is_there(self.way, source, base + extension):
                return []  # a sorting that is done again
            moves = [Move(self.way, source, base + extension)]
            moves += [Move(self.way, sidecar, base + ending) for sidecar, ending in sidecars]
            if not any(map(self._is_taken, moves)):
                return moves

    def _is_taken(self, move: Move) -> bool:
        return os.path.lexists(move.target) or move.target in self._planned or self._manifest.is_claimed(move)


def _event(move: Move, *, is_sidecar: bool = False) -> Sorted:
    return Sorted(move.way, move.source, move.target, is_sidecar)


def _folder_name(level: str) -> str:
    """A label as the name of a folder, on every system."""
    name = "".join("_" if character in _FORBIDDEN or not character.isprintable() else character for character in level)
    return name.strip(" .") or "_"


def _sidecars(source: str) -> list[tuple[str, str]]:
    """Sidecars that belong to an image alone, each with what follows the stem in its name."""
    stem, extension = os.path.splitext(source)
    found = [(f"{source}.xmp", f"{extension}.xmp")] if os.path.isfile(f"{source}.xmp") else []
    if os.path.isfile(f"{stem}.xmp"):
        name = os.path.basename(stem)
        namesakes = [entry for entry in os.listdir(os.path.dirname(source)) if os.path.splitext(entry)[0] == name]
        if len(namesakes) == 2:  # the image and the sidecar
            found.append((f"{stem}.xmp", ".xmp"))
    return found
