"""Maps of images as files: PNGs, raw maps, a page; and in a terminal."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from clipcli.cli.options.explanation import MapOutputOptions, is_folder
from clipcli.cli.output.destination import Destination, open_destination
from clipcli.cli.shell.thumbnails import Graphics, drawn, graphics_of
from clipcli.errors import ClipError
from clipcli.files import replacing
from clipcli.library.report.explanation import page_entry, page_head
from clipcli.library.report.panels import draw_maps, made_here, panels, strip

if TYPE_CHECKING:
    from clipcli.answers.maps import Explanation

_SHOWN_ROWS, _SHOWN_PX = 20, 240
# Where a terminal shows cells of color and no words.
_STRIP_ROWS, _STRIP_PX, _STRIP_LABELS = 12, 160, 3


class MapFiles:
    """Writes what the options ask for, image by image.

    Args:
        output: What is to be written.
        title: Of the page.
        model: As the page names it.
    """

    def __init__(self, output: MapOutputOptions, title: str, model: str) -> None:
        self._output, self._title, self._model = output, title, model
        self._names: dict[str, set[str]] = {}
        self._stack = ExitStack()
        self._page: Destination | None = None

    def __enter__(self) -> "MapFiles":
        """Open the page, if there shall be one; folders are made.

        Raises:
            ClipError: It cannot be written.
        """
        output = self._output
        for option, path in (("--output", output.drawings), ("--npy", output.npy)):
            if path is not None and is_folder(path):
                _make_folder(path, option)
        if output.report is not None:
            self._page = self._stack.enter_context(open_destination(output.report, "--report"))
            self._page.write(page_head(self._title, self._model))
        return self

    def __exit__(self, *error: object) -> None:
        """Finish the page; if something was raised, it does not appear."""
        self._stack.__exit__(*error)  # type: ignore[arg-type] # the three that are handed to every context

    def write(self, explanation: "Explanation") -> dict[str, str]:
        """Write one image's maps, and return the files they are in, by kind.

        Raises:
            ClipError: They cannot be written.
        """
        output = self._output
        files: dict[str, str] = {}
        if self._page is not None:
            folder = os.path.dirname(output.report or "") or "."
            self._page.write(page_entry(explanation, folder, output.font), errors="backslashreplace")
        if explanation.error is not None:
            return files
        if output.drawings is not None:
            files["png"] = self._path(output.drawings, explanation.path, ".png")
            _write(files["png"], draw_maps(explanation, font=output.font), "--output")
        if output.npy is not None:
            import numpy as np

            files["npy"] = self._path(output.npy, explanation.path, ".npy")
            with _writing(files["npy"], "--npy") as file:
                np.save(file, explanation.cosines)
        if output.report is not None:
            files["html"] = output.report
        return files

    def _path(self, target: str, source: str, suffix: str) -> str:
        """The file of one image: the target itself, or in a folder the image's name, with a number where it is taken.

        A file that is there is replaced if it can only be one of ours.
        """
        if not is_folder(target):
            return target
        stem = "stdin" if source == "-" else Path(source).stem
        taken = self._names.setdefault(suffix, set())
        number = 1
        while True:
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            path = os.path.join(target, name)
            is_foreign = suffix == ".png" and os.path.lexists(path) and not made_here(path)
            if name.lower() not in taken and not is_foreign:
                taken.add(name.lower())
                return path
            number += 1


def shown(explanation: "Explanation", font: str | None = None) -> str:
    """Maps as text for a terminal."""
    if explanation.error is not None:
        return ""
    if graphics_of(os.environ) is Graphics.blocks:
        return drawn(strip(explanation, _STRIP_PX, _STRIP_LABELS), _STRIP_ROWS)
    return drawn(panels(explanation, font=font, panel_px=_SHOWN_PX), _SHOWN_ROWS)


def _make_folder(path: str, option: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ClipError(f"{option} {path}: {error.strerror}", hint="name a folder that you may write to") from error


def _write(path: str, data: bytes, option: str) -> None:
    with _writing(path, option) as file:
        file.write(data)


@contextmanager
def _writing(path: str, option: str) -> Iterator[IO[bytes]]:
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise ClipError(f"{option} {path}: {error.strerror}", hint="write to another place") from error
