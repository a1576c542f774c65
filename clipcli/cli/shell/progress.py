"""Progress on stderr: bars on a terminal that can redraw a line; elsewhere a line of text, or nothing."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.terminal import can_redraw, wants_colour
from clipcli.cli.shell.wording import size_text
from clipcli.progress import Progress as Report
from clipcli.progress import unobserved

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE_S = 1.0


def make_progress(*columns: Any, **options: Any) -> "Progress":
    """A display on stderr that vanishes when it ends, with rich's columns (a text stands for itself)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, color_system="standard" if wants_colour(sys.stderr) else None)
    return Progress(*columns, console=console, transient=True, **options)


def can_show_bars() -> bool:
    """Whether stderr is a terminal that bars can be drawn on."""
    return can_redraw(sys.stderr)


def is_terminal_shared() -> bool:
    """Whether another program may be drawing on the terminal of stderr: a pager, or whoever reads our stdout."""
    try:
        return sys.stderr.isatty() and stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # closed by whoever started us, or not a file
        return False


@contextmanager
def download_bar(name: str, *, quiet: bool = False, bars: bool = True) -> Iterator[Report]:
    """Show one bar over all files of a download; it appears with the first byte.

    Where there can be no bar, or shall be none, a line says what is fetched: it may take minutes.

    Args:
        name: The model.
        quiet: Say nothing.
        bars: Whether a bar may be shown.

    Yields:
        A function to call with bytes done and bytes in all.
    """
    if quiet or not bars or not can_show_bars():
        yield unobserved if quiet else _announcement(name)
        return
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with _late_bar("fetching", columns, lambda done, total: True) as report:
        yield report


@contextmanager
def prompt_bar(*, quiet: bool = False) -> Iterator[Report]:
    """Show a bar over prompts if encoding them takes longer than a second.

    Yields:
        A function to call with prompts done and prompts in all.
    """
    if quiet or not can_show_bars():
        yield unobserved
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    began = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _late_bar(
        "encoding prompts", columns, lambda done, total: done < total and time.monotonic() - began > _PATIENCE_S
    ) as report:
        yield report


@contextmanager
def image_progress(*, shown: bool) -> Iterator[Report]:
    """Show a bar over images if they take longer than a second.

    Yields:
        A function to call with images done and images in all.
    """
    if not shown or not can_show_bars():
        yield unobserved
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    began = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _late_bar("images", columns, lambda done, total: time.monotonic() - began > _PATIENCE_S) as report:
        yield report


@contextmanager
def _late_bar(text: str, columns: tuple[Any, ...], is_due: Callable[[int, int], bool]) -> Iterator[Report]:
    progress = make_progress(text, *columns)
    task = progress.add_task(text, total=None)

    def report(done: int, total: int) -> None:
        if is_due(done, total):
            progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        progress.stop()


def _announcement(name: str) -> Report:
    said = False

    def report(done: int, total: int) -> None:
        nonlocal said
        if not said:
            say(f"fetching {name} ({size_text(total)})")
        said = True

    return report
