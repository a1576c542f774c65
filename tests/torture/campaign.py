"""What every campaign has: trials, each from its own seed, so that one that falls can be repeated alone.

A campaign is a module of this package with a function `trial`; `python -m tests.torture` finds it by that.
"""

import os
import random
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Gets randomness and an empty folder; returns what was tried, in a word, or raises when the program did not hold.
Trial = Callable[[random.Random, Path], str]


def one(trial: Trial, seed: int) -> str:
    """Run one trial, in an empty folder of its own."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        return trial(random.Random(seed), Path(folder).resolve())


def run(trial: Trial, *, trials: int, seed: int) -> Counter[str]:
    """Run trials and count what was tried.

    Raises:
        AssertionError: One fell; the message names the seed that repeats it.
    """
    tried: Counter[str] = Counter()
    for number in range(seed, seed + trials):
        try:
            tried[one(trial, number)] += 1
        except Exception as error:
            raise AssertionError(f"fell at --seed {number} --trials 1: {error!r}") from error
    return tried


@contextmanager
def bounded(seconds: int, byte_count: int) -> Iterator[None]:
    """Hold a block to a time, and to what the memory of this process may grow by.

    Raises:
        AssertionError: It took more.
    """

    def too_long(*_: object) -> None:
        raise AssertionError(f"took {seconds} seconds")

    before, memory = signal.signal(signal.SIGALRM, too_long), _most_memory()
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    grown = _most_memory() - memory
    if grown > byte_count:
        raise AssertionError(f"took {grown:,} bytes of memory")


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _most_memory() -> int:
    """The most that this process ever took, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
