"""From prepared pixels to a feature for each patch, by the network as it was loaded."""

from collections.abc import Callable

import torch

from clipcli.errors import DeviceError
from clipcli.features.pipeline import available_cores
from clipcli.images.prepare import Pixels
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.located import located_features
from clipcli.scoring import Floats, MapMethod


class LocatedEncoder:
    """The image tower of a network, read patch by patch.

    Args:
        network: With its image tower, where and in what it shall compute.
        preprocessing: What happens between bytes and the network.
        device: Where the network is.
        dtype: What it computes in.
        check: Given the features; raises if they cannot be right.
    """

    def __init__(
        self,
        network: DualEncoder,
        preprocessing: Preprocessing,
        device: torch.device,
        dtype: torch.dtype,
        check: Callable[[Floats], Floats] = lambda features: features,
    ) -> None:
        self._network, self._preprocessing = network, preprocessing
        self._device, self._dtype, self._check = device, dtype, check

    def encode(self, pixels: Pixels, method: MapMethod) -> Floats:
        """Encode one image.

        Shapes: pixels (height, width, 3) in whole patches -> (h, w, P); see `located_features`.

        Raises:
            DeviceError: It does not fit into the device's memory.
        """
        if self._device.type == "cpu":
            torch.set_num_threads(available_cores())
        normalized = torch.from_numpy(self._preprocessing.normalize(pixels[None])).to(self._device, self._dtype)
        try:
            found = located_features(self._network, normalized, method)[0].cpu()
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"{self._device} has no memory left for one image", hint='use `device="cpu"`, or a smaller model'
            ) from error
        features: Floats = found.numpy()
        return self._check(features)
