"""Lay sprites on backgrounds, a whole batch at a time, in as many styles as tensors allow.

Colours are in [0, 1]; canvases are (B, 3, S, S); sprites are (N, 4, P, P) with straight alpha.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_OBJECTS = 3
LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Placed:
    """Which sprites go where.

    Shapes: picture, scale, angle (N,); centre (N, 2) in [-1, 1]; slot (N,), 0 for the first object of its picture.
    `scale` is the share of the canvas that the sprite spans.
    """

    picture: Tensor
    slot: Tensor
    centre: Tensor
    scale: Tensor
    angle: Tensor


class Chance:
    """Draws tensors from one seeded generator."""

    def __init__(self, seed: int) -> None:
        """Seed it."""
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers of `shape` in [low, high)."""
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def hit(self, count: int, probability: float) -> Tensor:
        """Return (count,) booleans, true with `probability`."""
        return self.uniform(count) < probability

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers of `shape`."""
        return torch.randn(shape, generator=self.generator)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return whole numbers of `shape` in [0, high)."""
        return torch.randint(high, shape, generator=self.generator)


def place(objects: Tensor, chance: Chance, strength: float) -> Placed:
    """Give every object of every picture a cell of its own, and a size and place within it.

    Shapes: objects (B,), how many each picture holds (0 to 3).
    """
    picture = torch.repeat_interleave(torch.arange(len(objects)), objects)
    starts = objects.cumsum(0) - objects
    slot = torch.arange(len(picture)) - starts[picture]
    count = objects[picture]
    upright = chance.hit(len(objects), 0.3)[picture]
    along = torch.where(count == 1, torch.zeros(len(picture)), (2 * slot + 1) / count.clamp(min=1) - 1)
    cell = torch.where(count == 1, 1.0, torch.where(count == 2, 0.56, 0.4))
    # A quarter of the lone objects is small; objects that share a picture fill most of their cells.
    small = chance.hit(len(picture), 0.3 * strength) & (count == 1)
    fill = torch.where(
        small,
        chance.uniform(len(picture), low=0.25, high=0.5),
        chance.uniform(len(picture), low=0.9 - 0.4 * strength, high=1.0),
    )
    fill = torch.where(count > 1, chance.uniform(len(picture), low=0.6, high=1.05), fill)
    scale = cell * fill
    room = (cell - scale).clamp(min=0) + 0.04 * strength
    shift = chance.uniform(len(picture), 2, low=-1, high=1)
    # Across the row there is the whole canvas to move in.
    across = (1 - scale).clamp(min=0) * 0.8 * shift[:, 1] * (count > 1) + room * shift[:, 1] * (count == 1)
    x, y = along + room * shift[:, 0], across
    centre = torch.stack([torch.where(upright, y, x), torch.where(upright, x, y)], dim=1)
    angle = chance.normal(len(picture)) * 0.14 * strength
    return Placed(picture, slot, centre, scale, angle)


def compose(canvas: Tensor, sprites: Tensor, placed: Placed, chance: Chance, strength: float) -> Tensor:
    """Draw `sprites` on `canvas` and return it.

    Shapes: canvas (B, 3, S, S), sprites (N, 4, P, P) -> (B, 3, S, S).
    """
    layers = _sample(sprites, placed, canvas.shape[-1], chance, strength)
    for slot in range(MOST_OBJECTS):
        here = placed.slot == slot
        into, layer = placed.picture[here], layers[here]
        canvas[into] = canvas[into] * (1 - layer[:, 3:]) + layer[:, :3]
    return canvas


def _sample(sprites: Tensor, placed: Placed, size_px: int, chance: Chance, strength: float) -> Tensor:
    """Scale, turn, mirror and warp; returns premultiplied (N, 4, S, S)."""
    count = len(sprites)
    premultiplied = torch.cat([sprites[:, :3] * sprites[:, 3:], sprites[:, 3:]], dim=1)
    mirrored = torch.where(chance.hit(count, 0.5 * strength), -1.0, 1.0)
    stretch = torch.exp(chance.normal(count) * 0.12 * strength)
    shear = chance.normal(count) * 0.1 * strength
    cos, sin = placed.angle.cos() / placed.scale, placed.angle.sin() / placed.scale
    rows = [
        torch.stack([mirrored * cos * stretch, mirrored * (sin + shear * cos)], dim=1),
        torch.stack([-sin, cos / stretch], dim=1),
    ]
    matrix = torch.stack(rows, dim=1)  # (N, 2, 2): canvas to sprite
    offset = -(matrix @ placed.centre[:, :, None])
    grid = F.affine_grid(torch.cat([matrix, offset], dim=2), [count, 4, size_px, size_px], align_corners=False)
    grid = grid + _ripple(grid, chance, strength)
    out = torch.empty(count, 4, size_px, size_px)
    # Averaged first where a sprite shrinks a lot: sampling alone would alias.
    shrink = sprites.shape[-1] / (placed.scale * size_px)
    level = shrink.log2().round().clamp(0, 2).long()
    for k in range(3):
        chosen = level == k
        if chosen.any():
            source = F.avg_pool2d(premultiplied[chosen], 2**k) if k else premultiplied[chosen]
            out[chosen] = F.grid_sample(source, grid[chosen], padding_mode="zeros", align_corners=False)
    return out


