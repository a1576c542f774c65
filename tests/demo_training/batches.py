"""Draw training batches: pictures, captions, and which caption says what is on which picture."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from tests.demo_training.captions import Captioner
from tests.demo_training.compose import Chance, backgrounds, compose, degrade, place, restyle
from tests.demo_training.concepts import Concept
from tests.demo_training.settings import Settings
from tests.demo_training.sprites import Sprites
from tests.demo_training.vendors import VENDORS

OBJECTS = (0, 1, 2, 3)
# Two things that share a small picture are two patches wide each: they are learned on the large ones.
SMALL_SHARES = (0.07, 0.7, 0.19, 0.04)
LARGE_SHARES = (0.07, 0.37, 0.5, 0.06)


@dataclass(frozen=True)
class Batch:
    """One step's material.

    Shapes: pixels (B, 3, S, S), normalised; ids (M, L) padded; targets (B, M), how much a caption is said of a picture;
    empty (B,) and nothing (M,), which pictures and captions hold no object; concepts (B, C), what is on each picture.
    """

    pixels: Tensor
    ids: Tensor
    targets: Tensor
    empty: Tensor
    nothing: Tensor
    concepts: Tensor


class Batches:
    """Makes the batch of any step from the step's number alone, so that a resumed run repeats nothing.

    Args:
        sprites: All drawings; only those of `vendors` are used.
        concepts: All concepts; those held out are never drawn or said.
        tokenizer: Encodes the captions.
        settings: Sizes and seed.
        vendors: Names of the vendors to train on.
    """

    def __init__(
        self,
        sprites: Sprites,
        concepts: Sequence[Concept],
        tokenizer: Tokenizer,
        settings: Settings,
        vendors: Sequence[str],
    ) -> None:
        """Index the drawings by concept."""
        self.settings, self.concepts, self.tokenizer = settings, concepts, tokenizer
        used = np.isin(sprites.vendor, [i for i, vendor in enumerate(VENDORS) if vendor.name in vendors])
        used &= ~np.array([concept.held_out for concept in concepts])[sprites.concept]
        self.pixels = torch.from_numpy(sprites.pixels[used])
        self.vendor, self.concept_of = sprites.vendor[used], sprites.concept[used]
        self.drawings = [np.flatnonzero(self.concept_of == index) for index in range(len(concepts))]
        self.trained = [index for index, found in enumerate(self.drawings) if len(found)]
        self.phrases: dict[str, list[int]] = {}
        for index in self.trained:
            for phrase in {*concepts[index].names, *concepts[index].tags}:
                self.phrases.setdefault(phrase.lower(), []).append(index)

    def draw(self, step: int, size_px: int) -> Batch:
        """Make the batch of `step`, its pictures `size_px` wide and high."""
        rng = random.Random(f"{self.settings.seed}-{step}")
        # One large thing on plain paper first: a network that starts with everything learns nothing for a long time.
        # Later too, some batches are easier than others.
        settings = self.settings
        ramp = min(1.0, max(0, step - settings.warmup) / (settings.ramp_share * settings.steps))
        strength = ramp * rng.uniform(self.settings.easiest, 1.0)
        shares = LARGE_SHARES if size_px == self.settings.image_px else SMALL_SHARES
        shown = [self._objects(rng, shares, strength) for _ in range(self.settings.batch)]
        pixels = self._pictures(shown, size_px, rng, strength)
        texts, said = self._captions(shown, rng)
        targets = torch.from_numpy(self._targets(shown, said))
        concepts = torch.zeros(len(shown), len(self.concepts))
        for row, objects in enumerate(shown):
            concepts[row, objects] = 1.0
        return Batch(
            pixels=(pixels - self.settings.mean) / self.settings.std,
            ids=self._encode(texts),
            targets=targets,
            empty=torch.tensor([not objects for objects in shown]),
            nothing=torch.tensor([not phrase for phrase in said]),
            concepts=concepts,
        )

    def _objects(self, rng: random.Random, shares: Sequence[float], strength: float) -> list[int]:
        count = rng.choices(OBJECTS, shares)[0] if rng.random() < strength else 1
        return rng.sample(self.trained, count)

    def _pictures(self, shown: Sequence[list[int]], size_px: int, rng: random.Random, strength: float) -> Tensor:
        chance = Chance(rng.getrandbits(62))
        flat = [concept for objects in shown for concept in objects]
        chosen = [self._drawing(concept, rng) for concept in flat]
        sprites = self.pixels[chosen].permute(0, 3, 1, 2).float() / 255
        free = torch.tensor([not self.concepts[concept].coloured for concept in flat])
        one_coloured = torch.tensor([not VENDORS[self.vendor[index]].colour for index in chosen])
        counts = torch.tensor([len(objects) for objects in shown])
        busy = (counts == 0) & chance.hit(len(shown), 0.6)
        canvas = backgrounds(len(shown), size_px, chance, busy, strength)
        styled = restyle(sprites, free, one_coloured, chance, strength)
        pictures = compose(canvas, styled, place(counts, chance, strength), chance, strength)
        return degrade(pictures, chance, strength)

    def _drawing(self, concept: int, rng: random.Random) -> int:
        found = self.drawings[concept]
        return int(rng.choices(found, [VENDORS[self.vendor[index]].weight for index in found])[0])

    def _captions(self, shown: Sequence[list[int]], rng: random.Random) -> tuple[list[str], list[tuple[str, ...]]]:
        """Return captions and the phrases in each; no phrase at all means "nothing"."""
        captioner = Captioner(self.concepts, rng)
        said: list[tuple[str, ...]] = [() for _ in range(4)]
        for objects in shown:
            phrases = [captioner.phrase(concept) for concept in objects]
            said.extend((phrase,) for phrase in phrases)
            if len(phrases) > 1:
                rng.shuffle(phrases)
                said.append(tuple(phrases))
        while len(said) < self.settings.captions:
            many = 2 if rng.random() < 0.15 else 1
            said.append(tuple(captioner.phrase(concept) for concept in rng.sample(self.trained, many)))
        return [captioner.sentence(phrases) if phrases else captioner.nothing() for phrases in said], said

    def _targets(self, shown: Sequence[list[int]], said: Sequence[tuple[str, ...]]) -> NDArray[np.float32]:
        holds = np.zeros((len(shown), len(self.concepts)), np.float32)
        for row, objects in enumerate(shown):
            holds[row, objects] = 1
        targets = np.zeros((len(shown), len(said)), np.float32)
        for column, phrases in enumerate(said):
            if not phrases:
                targets[:, column] = [not objects for objects in shown]
                continue
            every = np.ones(len(shown), np.float32)
            for phrase in phrases:
                every *= holds[:, self.phrases[phrase.lower()]].max(axis=1)
            targets[:, column] = every
        return targets

    def _encode(self, texts: Sequence[str]) -> Tensor:
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        longest = min(max(map(len, encoded)), self.settings.context_length)
        end = encoded[0][-1]
        rows = [
            [*ids[: longest - 1], end] if len(ids) > longest else ids + [end] * (longest - len(ids)) for ids in encoded
        ]
        return torch.tensor(rows)
