import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.demo_training import train as training
from tests.demo_training.batches import Batch, Batches
from tests.demo_training.captions import NONE_CAPTIONS, SYLLABLES, UNSEEN_TEMPLATES, Captioner, vocabulary, words
from tests.demo_training.compose import Chance, backgrounds, compose, place, restyle
from tests.demo_training.concepts import Concept
from tests.demo_training.pictures import on_canvas
from tests.demo_training.settings import Settings
from tests.demo_training.sprites import SIZE_PX, Sprites, trim
from tests.demo_training.tokenizer import train_tokenizer
from tests.demo_training.vendors import VENDORS

SETTINGS = Settings(
    image_px=32,
    small_px=16,
    small_share=0.5,
    patch_px=8,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    text_width=16,
    text_layers=1,
    vocab_size=600,
    projection=8,
    steps=4,
    batch=6,
    captions=12,
    warmup=2,
)
CONCEPTS = [
    Concept(("cat", "kitten"), ("cat",), ("1",), ("animal",), False),
    Concept(("dog",), ("dog",), ("2",), ("animal",), False),
    Concept(("red car",), ("automobile",), ("3",), (), False),
    Concept(("mosque",), ("mosque",), ("4",), (), True),
]


@pytest.fixture(scope="module")
def batches() -> Batches:
    """Four concepts, two drawings each; the last is held out, its drawings are there all the same."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (8, 2, 2, 4), dtype=np.uint8)
    pixels = patches.repeat(SIZE_PX // 2, axis=1).repeat(SIZE_PX // 2, axis=2)
    pixels[..., 3] = 255
    sprites = Sprites(pixels, np.arange(8) // 2, np.zeros(8, np.int64))
    tokenizer = train_tokenizer(CONCEPTS, SETTINGS.vocab_size, SETTINGS.seed)
    return Batches(sprites, CONCEPTS, tokenizer, SETTINGS, [VENDORS[0].name])


class Stopping(Batches):
    """Stops the run before its fourth step."""

    def draw(self, step: int, size_px: int) -> Batch:
        if step == 3:
            raise ValueError("stopped")
        return super().draw(step, size_px)


def weights(state: training.State) -> list[torch.Tensor]:
    return [*state.model.parameters(), *state.head.parameters()]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    straight = training.train(batches, SETTINGS, tmp_path / "straight.pt")
    stopping = Stopping.__new__(Stopping)
    vars(stopping).update(vars(batches))
    with pytest.raises(ValueError, match="stopped"):
        training.train(stopping, SETTINGS, tmp_path / "resumed.pt")
    assert training.load(tmp_path / "resumed.pt", SETTINGS).step == 3
    resumed = training.train(batches, SETTINGS, tmp_path / "resumed.pt")
    assert resumed.step == straight.step == SETTINGS.steps
    for one, other in zip(weights(straight), weights(resumed), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_training_learns_one_batch_by_heart(batches: Batches) -> None:
    settings = replace(SETTINGS, steps=80, warmup=5, small_share=1.0)
    state, batch = training.start(settings, len(CONCEPTS)), batches.draw(0, 16)
    # What no network can fall below: the targets' own entropy, both ways.
    floor = (entropy(batch.targets) + entropy(batch.targets.T)) / 2
    losses = [training._update(state, batch, settings)["contrastive"] for _ in range(80)]
    assert losses[-1] - floor < 0.5 * (losses[0] - floor)


def entropy(targets: torch.Tensor) -> float:
    shares = targets[targets.sum(dim=1) > 0]
    shares = shares / shares.sum(dim=1, keepdim=True)
    return float(torch.special.entr(shares).sum(dim=1).mean())


def test_a_batch_depends_on_its_step_alone(batches: Batches) -> None:
    first, again, other = batches.draw(2, 16), batches.draw(2, 16), batches.draw(3, 16)
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.ids, again.ids)
    assert not torch.equal(first.pixels, other.pixels)


def test_targets_say_what_is_on_the_image(batches: Batches) -> None:
    shown = [[0, 1], [2], [], [1]]
    said = [("cat",), ("animal",), ("red car",), ("cat", "dog"), ("dog", "red car"), ()]
    expected = [[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(batches._targets(shown, said), expected)


def test_held_out_concepts_are_neither_shown_nor_said(batches: Batches) -> None:
    drawn = [batches.draw(step, 16) for step in range(4)]
    assert all(batch.concepts[:, 3].sum() == 0 for batch in drawn)
    assert "mosque" not in batches.phrases and "mosque" not in vocabulary(CONCEPTS)


def test_templates_of_the_evaluation_never_come_up_in_training() -> None:
    captioner = Captioner(CONCEPTS, random.Random(0))
    said = {captioner.sentence(["cat"]) for _ in range(3000)}
    assert len(said) > 1000
    assert not said & {template.replace("{}", "cat") for template in UNSEEN_TEMPLATES}


def test_the_vocabulary_holds_every_word_that_is_said() -> None:
    captioner, known = Captioner(CONCEPTS, random.Random(1)), set(vocabulary(CONCEPTS))
    said = [
        captioner.sentence([captioner.phrase(random.Random(i).randrange(3)) for _ in range(1 + i % 3)])
        for i in range(500)
    ]
    unknown = words([*said, *NONE_CAPTIONS]) - known
    assert unknown and all(re.fullmatch("(?:" + "|".join(SYLLABLES) + ")+", word) for word in unknown)


def test_every_text_is_read_without_an_unknown_token() -> None:
    tokenizer = train_tokenizer(CONCEPTS, SETTINGS.vocab_size, SETTINGS.seed)
    for text in ("café", "日本", "a\x7fb", "Ñandú!"):
        ids = tokenizer.encode(text).ids
        assert ids[0] == SETTINGS.vocab_size - 2 and ids.index(SETTINGS.end_id) == len(ids) - 1


def test_each_object_is_drawn_in_a_place_of_its_own() -> None:
    counts, chance = torch.tensor([1, 2, 3, 0]), Chance(0)
    placed = place(counts, chance, 0.0)
    assert placed.picture.tolist() == [0, 1, 1, 2, 2, 2]
    sprites = torch.ones(6, 4, SIZE_PX, SIZE_PX)
    sprites[:, :3] = torch.linspace(0, 0.5, 6)[:, None, None, None]
    images = compose(torch.ones(4, 3, 48, 48), sprites, placed, chance, 0.0)
    tones = [len(image[0].round(decimals=2).unique()) - 1 for image in images]
    assert images[3].min() == 1 and all(tone >= count for tone, count in zip(tones, counts.tolist(), strict=True))


def test_restyling_leaves_meaningful_colors_alone() -> None:
    red = torch.zeros(40, 4, SIZE_PX, SIZE_PX)
    red[:, 0] = red[:, 3] = 1
    free = torch.arange(40) < 20
    hue = restyle(red, free, torch.zeros(40, dtype=torch.bool), Chance(3), 1.0)[:, :3, 32, 32]
    still_red = hue[:, 0] > hue[:, 1:].max(dim=1).values + 0.2
    assert still_red[20:].all() and not still_red[:20].all()


def test_backgrounds_stay_in_range() -> None:
    canvas = backgrounds(64, 16, Chance(1), torch.arange(64) % 2 == 0, 1.0)
    assert canvas.shape == (64, 3, 16, 16) and canvas.min() >= 0 and canvas.max() <= 1
    assert (canvas[::2].flatten(1).std(dim=1) > 0).all()


def test_trim_cuts_to_what_is_drawn() -> None:
    image = Image.new("RGBA", (100, 100))
    image.paste((255, 0, 0, 255), (40, 45, 60, 55))
    trimmed = trim(image, 20)
    assert trimmed is not None and trimmed.size == (20, 20)
    assert trimmed.getchannel("A").point(lambda alpha: 255 * (alpha > 128)).getbbox() == (0, 5, 20, 15)
    assert trim(Image.new("RGBA", (10, 10)), 20) is None


def test_on_canvas_spans_the_share_asked_for() -> None:
    drawing = Image.new("RGBA", (64, 64), "black")
    one, two = on_canvas([drawing], 0.5, 200), on_canvas([drawing, drawing], 1.0, 200)
    assert np.mean(np.asarray(one) == 0) == pytest.approx(0.25)
    assert np.mean(np.asarray(two) == 0) == pytest.approx(0.5)
