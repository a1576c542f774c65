"""`python -m tests.demo_training.evaluate`: measure the demo model and write the tables of its card.

Everything goes through clipcli's own loading, preprocessing and tokenizer.
"""

import argparse
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipcli import hub, scoring
from clipcli.api.questions import NONE_OF_THESE
from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.image_processor import read_image_processor
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.loading import load_network
from clipcli.text.tokenizer import load_tokenizer
from tests.demo_training.captions import ENSEMBLE, UNSEEN_TEMPLATES
from tests.demo_training.concepts import Concept, load_concepts
from tests.demo_training.pictures import drawings_of, empty_pictures, on_canvas
from tests.demo_training.vendors import VENDORS, Vendor

Floats = NDArray[np.float32]
Table = list[list[str]]
log = logging.getLogger(__name__)
DEMO = Path(__file__).parents[2] / "clipcli" / "demo"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FILLS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FILL = 0.8
BARE = ("{}",)
TRIALS = 1000
SEED = 7


class Examiner:
    """A checkpoint, loaded by clipcli, and the concepts.

    Args:
        folder: The checkpoint.
        concepts: All concepts, trained or not.
        work: Where the packages lie.
    """

    def __init__(self, folder: Path, concepts: Sequence[Concept], work: Path) -> None:
        """Load the checkpoint."""
        self.concepts, self.work = concepts, work
        config = read_config(folder)
        if config.text is None:
            raise ValueError(f"{folder} has no text tower")
        self.network = load_network(config, hub.weight_files(folder))
        self.logit_scale = float(self.network.logit_scale.exp())
        settings, source = read_image_processor(folder)
        self.preprocessing = Preprocessing.from_config(settings, str(source))
        self.tokenizer = load_tokenizer(folder, config.family, context_length=config.text.context_length)
        self.trained = [index for index, concept in enumerate(concepts) if not concept.held_out]
        self.held_out = [index for index, concept in enumerate(concepts) if concept.held_out]
        self.bare = self.labels(BARE)

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Floats:
        """Encode pictures (N) to features (N, P)."""
        parts = []
        for begin in range(0, len(pictures), 64):
            pixels = np.stack([self.preprocessing.pixels(picture) for picture in pictures[begin : begin + 64]])
            parts.append(
                self.network.get_image_features(torch.from_numpy(self.preprocessing.normalize(pixels))).numpy()
            )
        return scoring.normalize(np.concatenate(parts))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Floats:
        """Encode texts (M) to features (M, P)."""
        ids = [encoding.ids for encoding in self.tokenizer.encode(texts)]
        longest, pad = max(map(len, ids)), self.tokenizer.pad_token_id
        padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids])
        return scoring.normalize(self.network.get_text_features(padded).numpy())

    def labels(self, templates: Sequence[str]) -> Floats:
        """Encode the names of all concepts (C, P) through `templates`, averaged."""
        texts = [template.replace("{}", concept.name) for concept in self.concepts for template in templates]
        owners = [index for index in range(len(self.concepts)) for _ in templates]
        return scoring.ensemble(self.texts(texts), owners, len(self.concepts))

    def none(self) -> Floats:
        """Encode what `--none-of-these` adds, (1, P)."""
        prompts = NONE_OF_THESE.prompts
        return scoring.ensemble(self.texts(prompts), [0] * len(prompts), 1)

    def probabilities(self, images: Floats, labels: Floats) -> Floats:
        """Softmax over the labels; (N, P) and (N or 1, C, P) -> (N, C)."""
        logits = self.logit_scale * np.einsum("np,ncp->nc", images, labels)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)


def ranks(images: Floats, labels: Floats, right: NDArray[np.int64], allowed: Sequence[int]) -> NDArray[np.int64]:
    """Rank of each picture's own label among the allowed ones, 0 for the best."""
    cosines = images @ labels.T
    own = cosines[np.arange(len(right)), right]
    return np.asarray((cosines[:, allowed] > own[:, None]).sum(axis=1), np.int64)


def choices(right: NDArray[np.int64], allowed: Sequence[int], ways: int, seed: int) -> NDArray[np.int64]:
    """Label sets: the right label first, then `ways` - 1 others at random, none twice."""
    rng = np.random.default_rng(seed)
    rows = []
    for own in right:
        others = rng.permutation([index for index in allowed if index != own])[: ways - 1]
        rows.append([own, *others])
    return np.array(rows)


def pick(images: Floats, labels: Floats, sets: NDArray[np.int64]) -> float:
    """Share of pictures whose first label beats the rest of its set."""
    cosines = np.einsum("np,ncp->nc", images, labels[sets])
    return float((cosines.argmax(axis=1) == 0).mean())


