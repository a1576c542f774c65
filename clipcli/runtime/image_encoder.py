"""From prepared pixels to image features on the device. Imports torch."""

import numpy as np
import torch
from numpy.typing import NDArray

from clipcli.images.preprocess import Preprocessing
from clipcli.models.dual_encoder import DualEncoder


class ImageEncoder:
    """The image tower of a loaded network, fed with uint8 pictures."""

    def __init__(self, network: DualEncoder, preprocessing: Preprocessing) -> None:
        """Use the device and dtype that the network's weights have."""
        self._network = network
        self._preprocessing = preprocessing
        weight = next(network.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a batch.

        Shapes: pixels (N, S, S, 3) -> (N, P) float32, unit length; with a classification head (N, classes) logits.
        """
        batch = torch.from_numpy(self._preprocessing.normalize(pixels)).to(self._device, self._dtype)
        if self._network.config.id2label is not None:
            return self._network.classify_pixels(batch).float().cpu().numpy()
        features = self._network.get_image_features(batch).float()
        normalized: NDArray[np.float32] = torch.nn.functional.normalize(features, dim=-1).cpu().numpy()
        return normalized
