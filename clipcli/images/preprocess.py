"""What the settings of a checkpoint's image processor ask for, done to an image. Needs PIL and numpy.

The steps and their integer rounding follow the PIL image processors of `transformers`, so that the pixels are the
same bit for bit. PIL and numpy are imported inside the functions that use them: a run whose features are all
remembered only needs `Preprocessing.digest`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clipcli.checkpoints.sizes import LARGEST_IMAGE
from clipcli.checkpoints.towers import ImageTowerConfig, NaflexVisionConfig
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.images.resize import center_crop, resize, size_to_shortest_edge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

# Settings that a class has where its file leaves them out, and `Preprocessing` has otherwise. CLIP's class is that of
# MetaCLIP 2, too, and AltCLIP has none of its own.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "ChineseCLIP": {},
    "Siglip": {"size": (224, 224), "do_center_crop": False, "image_mean": (0.5,) * 3, "image_std": (0.5,) * 3},
    "Siglip2": {"resample": 2, "do_center_crop": False, "image_mean": (0.5,) * 3, "image_std": (0.5,) * 3},
}
_PROCESSORS = {
    family + suffix: defaults
    for family, defaults in _DEFAULTS.items()
    for suffix in ("FeatureExtractor", "ImageProcessor", "ImageProcessorFast", "ImageProcessorPil")
}
# Older files use the second key, the oldest neither, which are CLIP's.
_PROCESSOR_KEYS = ("image_processor_type", "feature_extractor_type")
_LARGEST_NUMBER = 1e6
FILTERS = range(6)
"""The filters that every PIL has, `PIL.Image.Resampling` by number; importing that would hold a cached answer up."""
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


@dataclass(frozen=True, slots=True)
class Patches:
    """A size that keeps an image's shape: whole patches, as many as may be (arXiv:2502.14786, section 2.4).

    Attributes:
        max_num_patches: The most patches of an image.
        patch_size: Height and width of one in pixels.
    """

    max_num_patches: int
    patch_size: int

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in pixels that an image is resized to: about its shape, rounded up to whole patches.

        The scale is searched by halving, to 1e-5, as the reference does.
        """
        low, high = 1e-6, 100.0
        while high - low >= 1e-5:
            middle = (low + high) / 2
            rows, columns = self._patches(height, middle), self._patches(width, middle)
            low, high = (middle, high) if rows * columns <= self.max_num_patches else (low, middle)
        return self._patches(width, low) * self.patch_size, self._patches(height, low) * self.patch_size

    def _patches(self, edge: int, scale: float) -> int:
        return max(1, math.ceil(edge * scale / self.patch_size))


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The settings of an image processor; the defaults are those of CLIP (2103.00020).

    `size` is a number of pixels for the shortest edge, (height, width), or whole patches. `resample` is one of PIL's
    filter numbers. Images reach the model with three channels whatever `do_convert_rgb` says, since `decode` makes
    them RGB.
    """

    do_resize: bool = True
    size: int | tuple[int, int] | Patches = 224
    resample: int = 3
    do_center_crop: bool = True
    crop_size: tuple[int, int] = (224, 224)
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    do_convert_rgb: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str) -> "Preprocessing":
        """Read settings as `preprocessor_config.json` has them; keys that are missing or null keep their defaults.

        Args:
            config: The settings.
            source: The file's name, for messages.

        Raises:
            DamagedModelError: A value is of the wrong type or out of range.
            UnsupportedModelError: The file asks for a step, a size rule or a processor that is not CLIP's.
        """
        _refuse_unknown(config, source)
        square = _field(config, "default_to_square", _boolean, source) or False
        readers: dict[str, Callable[[Any], object]] = {
            **dict.fromkeys(_STEPS, _boolean),
            "size": lambda value: _size(value, square),
            "resample": _filter,
            "crop_size": _crop_size,
            "rescale_factor": _positive,
            "image_mean": lambda value: _channels(value, _number),
            "image_std": lambda value: _channels(value, _positive),
        }
        given = {key: _field(config, key, read, source) for key, read in readers.items()}
        defaults = next((_PROCESSORS[config[key]] for key in _PROCESSOR_KEYS if config.get(key) is not None), {})
        settings = {**defaults, **{key: value for key, value in given.items() if value is not None}}
        if defaults is _DEFAULTS["Siglip2"]:
            names = {"max_num_patches": 256, "patch_size": 16}
            given = {name: _field(config, name, _edge, source) or usual for name, usual in names.items()}
            settings["size"] = _field({"max_num_patches": given}, "max_num_patches", _patches, source)
        preprocessing = cls(**settings)
        if not preprocessing.do_center_crop and (not preprocessing.do_resize or isinstance(preprocessing.size, int)):
            raise UnsupportedModelError(
                f"{source}: do_center_crop is false and size gives no height and width, "
                "so images would reach the model in different sizes"
            )
        return preprocessing

    @property
    def output_size(self) -> tuple[int, int] | None:
        """The (height, width) in pixels that every image ends with; None if they keep their shapes."""
        if self.do_center_crop:
            return self.crop_size
        return None if isinstance(self.size, Patches) else _both(self.size)

    def check_fits(self, tower: ImageTowerConfig, source: str, config: str) -> None:
        """Compare what images become with what an image tower takes.

        Args:
            tower: The tower.
            source: The name of the file that these settings are from, for messages.
            config: The name of the file that describes the tower.

        Raises:
            DamagedModelError: They differ.
        """
        if not isinstance(tower, NaflexVisionConfig):
            self.check_output_size(tower.image_size, source, config)
        elif not isinstance(self.size, Patches) or self.size.patch_size != tower.patch_size:
            raise DamagedModelError(
                f"{source} does not make patches of {tower.patch_size} pixels, as vision_config in {config} has them",
                hint="one of the two files belongs to another checkpoint; fetch both again",
            )

    def check_output_size(self, image_size: int, source: str, config: str) -> None:
        """Compare the size of what images become with that of what the image tower takes.

        Args:
            image_size: Height and width in pixels that the tower takes.
            source: The name of the file that these settings are from, for messages.
            config: The name of the file that `image_size` is from.

        Raises:
            DamagedModelError: They differ.
        """
        if self.output_size != (image_size, image_size):
            made = "many shapes" if self.output_size is None else "{} x {} pixels".format(*self.output_size)
            raise DamagedModelError(
                f"{source} makes images of {made}, but vision_config.image_size in {config} is {image_size}",
                hint="one of the two files belongs to another checkpoint; fetch both again",
            )

    @property
    def min_size(self) -> tuple[int, int] | None:
        """The (height, width) that `decode` must stay above; None for images that must be whole.

        Those are images that are not resized, or to a size that depends on their own.
        """
        return None if not self.do_resize or isinstance(self.size, Patches) else _both(self.size)

    @property
    def digest(self) -> str:
        """A hex string that changes whenever a field does."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()

    def pixels(self, image: "Image", *, exact: bool = True) -> "NDArray[np.uint8]":
        """Resize and crop an RGB image, as it is before rescaling.

        Args:
            image: The image.
            exact: Resize the whole image in one step, as the reference does. If not, of an image that is much larger
                than needed only what the crop keeps is resized, and one that is larger still is first reduced by a
                whole factor, each new pixel the mean of a square of old ones.

        Shapes:  any size -> uint8 (height, width, 3) of `output_size`.
        """
        import numpy as np

        image = image if image.mode == "RGB" else image.convert("RGB")
        if self.do_resize:
            image = self._resized(image, exact)
        if self.do_center_crop:
            image = center_crop(image, self.crop_size)
        return np.array(image)

    def normalize(self, batch: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Rescale, subtract the mean, divide by the standard deviation, and put channels first.

        A byte has 256 values, so each channel is one table look-up: it costs 0.2 ms for a 224 x 224 image and
        equals the reference exactly, which a multiply-add in float32 does not.

        Shapes:  uint8 (N, H, W, 3) -> float32 (N, 3, H, W), contiguous.
        """
        import numpy as np

        count, height, width, channels = batch.shape
        normalized = np.empty((count, channels, height, width), dtype=np.float32)
        for channel, table in enumerate(_normalized_bytes(self)):
            np.take(table, batch[..., channel], out=normalized[:, channel], mode="clip")
        return normalized

    def _resized(self, image: "Image", exact: bool) -> "Image":
        if isinstance(self.size, Patches):
            size = self.size.size_of(*image.size)
        elif isinstance(self.size, int):
            size = size_to_shortest_edge(image.size, self.size)
        else:
            size = self.size[1], self.size[0]
        crops = self.do_center_crop and isinstance(self.size, int)
        return resize(image, size, self.resample, exact=exact, crop_size=self.crop_size if crops else None)


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _field(config: Mapping[str, Any], key: str, read: Callable[[Any], Any], source: str) -> Any:
    """Read one key; None if it is missing or null."""
    if config.get(key) is None:
        return None
    try:
        return read(config[key])
    except ValueError as error:
        raise DamagedModelError(f"{source}: {key} must be {error}, not {config[key]!r}") from error


def _refuse_unknown(config: Mapping[str, Any], source: str) -> None:
    """Refuse what would change the pixels and is not implemented, rather than pass it over."""
    for key in _PROCESSOR_KEYS:
        if config.get(key) is not None and (not isinstance(config[key], str) or config[key] not in _PROCESSORS):
            known = ", ".join(f"{family}ImageProcessor" for family in _DEFAULTS)
            raise UnsupportedModelError(
                f"{source}: {key} is {config[key]!r}, an image processor that this program does not have",
                hint=f"known image processors: {known}",
            )
    for key, value in config.items():
        is_step = (key.startswith("do_") and key not in _STEPS) or key == "use_square_size"
        if is_step and value not in (None, False):
            raise UnsupportedModelError(f"{source}: {key} asks for a step that is not supported")
    size = config.get("size")
    if isinstance(size, Mapping):
        for key in size:
            if key not in ("shortest_edge", "height", "width") and size[key] is not None:
                raise UnsupportedModelError(f"{source}: size has {key}, which is not supported")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
        raise ValueError("a number")
    return float(value)


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError("a number above 0")
    return number


def _edge(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_IMAGE:
        raise ValueError(f"in whole pixels, from 1 to {LARGEST_IMAGE}")
    return value


def _patches(settings: Mapping[str, int]) -> Patches:
    patches = Patches(**settings)
    if patches.max_num_patches * patches.patch_size**2 > LARGEST_IMAGE**2:
        raise ValueError(f"so that an image has at most {LARGEST_IMAGE} x {LARGEST_IMAGE} pixels")
    return patches


def _filter(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in FILTERS:
        raise ValueError(f"one of PIL's filter numbers ({FILTERS[0]} to {FILTERS[-1]})")
    return value


def _height_width(value: Any) -> tuple[int, int]:
    if isinstance(value, Mapping) and value.get("height") and value.get("width"):
        return _edge(value["height"]), _edge(value["width"])
    if isinstance(value, list | tuple) and len(value) == 2:
        return _edge(value[0]), _edge(value[1])
    raise ValueError("a number or a height and a width")


def _size(value: Any, square: bool) -> int | tuple[int, int]:
    if isinstance(value, Mapping) and value.get("shortest_edge") is not None:
        return _edge(value["shortest_edge"])
    if isinstance(value, int):
        edge = _edge(value)
        return (edge, edge) if square else edge
    return _height_width(value)


def _crop_size(value: Any) -> tuple[int, int]:
    return (_edge(value), _edge(value)) if isinstance(value, int) else _height_width(value)


def _channels(value: Any, read: Callable[[Any], float]) -> tuple[float, float, float]:
    if not isinstance(value, list | tuple):
        value = [value] * 3
    if len(value) != 3:
        raise ValueError("one number for each of the three channels")
    red, green, blue = (read(channel) for channel in value)
    return red, green, blue


@lru_cache(maxsize=8)
def _normalized_bytes(preprocessing: Preprocessing) -> "NDArray[np.float32]":
    """Return what `normalize` makes of each byte: (3, 256)."""
    import numpy as np

    values = np.arange(256, dtype=np.float64)
    if preprocessing.do_rescale:
        values *= preprocessing.rescale_factor
    # Rescaled in double, normalized in single precision: the rounding of the reference.
    table = np.tile(values.astype(np.float32), (3, 1))
    if preprocessing.do_normalize:
        table -= np.array(preprocessing.image_mean, dtype=np.float32)[:, None]
        table /= np.array(preprocessing.image_std, dtype=np.float32)[:, None]
    return table
