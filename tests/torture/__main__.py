"""Run campaigns of attacks and faults: all for a time, some for a number of trials, or one trial again."""

import argparse
import json
import sys
from collections.abc import Iterator

from tests.torture.runner import Outcome, names, run

SHOWN_SEEDS = 10


def table(outcomes: dict[str, Outcome]) -> Iterator[str]:
    """What was tried and what held, and how to repeat what fell."""
    width = max(map(len, outcomes), default=8)
    yield f"{'campaign':{width}}  {'tried':>7}  {'held':>7}  seeds that fell"
    for name, outcome in outcomes.items():
        seeds = [str(seed) for seed in list(outcome.fallen)[:SHOWN_SEEDS]]
        more = ["..."] if len(outcome.fallen) > SHOWN_SEEDS else []
        fallen = ", ".join(seeds + more) or "-"
        yield f"{name:{width}}  {outcome.tried:7,}  {outcome.held.total():7,}  {fallen}"
    for name, outcome in outcomes.items():
        if outcome.fallen:
            yield f"again: python -m tests.torture {name} --trials 1 --seed {next(iter(outcome.fallen))}"


def main() -> None:
    """Run campaigns from the command line; status 1 if one fell."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("campaign", nargs="*", help=f"default: all of {', '.join(names())}")
    parser.add_argument("--minutes", type=float, default=10, help="for all campaigns together (default: 10)")
    parser.add_argument("--trials", type=int, help="for each campaign, instead of a time")
    parser.add_argument("--seed", type=int, default=1, help="of the first trial; the next one has the next number")
    parser.add_argument("--kinds", action="store_true", help="also tell what was tried how often, as JSON")
    options = parser.parse_args()
    chosen = options.campaign or names()
    if unknown := set(chosen) - set(names()):
        parser.error(f"no such campaign: {', '.join(sorted(unknown))}")
    seconds = None if options.trials is not None else options.minutes * 60 / len(chosen)
    outcomes: dict[str, Outcome] = {}
    try:
        for name in chosen:
            outcomes[name] = run(name, options.seed, trials=options.trials, seconds=seconds)
            if options.kinds:
                sys.stdout.write(f"{name} {json.dumps(outcomes[name].held.most_common())}\n")
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
    sys.stdout.write("\n".join(table(outcomes)) + "\n")
    sys.exit(any(outcome.fallen for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
