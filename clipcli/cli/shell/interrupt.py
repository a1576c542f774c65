"""Requests to stop: SIGTERM and SIGHUP are what Ctrl-C is, and what must not be torn apart is finished first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
_REQUESTS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def stop_like_interrupt() -> None:
    """Let all requests to stop raise KeyboardInterrupt, so that temporary files are removed; `nohup` stays heeded."""
    for number in _REQUESTS:
        if _is_heeded(number):
            signal.signal(number, signal.default_int_handler)


def _is_heeded(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold the first request to stop back until the end of a block; the second interrupts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in _REQUESTS if _is_heeded(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