class VendorExam:
    """All measurements on the drawings of one vendor."""

    def __init__(self, examiner: Examiner, vendor: Vendor) -> None:
        """Render the vendor's drawings and draw the trials."""
        self.examiner, self.vendor = examiner, vendor
        self.drawings = drawings_of(examiner.work, vendor, examiner.concepts)
        self.known = [index for index in examiner.trained if index in self.drawings]
        self.trials = np.random.default_rng(SEED).choice(self.known, TRIALS)
        self.encoded = self.encode(FILL)

    def encode(self, fill: float) -> dict[int, Floats]:
        """Encode every drawing on white; keyed by concept."""
        pictures = [on_canvas([drawing], fill) for drawing in self.drawings.values()]
        return dict(zip(self.drawings, self.examiner.images(pictures), strict=True))

    def features(self, concepts: Iterable[int]) -> Floats:
        """Features of the drawings of `concepts`, repeated as often as they are named."""
        return np.stack([self.encoded[concept] for concept in concepts])

    def row(self, templates: Sequence[Sequence[str]], fill: float = FILL) -> list[float]:
        """Return top-1, top-5, 5-way and 10-way, each the mean over the template groups."""
        encoded = self.encoded if fill == FILL else self.encode(fill)
        images, shown = (np.stack([encoded[index] for index in which]) for which in (self.known, self.trials))
        results = []
        for group in templates:
            labels = self.examiner.labels(group)
            place = ranks(images, labels, np.array(self.known), self.examiner.trained)
            five, ten = (choices(self.trials, self.examiner.trained, ways, SEED) for ways in (5, 10))
            results.append(
                [(place < 1).mean(), (place < 5).mean(), pick(shown, labels, five), pick(shown, labels, ten)]
            )
        return [float(value) for value in np.mean(results, axis=0)]

    def several(self, count: int) -> tuple[float, float]:
        """Return how often all of `count` things lead ten labels, and how often their joint caption leads ten."""
        rng = np.random.default_rng(SEED)
        groups = np.stack([rng.permutation(self.known)[:count] for _ in range(TRIALS)])
        pictures = [
            on_canvas([self.drawings[int(index)] for index in group], 0.9, seed=trial)
            for trial, group in enumerate(groups)
        ]
        images = self.examiner.images(pictures)
        others = np.stack([rng.permutation(np.setdiff1d(self.known, group))[: 10 - count] for group in groups])
        labels = self.examiner.bare[np.concatenate([groups, others], axis=1)]
        order = np.einsum("np,ncp->nc", images, labels).argsort(axis=1)[:, ::-1]
        together = float((order[:, :count] < count).all(axis=1).mean())
        names = [[self.examiner.concepts[int(index)].name for index in group] for group in groups]
        texts = [", ".join(group[:-1]) + " and " + group[-1] for group in names]
        joint = self.examiner.texts(texts)
        rivals = np.stack([rng.permutation(np.setdiff1d(np.arange(TRIALS), [trial]))[:9] for trial in range(TRIALS)])
        sets = np.concatenate([np.arange(TRIALS)[:, None], rivals], axis=1)
        return together, pick(images, joint, sets)

    def unknown(self) -> list[float]:
        """5-way accuracy on the concepts never trained, among trained distractors; empty if none of them is drawn."""
        held = np.array([index for index in self.examiner.held_out if index in self.drawings], dtype=int).repeat(20)
        if not held.size:
            return []
        sets = choices(held, self.examiner.trained, 5, SEED)
        return [pick(self.features(held), self.examiner.bare, sets)]

    def confidence(self) -> tuple[float, float]:
        """Mean probability of the winner among ten labels, and how often it is right."""
        sets = choices(self.trials, self.examiner.trained, 10, SEED)
        odds = self.examiner.probabilities(self.features(self.trials), self.examiner.bare[sets])
        return float(odds.max(axis=1).mean()), float((odds.argmax(axis=1) == 0).mean())

    def with_none(self) -> tuple[float, float]:
        """With "none of these" beside ten labels: right answers if the label is there, "none" if it is not."""
        images, labels, none = self.features(self.trials), self.examiner.bare, self.examiner.none()
        sets = choices(self.trials, self.examiner.trained, 11, SEED)
        none_row = np.broadcast_to(none, (TRIALS, 1, none.shape[1]))
        there = self.examiner.probabilities(images, np.concatenate([labels[sets[:, :10]], none_row], axis=1))
        absent = self.examiner.probabilities(images, np.concatenate([labels[sets[:, 1:]], none_row], axis=1))
        return float((there.argmax(axis=1) == 0).mean()), float((absent.argmax(axis=1) == 10).mean())


