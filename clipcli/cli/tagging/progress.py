"""How far a long run is: a bar on a terminal, a line every 30 seconds in a log."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.progress import can_show_bars, make_progress
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipError

LOG_INTERVAL_S = 30.0


@contextmanager
def show_progress(
    *, shown: bool, done: int, count_all: Callable[[], int] | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Show images done, images a second and the time that is left.

    Args:
        shown: Whether at all.
        done: Images finished before.
        count_all: Walks the inputs and counts them, in a thread of its own; None where they can be read only once.
        clock: Tells seconds.

    Yields:
        A function to call with the number of images just finished.
    """
    if not shown:
        yield lambda count: None
    elif can_show_bars():
        with _bar(done, count_all) as advance:
            yield advance
    else:
        yield _LogLines(done, _counted(count_all), clock).advance


@contextmanager
def _bar(done: int, count_all: Callable[[], int] | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    columns = ("tagging", BarColumn(), MofNCompleteColumn(), "{task.fields[speed]}", TimeRemainingColumn())
    with make_progress(*columns, speed_estimate_period=60) as progress:
        task = progress.add_task("tagging", total=None, completed=done, speed="")
        total = _counted(count_all)

        def advance(count: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=count, total=total(), speed=f"{speed:.1f}/s" if speed else "")

        yield advance


class _LogLines:
    """A line on stderr now and then."""

    def __init__(self, done: int, total: Callable[[], int | None], clock: Callable[[], float]) -> None:
        self._before = self._done = done
        self._total = total
        self._clock = clock
        self._start = self._last = clock()

    def advance(self, count: int) -> None:
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
            say(f"{self._done:,} of {counted(total, 'image')}, {rate:.1f}/s, {_duration(left)} left")


def _counted(count_all: Callable[[], int] | None) -> Callable[[], int | None]:
    """Count in the background; the answer is None until it is known."""
    result: list[int] = []
    if count_all is not None:
        threading.Thread(target=_count, args=(count_all, result), daemon=True).start()
    return lambda: result[0] if result else None


def _count(count_all: Callable[[], int], result: list[int]) -> None:
    with suppress(ClipError):  # the run itself says so
        result.append(count_all())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
