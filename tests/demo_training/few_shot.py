"""`python -m tests.demo_training.few_shot`: what examples teach the demo model, on drawings of other hands.

Examples come from the vendors that the model was trained on, the images judged from the two that it never saw. Concepts
are those it never saw either (`new`), or ones that it knows well by name (`known`), where examples must do no harm.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clipcli
from clipcli import scoring
from clipcli.answers.taught import copies, teach
from clipcli.labels.label_set import Label, LabelSet
from tests.demo_training.concepts import Concept, load_concepts
from tests.demo_training.evaluate import FILL
from tests.demo_training.fetch import fetch, package_folder
from tests.demo_training.pictures import drawings_of, on_canvas
from tests.demo_training.vendors import EMOJIBASE, VENDORS, Vendor

log = logging.getLogger(__name__)
TESTED = ("twemoji", "openmoji")
GROUPS = ("animals-nature", "food-drink", "travel-places", "objects")
SHOTS = (2, 4, 8)
WAYS = 20
SEEDS = 60


@dataclass(frozen=True)
class Material:
    """Features of drawings and names.

    Args:
        texts: (C, P) of the concepts' names.
        images: For each vendor the features of its drawings, by the concept's index.
        held_out: Whether each concept was never trained.
    """

    texts: NDArray[np.float32]
    images: dict[str, dict[int, NDArray[np.float32]]]
    held_out: Sequence[bool]

    def kind(self, new: bool, vendors: Sequence[str], shots: int, tested: str) -> list[int]:
        """Concepts that enough vendors have drawn."""
        there = [index for index, held_out in enumerate(self.held_out) if held_out == new]
        drawn = self.images[tested]
        return [i for i in there if i in drawn and sum(i in self.images[vendor] for vendor in vendors) >= shots]


def main() -> None:
    """Read the options, measure, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo_training.few_shot", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/clipcli-train-demo", help="packages")
    parser.add_argument("--test", nargs="*", default=TESTED, metavar="VENDOR", help="whose drawings are judged")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="draws of labels and examples")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fetch(options.work)
    model = clipcli.load("demo")
    vendors = [v for v in VENDORS if (v.use == "train" and v.colour) or v.name in options.test]
    material = _material(model, options.work, vendors)
    off = []
    for tested in options.test:
        others = [v.name for v in vendors if v.use == "train" and v.name != tested]
        for new in (True, False):
            for shots in SHOTS:
                off.append(_measure(model, material, tested, others, new=new, shots=shots, seeds=options.seeds))
    log.info(
        "leave-one-out is off by %.1f on average; by %.1f in the mean of the draws; in the gain by %.1f",
        *np.mean(off, axis=0),
    )


def _measure(
    model: clipcli.Model, material: Material, tested: str, others: Sequence[str], *, new: bool, shots: int, seeds: int
) -> tuple[float, float, float]:
    """Print one row, in per cent: accuracy by name and taught, and the same by leave-one-out on the examples.

    Returns how far the latter is off: in each draw of 20 images, in the mean of all draws, and in what is gained.
    """
    concepts = material.kind(new, others, shots, tested)
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(concepts, WAYS, replace=False)
        examples, owners = [], []
        for label, concept in enumerate(chosen):
            drawn = [vendor for vendor in others if concept in material.images[vendor]]
            examples += [material.images[vendor][concept] for vendor in rng.choice(drawn, shots, replace=False)]
            owners += [label] * shots
        texts = material.texts[chosen]
        tests = np.stack([material.images[tested][concept] for concept in chosen])
        labels = np.array(owners)
        kept, _ = copies(np.stack(examples), labels)
        taught = teach(texts, np.stack(examples)[kept], labels[kept], model.logits)
        truth = np.arange(WAYS)
        rows.append(
            (
                100 * np.mean(scoring.cosines(tests, texts).argmax(axis=1) == truth),
                100 * np.mean(taught.cosines(tests).argmax(axis=1) == truth),
                100 * np.mean(taught.right_before()[taught.judged()]),
                100 * np.mean(taught.right_after()[taught.judged()]),
            )
        )
    found = np.array(rows)
    gain, told = found[:, 1] - found[:, 0], found[:, 3] - found[:, 2]
    off = np.abs(found[:, 3] - found[:, 1]).mean(), abs(np.mean(found[:, 3] - found[:, 1])), np.abs(told - gain).mean()
    log.info(
        "%-9s %-5s %d shots of %3d concepts: %5.1f -> %5.1f (SE %.1f); told %5.1f -> %5.1f, off by %.1f, gain by %.1f",
        *(tested, "new" if new else "known", shots, len(concepts)),
        *(*found[:, :2].mean(axis=0), found[:, 1].std() / seeds**0.5),
        *(*found[:, 2:].mean(axis=0), off[0], off[2]),
    )
    return off


def _material(model: clipcli.Model, work: Path, vendors: Sequence[Vendor]) -> Material:
    concepts = [*load_concepts(work), *_outside(work)]
    labels = tuple(Label(f"{index} {concept.name}", (concept.name,)) for index, concept in enumerate(concepts))
    texts = model.encode_labels(LabelSet("concepts", labels))
    images = {}
    for vendor in vendors:
        drawn = drawings_of(work, vendor, concepts)
        features = model.encode_images([on_canvas([image], FILL) for image in drawn.values()])
        images[vendor.name] = dict(zip(drawn, features, strict=True))
        log.info("%s: %d drawings", vendor.name, len(drawn))
    return Material(texts, images, [concept.held_out for concept in concepts])


def _outside(work: Path) -> list[Concept]:
    """Animals, food, places and objects of emojibase that no concept is drawn by."""
    folder = package_folder(work, EMOJIBASE)
    groups = json.loads((folder / "meta/groups.json").read_text("utf-8"))["groups"]
    known = {label for concept in load_concepts(work) for label in concept.labels}
    names = {name.lower() for concept in load_concepts(work) for name in concept.names}
    return [
        Concept((emoji["label"],), (emoji["label"],), (emoji["hexcode"],), (), held_out=True)
        for emoji in json.loads((folder / "en/data.json").read_text("utf-8"))
        if groups.get(str(emoji.get("group"))) in GROUPS
        and emoji["label"] not in known
        and emoji["label"].lower() not in names
    ]


if __name__ == "__main__":
    main()
