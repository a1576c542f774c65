"""Runs a campaign: so many trials, each from its own seed, so that one that falls can be repeated alone."""

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# Gets randomness and an empty folder; returns what was tried, in a word, or raises when the program did not hold.
Trial = Callable[[random.Random, Path], str]


def run(trial: Trial, *, trials: int, seed: int) -> Counter[str]:
    """Run trials and count what was tried.

    Raises:
        AssertionError: One fell; the message names the seed that repeats it.
    """
    tried: Counter[str] = Counter()
    for number in range(seed, seed + trials):
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            try:
                tried[trial(random.Random(number), Path(folder).resolve())] += 1
            except Exception as error:
                raise AssertionError(f"fell at --seed {number} --trials 1: {error!r}") from error
    return tried


def main(trial: Trial) -> None:
    """Run a campaign from the command line, to its end, and print what was tried and what held."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tried: Counter[str] = Counter()
    fallen = 0
    for number in range(options.seed, options.seed + options.trials):
        try:
            tried += run(trial, trials=1, seed=number)
        except AssertionError:
            fallen += 1
            traceback.print_exc()
    for what, count in tried.most_common():
        sys.stdout.write(f"{count:6}  {what}\n")
    sys.stdout.write(f"tried {options.trials}, held {options.trials - fallen}\n")
    sys.exit(bool(fallen))
