"""How far a run over images is, from the moment its model is being loaded to its last image.

On a terminal that can redraw: one line that is there after half a second and gone at the end. Elsewhere, as in a log: a
line every 30 seconds. Never while another program draws on the same terminal (`clip ... | less`).
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol

from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.progress import can_show_bars, make_progress
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipError
from clipcli.progress import Progress, unobserved

if TYPE_CHECKING:
    from rich.progress import Progress as Display

LOG_INTERVAL_S = 30.0
_PATIENCE_S = 0.5

Counter = Callable[[], int]


class RunProgress(Protocol):
    """What a run tells of its stages, one after the other."""

    def loading(self, name: str) -> None:
        """The model is being loaded."""

    def prompts(self) -> AbstractContextManager[Progress]:
        """Prompts are being encoded: gives a function to call with prompts done and prompts in all."""

    def images(self, done: int, count_all: Counter | None) -> None:
        """Images are coming.

        Args:
            done: Images finished by an earlier run.
            count_all: Walks the inputs and counts them, in a thread of its own; None where they can be read only once.
        """

    def advance(self, count: int) -> None:
        """So many images have just been finished."""

    def writing(self) -> AbstractContextManager[None]:
        """Make room on the terminal for what is written to it meanwhile."""

    def stop(self) -> None:
        """Leave the terminal as it was; nothing more is shown."""


@contextmanager
def run_progress(*, shown: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[RunProgress]:
    """Show how far a run is.

    Args:
        shown: Whether at all.
        clock: Tells seconds.

    Yields:
        What to tell it.
    """
    if not shown:
        yield _Nothing()
        return
    display = _Line(clock) if can_show_bars() else _LogLines(clock)
    try:
        yield display
    finally:
        display.stop()


class _Nothing:
    def loading(self, name: str) -> None:
        pass

    def prompts(self) -> AbstractContextManager[Progress]:
        return nullcontext(unobserved)

    def images(self, done: int, count_all: Counter | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def writing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stop(self) -> None:
        pass


class _Line(_Nothing):
    """One line that is redrawn: what is being done, a bar, and the time that is left."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._progress: Display | None = None
        self._patience: threading.Timer | None = None
        self._task: Any = None
        self._done = 0
        self._total: Callable[[], int | None] = lambda: None
        self._has_images = False
        self._clock = clock
        self._ended = False
        self._lock = threading.RLock()

    def loading(self, name: str) -> None:
        from rich.progress import SpinnerColumn

        self._stage(f"loading {name}", SpinnerColumn(), "{task.description}")
        self._patience = threading.Timer(_PATIENCE_S, self._appear)
        self._patience.daemon = True
        self._patience.start()

    @contextmanager
    def prompts(self) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

        began, columns = self._clock(), (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        before = (self._progress.columns, self._progress.tasks[0].description) if self._progress else None
        is_due = False

        def report(done: int, total: int) -> None:
            nonlocal is_due
            if not is_due and done < total and self._clock() - began > _PATIENCE_S:
                is_due = True
                self._stage("encoding prompts", "{task.description}", *columns)
            if is_due and self._progress is not None:
                self._progress.update(self._task, completed=done, total=total)

        yield report
        if is_due and before is not None:
            self._stage(before[1], *before[0])

    def images(self, done: int, count_all: Counter | None) -> None:
        self._done, self._total = done, _counted(count_all)

    def advance(self, count: int) -> None:
        if not self._has_images:
            self._show_images()
        if self._progress is not None:
            speed = self._progress.tasks[0].speed
            text = f"{speed:.1f}/s" if speed else ""
            self._progress.update(self._task, advance=count, total=self._total(), speed=text)

    def _show_images(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

        self._has_images = True
        columns = (BarColumn(), MofNCompleteColumn(), "{task.fields[speed]}", TimeRemainingColumn())
        self._stage("images", "{task.description}", *columns, completed=self._done)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._lock:
            shown = self._progress is not None and self._progress.live.is_started
            if self._progress is not None and shown:
                self._progress.stop()
            yield
            if self._progress is not None and shown:
                self._progress.start()

    def stop(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        with self._lock:
            self._ended = True
            if self._progress is not None:
                self._progress.stop()

    def _appear(self) -> None:
        with self._lock:
            if self._progress is not None and not self._ended:
                self._progress.start()

    def _stage(self, text: str, *columns: Any, completed: int = 0) -> None:
        """Show another stage on the line."""
        with self._lock:
            if self._progress is None:
                self._progress = make_progress(speed_estimate_period=60, redirect_stdout=False)
            else:
                self._progress.remove_task(self._task)
            self._progress.columns = columns
            self._task = self._progress.add_task(text, total=None, completed=completed, speed="")


class _LogLines(_Nothing):
    """A line on stderr now and then."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._patience: threading.Timer | None = None
        self._before = self._done = 0
        self._total: Callable[[], int | None] = lambda: None
        self._start = self._last = clock()

    def loading(self, name: str) -> None:
        if sys.stderr is not None and sys.stderr.isatty():  # one that cannot redraw; a log can wait for its first line
            self._patience = threading.Timer(_PATIENCE_S, say, [f"loading {name}"])
            self._patience.daemon = True
            self._patience.start()

    def images(self, done: int, count_all: Counter | None) -> None:
        self._before = self._done = done
        self._total = _counted(count_all)
        self._start = self._last = self._clock()

    def advance(self, count: int) -> None:
        self.stop()  # what is loaded need not be said any more
        self._done += count
        now = self._clock()
        if now - self._last < LOG_INTERVAL_S:
            return
        self._last = now
        rate = (self._done - self._before) / (now - self._start)
        total = self._total()
        if total is None:
            say(f"{counted(self._done, 'image')}, {rate:.1f}/s")
        else:
            left = max(total - self._done, 0) / rate
            say(f"{self._done:,} of {counted(total, 'image')}, {rate:.1f}/s, {duration(left)} left")

    def stop(self) -> None:
        if self._patience is not None:
            self._patience.cancel()


def _counted(count_all: Counter | None) -> Callable[[], int | None]:
    """Count in the background; the answer is None until it is known."""
    result: list[int] = []
    if count_all is not None:
        threading.Thread(target=_count, args=(count_all, result), daemon=True).start()
    return lambda: result[0] if result else None


def _count(count_all: Counter, result: list[int]) -> None:
    with suppress(ClipError):  # the run itself says so
        result.append(count_all())


def duration(seconds: float) -> str:
    """A time that is left, in hours and minutes or in minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
