"""Where a label matches in an image: maps of cosines, heat maps to draw, their peaks and boxes. numpy only.

Such a map shows which patches look like the label's text. It does not explain the score of the whole image. Every map
has a greatest value, whether the label is in the image or not; use the image's own cosine to decide that.

Axes: C labels, h and w the grid of patches, P the space shared with texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipcli.errors import UsageError
from clipcli.results import Failure, Row
from clipcli.scoring import MAP_METHODS, Floats, Logits, MapMethod, scores

if TYPE_CHECKING:
    from PIL.Image import Image

Quality = Literal["fast", "good", "best"]
QUALITIES: dict[Quality, tuple[float, ...]] = {"fast": (1.0,), "good": (1.5,), "best": (1.0, 1.3, 1.5, 2.0)}
"""Sizes of the input, as multiples of what the model was trained with; of several the mean is taken."""

_AGAINST_NONE = "the label against none of these"
HEATS: dict[MapMethod, str] = {"keys": _AGAINST_NONE, "values": _AGAINST_NONE, "parts": "part in the cosine"}
"""What is drawn by each method."""

# Cells per patch edge when boxes are measured: finer than a map is accurate.
_FINENESS = 8


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """How maps are made.

    Attributes:
        method: `keys`, where each patch attends to similar patches (arXiv:2404.08181); `values`, each patch by itself
            (arXiv:2112.01071); or `parts`, the contribution of each patch to the image's cosine (arXiv:2310.05916).
        quality: `fast` uses the input size that the model was trained with, `good` 1.5 times that size, `best` the mean
            of four sizes.
        top: How many labels get a map, those with the highest cosine; None for all.

    Raises:
        UsageError: A name is not known, or a count is below 1.
    """

    method: MapMethod = "keys"
    quality: Quality = "good"
    top: int | None = None

    def __post_init__(self) -> None:
        """Check names and count."""
        for name, value, known in (("method", self.method, MAP_METHODS), ("quality", self.quality, tuple(QUALITIES))):
            if value not in known:
                raise UsageError(
                    f"{name} must be one of {', '.join(known)}, not {value!r}", parameter=name, value=value
                )
        if self.top is not None and self.top < 1:
            raise UsageError(f"top must be 1 or more, not {self.top}", parameter="top", value=self.top)


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Where one label matches an image. Positions are in pixels of the upright image, from its top left corner.

    Attributes:
        label: The label.
        cosine: Cosine of the whole image with the label, as in `classify`: whether the label applies at all.
        cosines: Cosine of each patch with the label, shape (h, w); with the method `parts`, the patch's contribution to
            the image's cosine. They can be compared between labels.
        heat: The heat map to draw, shape (h, w): the share of the label against "none of these", in (0, 1), or the
            contributions.
        x: Position of the peak, the center of the hottest patch.
        y: See `x`.
        left: Edge of the box around the peak, the region where the heat is above half way from its least to its
            greatest value.
        top: See `left`.
        right: See `left`.
        bottom: See `left`.
    """

    label: str
    cosine: float
    cosines: Floats
    heat: Floats
    x: float
    y: float
    left: float
    top: float
    right: float
    bottom: float

    def to_dict(self) -> Row:
        """The map as JSON has it."""
        return {
            "label": self.label,
            "cosine": self.cosine,
            "peak": {"x": self.x, "y": self.y, "heat": float(self.heat.max())},
            "box": {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom},
            "grid": self.heat.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The maps of one image, in the order of the labels, or why it has none.

    Attributes:
        path: The input, as the user named it.
        width: Width of the upright image in pixels; 0 if it could not be read.
        height: Its height, likewise.
        maps: One for each label.
        heat: A short description of the heat values.
        heat_range: The heat values at the ends of the color scale, the same for all labels of the image.
        image: The upright image, scaled down for drawing.
        error: Why the image has no maps.
        files: The files written for the maps, by kind: `png`, `npy` and `html`.
    """

    path: str
    width: int = 0
    height: int = 0
    maps: tuple[LabelMap, ...] = ()
    heat: str = HEATS["keys"]
    heat_range: tuple[float, float] = (0.0, 1.0)
    image: "Image | None" = None
    error: Failure | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def cosines(self) -> Floats:
        """All maps of cosines; shape (C, h, w)."""
        return np.stack([found.cosines for found in self.maps])

    def to_dict(self) -> Row:
        """The maps as JSON has them."""
        if self.error is not None:
            return {"path": self.path, "status": "error", "error": self.error.to_dict()}
        maps: list[Any] = [found.to_dict() for found in self.maps]
        row: Row = {"path": self.path, "status": "ok", "width": self.width, "height": self.height, "maps": maps}
        return {**row, "files": dict(self.files)} if self.files else row


def mean_cosines(grids: Sequence[Floats], text_features: Floats) -> Floats:
    """Cosines of patches with texts, averaged over several sizes of one image, on the finest grid.

    Shapes: grids each (h, w, P), the finest last; text_features (C, P) -> (C, h, w).
    """
    height, width = grids[-1].shape[:2]
    found = [np.moveaxis(grid @ text_features.T, -1, 0) for grid in grids]
    return np.asarray(np.mean([resized(maps, height, width) for maps in found], axis=0), dtype=np.float32)


def heat_of(maps: Floats, none: Floats, logits: Logits) -> Floats:
    """Heat maps: the share of each label against "none of these", patch by patch.

    Shapes: maps (C, h, w), none (h, w), cosines -> (C, h, w) in (0, 1).
    """
    return scores((maps - none) * np.float32(logits.scale), "sigmoid")


def label_maps(
    labels: Sequence[str], image_cosines: Floats, maps: Floats, heat: Floats, size: tuple[int, int]
) -> tuple[LabelMap, ...]:
    """Find the peak and the box of each map.

    Shapes: image_cosines (C,), maps and heat (C, h, w).

    Args:
        labels: Their labels.
        image_cosines: Cosines of the whole image with each label.
        maps: Cosines of patches.
        heat: The heat maps to draw.
        size: Width and height of the image in pixels.
    """
    rows = zip(labels, image_cosines.tolist(), maps, heat, strict=True)
    return tuple(
        LabelMap(label, cosine, raw, drawn, *peak(drawn, size), *box_at_half(drawn, size))
        for label, cosine, raw, drawn in rows
    )


def peak(heat: Floats, size: tuple[int, int]) -> tuple[float, float]:
    """The center (x, y) of the hottest patch, the first of several, in pixels of an image of size (width, height)."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return (column + 0.5) * size[0] / heat.shape[1], (row + 0.5) * size[1] / heat.shape[0]


def box_at_half(heat: Floats, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box (left, top, right, bottom) of the hot region connected with the peak, in pixels of the image.

    A point is hot if its interpolated value is above half way from the least to the greatest value of the map. A
    constant map has a box around the whole image.
    """
    height, width = (_FINENESS * edge for edge in heat.shape)
    fine = resized(heat, height, width)
    hot = fine >= (fine.max() + fine.min()) / 2
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    middle = (row * _FINENESS + _FINENESS // 2) * width + column * _FINENESS + _FINENESS // 2
    rows, columns = np.nonzero(connected(hot, middle))
    x, y = size[0] / width, size[1] / height
    corners = columns.min() * x, rows.min() * y, (columns.max() + 1) * x, (rows.max() + 1) * y
    left, top, right, bottom = map(float, corners)
    return left, top, right, bottom


def connected(mask: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """The part of a mask that is connected with one of its cells through shared edges.

    Shapes: (h, w), and the index of a cell -> (h, w).
    """
    found = np.zeros_like(mask)
    found.flat[start] = True
    count = 0
    while (grown := int(found.sum())) != count:
        count = grown
        found[1:] |= found[:-1] & mask[1:]
        found[:-1] |= found[1:] & mask[:-1]
        found[:, 1:] |= found[:, :-1] & mask[:, 1:]
        found[:, :-1] |= found[:, 1:] & mask[:, :-1]
    return found


def resized(maps: Floats, height: int, width: int) -> Floats:
    """Resize maps bilinearly; values beyond the centers of the outermost cells are constant.

    Shapes: (..., h, w) -> (..., height, width).
    """
    for axis, length in ((-2, height), (-1, width)):
        old = maps.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        lower = np.floor(place).astype(np.intp)
        shape = (-1, 1) if axis == -2 else (-1,)
        weight = (place - lower).astype(np.float32).reshape(shape)
        upper = np.minimum(lower + 1, old - 1)
        maps = np.take(maps, lower, axis) * (1 - weight) + np.take(maps, upper, axis) * weight
    return np.asarray(maps, dtype=np.float32)
