"""CLIP's causal text tower rearranged for speed, run over a tree of texts instead of a batch of them.

`clip_text` stays the readable reference; the layers are those of `fused`, and so is what is said there. A token sees
what it is allowed to see, its path from the root of the tree; only the end tokens go through the last layer.
"""

import torch
from torch import Tensor

from clipcli.compute.torch_backend.fused import Reach, Target, fuse_layers
from clipcli.networks.clip_text import CausalTextTransformer
from clipcli.networks.dual_encoder import DualEncoder


class FusedTextTower:
    """The text tower and its projection, from the tokens of a tree to features."""

    def __init__(self, network: DualEncoder) -> None:
        text = network.text_model
        if not isinstance(text, CausalTextTransformer):
            raise TypeError(f"only a causal text tower can be run over a tree, not {type(text).__name__}")
        self._embeddings, self._final_norm = text.embeddings, text.final_layer_norm
        self._projection = network.text_projection
        weight = text.final_layer_norm.weight
        self.device = weight.device
        target = Target(self.device, weight.dtype)
        *self._layers, self._last_layer = fuse_layers(text.encoder.layers, text.config.hidden_act, target)

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, position_ids: Tensor, reach: Reach, ends: Reach) -> Tensor:
        """Encode the texts of a tree.

        Shapes: token_ids and position_ids (N,); queries of `reach` are all N tokens in order, those of `ends` the E
        end tokens, (E, 1) -> (E, P) float32, not normalised: what `get_text_features` gives for each text.
        """
        x = self._embeddings(token_ids, position_ids)
        for layer in self._layers:
            x = layer.among(x, reach)
        features: Tensor = self._projection(self._final_norm(self._last_layer.among(x, ends)))
        return features.float()