def _ripple(grid: Tensor, chance: Chance, strength: float) -> Tensor:
    """Bend lines by one slow wave each way, in sprite coordinates."""
    count = len(grid)
    amplitude = chance.uniform(count, 1, 1, 2, high=0.06 * strength)
    frequency = chance.uniform(count, 1, 1, 2, low=1.0, high=3.5)
    phase = chance.uniform(count, 1, 1, 2, high=2 * math.pi)
    return amplitude * torch.sin(grid.flip(-1) * frequency + phase)


def restyle(sprites: Tensor, free: Tensor, one_coloured: Tensor, chance: Chance, strength: float) -> Tensor:
    """Redraw sprites in other styles: hue, grey, two tones, few tones, with an outline, as an outline.

    Changes `sprites` in place and returns it.

    Shapes: sprites (N, 4, P, P); free (N,), whether its colours may change; one_coloured (N,), whether they must.
    """
    rgb, count = sprites[:, :3], len(sprites)
    flat = chance.hit(count, 0.15 * strength)
    levels = chance.integers(4, count)[flat, None, None, None] + 2.0
    rgb[flat] = (rgb[flat] * levels).round() / levels
    tones = (chance.hit(count, 0.1 * strength) & free) | one_coloured
    rgb[tones] = _two_tones(rgb[tones], one_coloured[tones], chance)
    rgb[~tones] = _recolour(rgb[~tones], free[~tones], chance, strength)
    drawn = chance.hit(count, 0.3 * strength) & ~one_coloured
    sprites[drawn] = _outline(sprites[drawn], chance.hit(count, 0.25)[drawn] & free[drawn], chance)
    return sprites


def _two_tones(rgb: Tensor, dark_first: Tensor, chance: Chance) -> Tensor:
    """Map dark to one colour and light to another; icons mostly keep a dark line."""
    luma = torch.einsum("nchw,c->nhw", rgb, LUMA)[:, None]
    count = len(luma)
    dark, light = chance.uniform(count, 3), chance.uniform(count, 3)
    kept = (chance.hit(count, 0.6) & dark_first)[:, None]
    dark, light = torch.where(kept, dark * 0.25, dark), torch.where(kept, 0.6 + light * 0.4, light)
    return torch.lerp(dark[:, :, None, None], light[:, :, None, None], luma)


def _recolour(rgb: Tensor, free: Tensor, chance: Chance, strength: float) -> Tensor:
    """Turn the hue and change saturation, contrast and brightness; sometimes grey, sometimes inverted."""
    count = len(rgb)
    turn = chance.normal(count) * 0.15 + chance.hit(count, 0.3) * chance.uniform(count, low=-math.pi, high=math.pi)
    saturation = torch.where(chance.hit(count, 0.1), 0.0, chance.uniform(count, low=0.5, high=1.5))
    saturation = torch.where(free, 1 + (saturation - 1) * strength, 1.0)
    turn = torch.where(free, turn * strength, chance.normal(count) * 0.06 * strength)
    contrast = 1 + chance.uniform(count, low=-0.35, high=0.25) * strength
    inverted = free & chance.hit(count, 0.05 * strength)
    matrix = _hue_matrix(turn, saturation) * torch.where(inverted, -contrast, contrast)[:, None, None]
    centre = 0.5 + chance.uniform(count, 1, 1, low=-0.12, high=0.12) * strength
    bias = centre - 0.5 * matrix.sum(dim=2, keepdim=True)
    return torch.baddbmm(bias, matrix, rgb.flatten(2)).clamp_(0, 1).view_as(rgb)


def _hue_matrix(turn: Tensor, saturation: Tensor) -> Tensor:
    """Rotate about the grey axis (Rodrigues), then pull towards grey; (N,) -> (N, 3, 3)."""
    axis = torch.full((3,), 1 / math.sqrt(3))
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    outer = torch.outer(axis, axis)
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    rotation = cos * torch.eye(3) + sin * cross + (1 - cos) * outer
    grey = LUMA.expand(3, 3)
    mix = saturation[:, None, None]
    return mix * rotation + (1 - mix) * grey