def nothing(examiner: Examiner) -> tuple[float, float]:
    """On empty pictures: how often no label of ten exceeds 0.5, and how often "none of these" comes first."""
    rng = np.random.default_rng(SEED)
    images = examiner.images(empty_pictures(TRIALS, SEED))
    sets = np.stack([rng.permutation(examiner.trained)[:10] for _ in range(TRIALS)])
    none = examiner.none()
    rows = np.concatenate([examiner.bare[sets], np.broadcast_to(none, (TRIALS, 1, none.shape[1]))], axis=1)
    odds = examiner.probabilities(images, rows)
    return float((odds[:, :10].max(axis=1) <= 0.5).mean()), float((odds.argmax(axis=1) == 10).mean())


def per_cent(*values: float) -> list[str]:
    """Format shares."""
    return [f"{100 * value:.1f}" for value in values]


def markdown(header: Sequence[str], rows: Table) -> str:
    """Lay out one table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def tables(examiner: Examiner, vendors: Sequence[Vendor]) -> str:
    """Measure everything; returns the tables as Markdown."""
    exams = [VendorExam(examiner, vendor) for vendor in vendors]
    tests = [exam for exam in exams if exam.vendor.use == "test"] or exams
    header = ["vendor", "drawings", "top-1", "top-5", "5-way", "10-way"]
    parts = []
    groups: list[tuple[str, Sequence[Sequence[str]]]] = [
        ("Name only", [BARE]),
        ("Ensemble of templates", [ENSEMBLE]),
        ("Templates never trained (mean of three)", [[template] for template in UNSEEN_TEMPLATES]),
    ]
    for title, templates in groups:
        chosen = exams if title == "Name only" else tests
        rows = [[_title(exam), str(len(exam.known)), *per_cent(*exam.row(templates))] for exam in chosen]
        parts.append(f"**{title}**\n\n" + markdown(header, rows))
    rows = [
        [f"{fill:.0%}", *(cell for exam in tests for cell in per_cent(*_top_and_five(exam, fill)))] for fill in FILLS
    ]
    columns = [f"{exam.vendor.name} {what}" for exam in tests for what in ("top-1", "5-way")]
    parts.append("**By fill** (share of the canvas that the pictogram spans)\n\n" + markdown(["fill", *columns], rows))
    measures: list[tuple[str, Callable[[VendorExam], Sequence[float]]]] = [
        ("two on a canvas: both lead ten labels / joint caption leads ten", lambda exam: exam.several(2)),
        ("three on a canvas: all lead ten labels / joint caption leads ten", lambda exam: exam.several(3)),
        ("concepts never trained, 5-way (chance is 20)", lambda exam: exam.unknown()),
        ("mean probability of the winner of ten / how often it is right", lambda exam: exam.confidence()),
        (
            "ten labels and none of these: right answer / none, if the right label is missing",
            lambda exam: exam.with_none(),
        ),
    ]
    rows = [[title, *(" / ".join(per_cent(*measure(exam))) or "-" for exam in tests)] for title, measure in measures]
    parts.append("**Beyond one known pictogram**\n\n" + markdown(["", *(e.vendor.name for e in tests)], rows))
    quiet, first = per_cent(*nothing(examiner))
    parts.append(
        f"Empty pictures (white, plain, graded, clouds, noise) with ten random labels and none of these: no label "
        f"exceeds 0.5 in {quiet} % of cases, none of these comes first in {first} %.\n"
    )
    return "\n".join(parts)


def _title(exam: VendorExam) -> str:
    return exam.vendor.name + (" (never seen)" if exam.vendor.use == "test" else "")


def _top_and_five(exam: VendorExam, fill: float) -> tuple[float, float]:
    top_1, _, five, _ = exam.row([BARE], fill)
    return top_1, five


def main() -> None:
    """Read the options, measure, and put the tables into the model card."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo_training.evaluate", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path.home() / ".cache/clipcli-train-demo", help="where the packages lie"
    )
    parser.add_argument("--model", type=Path, default=DEMO, help="the checkpoint to measure")
    parser.add_argument("--vendors", nargs="*", metavar="VENDOR", help="only these")
    parser.add_argument("--card", type=Path, help="replace the tables in this file")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    vendors = [v for v in VENDORS if (not v.icons if options.vendors is None else v.name in options.vendors)]
    measured = tables(Examiner(options.model, load_concepts(options.work), options.work), vendors)
    log.info("%s", measured)
    if options.card is not None:
        text = options.card.read_text("utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        options.card.write_text(f"{head}{BEGIN}\n{measured}{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
