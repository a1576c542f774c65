"""Where labels match in images: `Model.explain`, which `clip explain` and `clip serve` use."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clipcli.answers.maps import HEATS, QUALITIES, ExplainOptions, Explanation, heat_of, label_maps, mean_cosines
from clipcli.api.questions import no_labels, none_label
from clipcli.checkpoints.towers import ImageTowerConfig, ResNetConfig
from clipcli.errors import ImageError, UsageError, warn
from clipcli.features.pipeline import Result
from clipcli.features.reader import Failed
from clipcli.images.find import ImageSource, Pause
from clipcli.images.opening import held
from clipcli.images.preprocess import Patches, Preprocessing
from clipcli.labels.label_set import LabelSet
from clipcli.results import Failure
from clipcli.scoring import Floats, best_first, cosines

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipcli.api.model import Model
    from clipcli.images.prepare import Pixels

# The longest edge of the small copy of the image in a result.
_SHOWN_PX = 1024
# Pixels per cell of a ResNet's feature map.
_RESNET_STRIDE = 32


@dataclass(frozen=True, slots=True)
class _View:
    """An image prepared for maps: its size, its pixels at each input size, and a small copy."""

    width: int
    height: int
    pixels: "Sequence[Pixels]"
    shown: "Image"


class Explainer:
    """A prepared question: where some labels match in an image.

    Args:
        model: Encodes images and labels.
        label_set: The labels.
        options: How maps are made.
        templates: Replace the label set's own.

    Raises:
        LabelSetError: The label set has no labels, or two labels have the same tokens.
        UsageError: The checkpoint has a classification head.
        DeviceError: torch cannot be used.
    """

    def __init__(
        self,
        model: "Model",
        label_set: LabelSet | None,
        options: ExplainOptions,
        templates: Sequence[str] | None = None,
    ) -> None:
        check_can_explain(model, label_set)
        assert label_set is not None
        if label_set.has_examples:
            warn("maps use only the texts of labels, not their examples")
        none = none_label(label_set, True)
        assert none is not None
        self.names, self.options = label_set.names, options
        with_none = replace(label_set, labels=(*label_set.labels, none), none=None)
        features = model.encode_labels(with_none, model.templates_for(label_set, templates))
        self._texts, self._none = features[:-1], features[-1:]
        self._logits, self._preparation = model.logits, model.encoders.preparation
        tower = model.checkpoint.image_tower
        self._sizes = [patches_of(tower, factor) for factor in QUALITIES[options.quality]]
        self._encoder = model.encoders.located

    def explain(self, source: ImageSource, features: Floats) -> Explanation:
        """Make the maps of one image.

        Args:
            source: The image, which is read once more.
            features: The features of the whole image, shape (P,).
        """
        try:
            view = self._preparation.made_of(source, self._view)
        except ImageError as error:
            return Explanation(source.path, error=Failure.from_error(error))
        of_image = cosines(features[None], self._texts)[0]
        chosen = np.sort(best_first(of_image, self.options.top))
        texts = np.concatenate([self._texts[chosen], self._none])
        grids = [self._encoder.encode(pixels, self.options.method) for pixels in view.pixels]
        found = mean_cosines(grids, texts)
        maps, none = found[:-1], found[-1]
        is_parts = self.options.method == "parts"
        heat = maps if is_parts else heat_of(maps, none, self._logits)
        labels, size = [self.names[i] for i in chosen], (view.width, view.height)
        measured = label_maps(labels, of_image[chosen], maps, heat, size)
        ends = (0.0, max(float(heat.max()), 0.0)) if is_parts else (0.0, 1.0)
        return Explanation(source.path, *size, measured, HEATS[self.options.method], ends, view.shown)

    def _view(self, image: "Image") -> _View:
        preprocessing, exact = self._preparation.preprocessing, self._preparation.decoding.exact
        pixels = [_whole(preprocessing, size).pixels(image, exact=exact) for size in self._sizes]
        scale = min(1.0, _SHOWN_PX / max(image.size))
        width, height = (max(1, round(edge * scale)) for edge in image.size)
        return _View(*image.size, pixels, image.resize((width, height), reducing_gap=2.0))


def explain_images(
    model: "Model",
    sources: Iterable[ImageSource | Pause],
    label_set: LabelSet | None,
    options: ExplainOptions | None = None,
    *,
    templates: Sequence[str] | None = None,
    at_hand: bool = False,
) -> Generator[Explanation, None, None]:
    """Make maps of images as they come, one at a time, in input order; one that cannot be used has an `error`.

    Args:
        model: Encodes images and labels.
        sources: The images.
        label_set: The labels.
        options: How maps are made.
        templates: Replace the label set's own.
        at_hand: As for `Model.image_features`.

    Raises:
        UsageError: As for `Explainer`.
    """
    check_can_explain(model, label_set)
    readable = (held(source) if isinstance(source, ImageSource) else source for source in sources)
    images = model.image_features(readable, at_hand=at_hand)
    explainer = Explainer(model, label_set, options or ExplainOptions(), templates)
    return _explained(images, explainer)


def _explained(images: Generator[list[Result], None, None], explainer: Explainer) -> Generator[Explanation, None, None]:
    with closing(images):
        for batch in images:
            for item in batch:
                if isinstance(item, Failed):
                    yield Explanation(item.source.path, error=Failure.from_error(item.error))
                else:
                    yield explainer.explain(item.source, item.features)


def check_can_explain(model: "Model", label_set: LabelSet | None) -> None:
    """Refuse checkpoints and questions that have no maps.

    Raises:
        UsageError: The checkpoint has a classification head.
        LabelSetError: The label set has no labels.
    """
    if model.class_names is not None:
        raise UsageError(
            f"{model.checkpoint.id} has a classification head, which compares no patches with texts",
            hint="use a checkpoint with both towers",
        )
    if label_set is None:
        raise no_labels()


def patches_of(tower: ImageTowerConfig, factor: float) -> Patches:
    """An input of `factor` times the size that a tower was trained with, in the shape of the image.

    It has as many patches as the square one of that size has, so that it costs the same whatever the shape. Measured
    on pairs of drawings in wide images: more patches find them no better, and squeezing the image finds them worse.
    """
    if isinstance(tower, ResNetConfig):
        edge, size = tower.grid_size, _RESNET_STRIDE
    else:
        edge, size = int(tower.patches**0.5), tower.patch_size
    return Patches(int(edge * factor + 0.5) ** 2, size)


def _whole(preprocessing: Preprocessing, size: Patches) -> Preprocessing:
    """The preprocessing that shows the network the whole image, in its own shape."""
    return replace(preprocessing, do_resize=True, size=size, do_center_crop=False)
