"""`python -m tests.demo_training`: fetch, render, train (or go on training), export."""

import argparse
import logging
from pathlib import Path

from tests.demo_training.batches import Batches
from tests.demo_training.captions import vocabulary
from tests.demo_training.concepts import load_concepts
from tests.demo_training.export import export
from tests.demo_training.fetch import fetch
from tests.demo_training.settings import Settings
from tests.demo_training.sprites import load_sprites
from tests.demo_training.tokenizer import train_tokenizer
from tests.demo_training.train import load, train, with_steps
from tests.demo_training.vendors import VENDORS

DEMO = Path(__file__).parents[2] / "clipcli" / "demo"


def main() -> None:
    """Read the options and run the stages."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo_training", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path.home() / ".cache/clipcli-train-demo", help="packages, sprites, state"
    )
    parser.add_argument("--out", type=Path, default=DEMO, help="where the checkpoint goes")
    parser.add_argument("--steps", type=int, help="instead of the steps in settings.py")
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="VENDOR", help="training vendors to leave out")
    parser.add_argument("--run", default="state", help="name of the state file: one for each experiment")
    parser.add_argument("--export-only", action="store_true", help="export the state as it stands")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    settings = with_steps(Settings(), options.steps)
    state_file = options.work / f"{options.run}.pt"
    fetch(options.work)
    concepts = load_concepts(options.work)
    tokenizer = train_tokenizer(concepts, settings.vocab_size, settings.seed)
    if options.export_only:
        state = load(state_file, settings)
    else:
        vendors = [v.name for v in VENDORS if v.use == "train" and v.name not in options.hold_out]
        batches = Batches(load_sprites(options.work, concepts), concepts, tokenizer, settings, vendors)
        state = train(batches, settings, state_file)
    size_px = settings.size_px(state.step - 1)
    export(state.model, tokenizer, vocabulary(concepts), settings, size_px, options.out)


if __name__ == "__main__":
    main()
