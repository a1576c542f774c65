"""Runs campaigns, each in a process of its own, so that a crash or a trial without end is one that fell and no more."""

import importlib
import itertools
import multiprocessing
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import tests.torture
from tests.torture import campaign

PACKAGE = "tests.torture."
# Far above what any trial takes on a busy machine.
HANGS_AFTER_S = 300.0


@dataclass
class Outcome:
    """What a campaign came to: what was tried how often, and the seeds that fell with why."""

    held: Counter[str] = field(default_factory=Counter)
    fallen: dict[int, str] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return self.held.total() + len(self.fallen)


def names() -> list[str]:
    """The campaigns, in alphabetical order: the modules of this package that have a `trial`."""
    found = sorted(module.name for module in pkgutil.iter_modules(tests.torture.__path__) if module.name != "__main__")
    return [name for name in found if hasattr(importlib.import_module(PACKAGE + name), "trial")]


def run(
    name: str,
    seed: int,
    *,
    trials: int | None,
    seconds: float | None,
    package: str = PACKAGE,
    hangs_after_s: float = HANGS_AFTER_S,
) -> Outcome:
    """Run one campaign until its trials are done or its time is over."""
    outcome, ends = Outcome(), None if seconds is None else time.monotonic() + seconds
    while not _is_over(outcome, trials, ends):  # a process that died is followed by another
        with closing(_told(package + name, seed + outcome.tried, hangs_after_s)) as told:
            for number, held, what in told:
                if held:
                    outcome.held[what] += 1
                else:
                    outcome.fallen[number] = what
                    sys.stderr.write(f"{name} fell at seed {number}:\n{what}\n")
                if _is_over(outcome, trials, ends):
                    break
    return outcome


def _is_over(outcome: Outcome, trials: int | None, ends: float | None) -> bool:
    return time.monotonic() >= ends if ends is not None else outcome.tried >= (trials or 0)


def _told(module: str, seed: int, hangs_after_s: float) -> Iterator[tuple[int, bool, str]]:
    """The trials of a process, from a seed on, until it dies or nobody asks: seed, whether it held, what it was."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_try, args=(module, seed, theirs))
    process.start()
    theirs.close()
    try:
        for number in itertools.count(seed):
            if not ours.poll(hangs_after_s):
                process.kill()
                yield number, False, f"no end after {hangs_after_s:g} seconds"
                return
            try:
                held, what = ours.recv()
            except EOFError:
                process.join()
                yield number, False, f"the process died with status {process.exitcode}"
                return
            yield number, held, what
    finally:
        ours.close()  # it notices after the trial at hand, and cleans up
        process.join(hangs_after_s)
        process.kill()


def _try(module: str, seed: int, parent: Connection) -> None:
    """Run trials until nobody asks any more, with the folders of a user who has nothing."""
    for setting in [setting for setting in os.environ if setting.startswith("CLIPCLI_")]:
        del os.environ[setting]
    with tempfile.TemporaryDirectory(prefix="torture-home-") as home, suppress(BrokenPipeError, KeyboardInterrupt):
        folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME"), home)
        os.environ.update(folders, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
        trial = importlib.import_module(module).trial
        for number in itertools.count(seed):
            try:
                told = (True, campaign.one(trial, number))
            except Exception:
                told = (False, traceback.format_exc())
            parent.send(told)
