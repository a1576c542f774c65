"""From token ids to text features: distinct texts once, in batches of similar length. Imports torch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clipcli.models.dual_encoder import DualEncoder

_BATCH = 64


@torch.inference_mode()
def encode_ids(network: DualEncoder, ids: Sequence[Sequence[int]], pad_token_id: int) -> NDArray[np.float32]:
    """Encode token sequences.

    Shapes: M sequences of any length -> (M, P) float32, unit length.
    """
    device = network.text_projection.weight.device
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    features = np.empty((len(ids), network.config.projection_dim), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        length = len(ids[rows[-1]])
        tokens = torch.tensor([[*ids[i], *[pad_token_id] * (length - len(ids[i]))] for i in rows], device=device)
        mask = torch.tensor([[1] * len(ids[i]) + [0] * (length - len(ids[i])) for i in rows], device=device)
        batch = network.get_text_features(tokens, mask).float()
        features[rows] = torch.nn.functional.normalize(batch, dim=-1).cpu().numpy()
    return features
