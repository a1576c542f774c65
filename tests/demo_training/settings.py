"""Every number that decides what the trained model is. Imports nothing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes of the model and the course of its training.

    `small_px` is the size of the pictures up to `small_share` of the steps, `image_px` from there on: most of what is
    to be learned shows on small pictures, at half the cost. Pictures get as hard as they will be over `ramp_share` of
    the steps. With `mean` 1 white paper is zero.
    """

    seed: int = 20260101
    image_px: int = 84
    small_px: int = 48
    small_share: float = 0.6
    patch_px: int = 12
    mean: float = 1.0
    std: float = 0.5
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 3
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 2
    context_length: int = 24
    vocab_size: int = 2400
    projection: int = 128
    steps: int = 7500
    ramp_share: float = 0.2
    easiest: float = 0.2
    batch: int = 160
    captions: int = 300
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.03
    none_weight: float = 0.12
    head_weight: float = 0.5
    head_share: float = 0.5

    @property
    def end_id(self) -> int:
        """Id of the end-of-text token, the last of the vocabulary."""
        return self.vocab_size - 1

    def size_px(self, step: int) -> int:
        """Width and height of the pictures of `step`."""
        return self.small_px if step < self.small_share * self.steps else self.image_px