def _outline(sprites: Tensor, hollow: Tensor, chance: Chance) -> Tensor:
    """Draw a dark line round the shape and along its inner edges; hollow ones keep only the line."""
    ink, shape = sprites[:, :3], sprites[:, 3:]
    count, empty = len(ink), hollow[:, None, None, None]
    thick = 3 if float(chance.uniform(1)) < 0.6 else 5
    luma = torch.einsum("nchw,c->nhw", ink, LUMA)[:, None] * shape
    sharpness = torch.where(empty, 5.0, chance.uniform(count, 1, 1, 1, high=3))
    inner = ((_spread(luma, 3) * sharpness) - 0.35).clamp_(0, 1) * shape
    rim = _spread(shape, thick)
    line = torch.maximum(rim, inner)
    paper = torch.where(empty, torch.ones(()), ink)
    drawn = torch.lerp(paper, chance.uniform(count, 3, 1, 1, high=0.25), line)
    see_through = empty & chance.hit(count, 0.5)[:, None, None, None]
    return torch.cat([drawn, torch.where(see_through, line, torch.maximum(shape, rim))], dim=1)


def _spread(values: Tensor, size: int) -> Tensor:
    """Highest minus lowest value in a window."""
    return F.max_pool2d(values, size, 1, size // 2) + F.max_pool2d(-values, size, 1, size // 2)


def backgrounds(count: int, size_px: int, chance: Chance, busy: Tensor, strength: float) -> Tensor:
    """Make canvases: white, plain, graded, striped, cloudy, noisy; `busy` (B,) ones are never plain.

    Shapes: -> (B, 3, S, S).
    """
    light = 0.75 + 0.25 * chance.uniform(count, 3)
    anything, dark = chance.uniform(count, 3), 0.2 * chance.uniform(count, 3)
    kind = chance.uniform(count)[:, None]
    plain = torch.where(kind < 0.5, torch.ones(count, 3), torch.where(kind < 0.8, light, anything))
    plain = torch.where((kind > 0.88) & (kind < 0.96), dark, plain)
    other = torch.where(chance.hit(count, 0.6)[:, None], light, anything)
    plain = torch.where(chance.hit(count, strength)[:, None], plain, torch.ones(count, 3))
    canvas = plain[:, :, None, None].repeat(1, 1, size_px, size_px)
    chosen = chance.hit(count, 0.2 * strength) | busy
    mix = _patterns(int(chosen.sum()), size_px, chance)
    canvas[chosen] = torch.lerp(canvas[chosen], other[chosen, :, None, None], mix)
    return canvas


def _patterns(count: int, size_px: int, chance: Chance) -> Tensor:
    """Mixing masks in [0, 1]: gradient, stripes, clouds or grain; (B, 1, S, S)."""
    axis = torch.linspace(-1, 1, size_px)
    angle = chance.uniform(count, 1, 1, high=2 * math.pi)
    ramp = axis[None, :, None] * angle.sin() + axis[None, None, :] * angle.cos()
    stripes = (torch.sin(ramp * chance.uniform(count, 1, 1, low=4, high=25)) * 4).clamp(-1, 1)
    clouds = F.interpolate(chance.normal(count, 1, 5, 5), size=(size_px, size_px), mode="bicubic")[:, 0]
    grain = chance.normal(count, size_px, size_px)
    which = chance.integers(4, count)[:, None, None]
    pattern = torch.where(which == 0, ramp, torch.where(which == 1, stripes, torch.where(which == 2, clouds, grain)))
    return (0.5 + 0.5 * pattern).clamp(0, 1)[:, None]


def degrade(pictures: Tensor, chance: Chance, strength: float) -> Tensor:
    """Blur, grain, brightness and contrast of the finished picture, each for some of them; in place."""
    count = len(pictures)
    soft = chance.hit(count, 0.15 * strength)
    pictures[soft] = F.avg_pool2d(F.pad(pictures[soft], (1, 1, 1, 1), mode="replicate"), 3, 1)
    noisy = chance.hit(count, 0.12 * strength)
    pictures[noisy] += 0.06 * chance.normal(*pictures[noisy].shape)
    gain = 1 + chance.uniform(count, 1, 1, 1, low=-0.2, high=0.1) * strength
    shift = chance.uniform(count, 1, 1, 1, low=-0.05, high=0.05) * strength
    return pictures.mul_(gain).add_(shift).clamp_(0, 1)
