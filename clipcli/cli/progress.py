"""Progress on stderr: bars on a terminal, nothing elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 1.0


@contextmanager
def download_bar(*, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show one bar over all files of a download; it appears with the first byte.

    Yields:
        A function to call with bytes done and bytes in all.
    """
    if quiet or not _on_terminal():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("fetching", total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()


@contextmanager
def prompt_bar(*, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar over prompts if encoding them takes longer than a second.

    Yields:
        A function to call with prompts done and prompts in all.
    """
    if quiet or not _on_terminal():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("encoding prompts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("encoding prompts", total=None)
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        if done < total and time.monotonic() - began > _PATIENCE_S:
            progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()


@contextmanager
def picture_counter(*, shown: bool) -> Iterator[Callable[[int], None]]:
    """Count pictures on the terminal while results go elsewhere.

    Yields:
        A function to call with the number of pictures just finished.
    """
    if not shown or not _on_terminal():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} pictures{task.fields[rate]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pictures", total=None, rate="")

        def advance(count: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=count, rate="" if speed is None else f", {speed:.1f}/s")

        yield advance


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
