"""Ctrl-C as a request: what is under way is finished first, and a second one interrupts at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from clipcli.cli.shell.boundary import say


@contextmanager
def stop_on_interrupt(
    message: str | None = "finishing this batch; Ctrl-C again stops at once",
) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into an answer to a question; the second interrupts at once.

    Args:
        message: What the first one is answered with; None for nothing.

    Yields:
        Whether the user has asked to stop.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        if message:
            say(message)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold the first Ctrl-C back until the end of a block."""
    with stop_on_interrupt(message=None) as asked:
        yield
    if asked():
        raise KeyboardInterrupt
