"""From prepared pixels to image features in numpy."""

from collections.abc import Callable

import numpy as np

from clipcli.checkpoints.towers import VisionConfig
from clipcli.compute.numpy_backend.clip import Weights, image_features
from clipcli.compute.numpy_backend.cores import on_all_cores, single_threaded_products
from clipcli.features.pipeline import available_cores
from clipcli.images.prepare import Pixels
from clipcli.images.preprocess import Preprocessing
from clipcli.scoring import Floats, normalize

# Rows of a matrix product that keep a core busy and its results in the cache.
_BATCH_TOKENS = 400


class NumpyImageEncoder:
    """A checkpoint's image tower, fed with uint8 images."""

    def __init__(
        self,
        config: VisionConfig,
        weights: Weights,
        preprocessing: Preprocessing,
        *,
        batch_size: int | None = None,
        workers: int = 1,
        check: Callable[[Floats], Floats] = lambda features: features,
    ) -> None:
        """Prepare to encode.

        Args:
            config: Of the image tower.
            weights: The checkpoint's.
            preprocessing: What happens between bytes and the network.
            batch_size: Images a batch; None chooses.
            workers: Threads that will call `encode`.
            check: Given every batch's features; raises if they cannot be right.
        """
        self._config, self._weights, self._preprocessing, self._check = config, weights, preprocessing, check
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        self.batch_size = batch_size or max(1, _BATCH_TOKENS // tokens)
        self.concurrency = workers

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        """Encode a batch.

        Shapes: pixels (N, S, S, 3) -> (N, P) float32, unit length.

        Args:
            pixels: Preprocessed images.
            alone: Whether all cores are free for this batch.
        """
        if not alone:
            with single_threaded_products():
                return self._encode(pixels)
        parts = np.array_split(pixels, min(len(pixels), available_cores()))
        return np.concatenate(list(on_all_cores(self._encode, parts)))

    def _encode(self, pixels: Pixels) -> Floats:
        features = image_features(self._preprocessing.normalize(pixels), self._weights, self._config)
        return self._check(normalize(features))
