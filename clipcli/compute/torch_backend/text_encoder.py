"""From token ids to text features: distinct texts once, shared beginnings once where the tower is causal.

Memory is that of one pack or batch, however many texts there are.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipcli.checkpoints.towers import ClipTextConfig
from clipcli.compute.prefix_tree import Pack, packs
from clipcli.compute.sequences import Encoded, encode_distinct, padded_batches, until_end
from clipcli.compute.torch_backend.fused import Reach
from clipcli.compute.torch_backend.fused_siglip import FusedSiglipTextTower
from clipcli.compute.torch_backend.fused_text import FusedTextTower
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.siglip import SiglipTextTransformer
from clipcli.progress import Progress, unobserved
from clipcli.scoring import Floats

# What a batch or a pack has in tokens. On a CPU matrix products run at full speed from here on, and their
# intermediate results still fit its caches; a GPU wants more at once.
_TOKENS = 512
_TOKENS_GPU = 8192
# Nodes that attend together: fewer would waste matrix products, more would waste attention over unrelated nodes.
_BLOCK = 32
# Fewer texts than this are encoded before a tower is rearranged for speed.
WORTH_FUSING = 32


class TorchTextEncoder:
    """The text tower of a loaded network, fed with token ids."""

    def __init__(
        self,
        network: DualEncoder,
        pad_token_id: int,
        *,
        check: Callable[[Floats], Floats] = lambda features: features,
        tokens_at_once: int | None = None,
        block: int = _BLOCK,
        worth_fusing: int = WORTH_FUSING,
    ) -> None:
        """Use the device and dtype that the network's weights have.

        Args:
            network: With its text tower; it belongs to the encoder from now on.
            pad_token_id: What fills shorter rows of a batch.
            check: Given all features; raises if they cannot be right.
            tokens_at_once: In a batch or a pack; None for what suits the device.
            block: Nodes that attend together.
            worth_fusing: With fewer texts the tower is not rearranged for speed.
        """
        self._network, self._pad_token_id, self._check = network, pad_token_id, check
        text = network.config.text
        self._causal = text if isinstance(text, ClipTextConfig) else None
        self._is_padded = isinstance(network.text_model, SiglipTextTransformer)
        device = next(network.parameters()).device
        self._tokens_at_once = tokens_at_once or (_TOKENS if device.type == "cpu" else _TOKENS_GPU)
        self._block, self._worth_fusing = block, worth_fusing
        self._device = device

    @torch.inference_mode()
    def encode(self, ids: Sequence[Sequence[int]], on_progress: Progress = unobserved) -> Floats:
        """Encode token sequences.

        Shapes: M sequences of any length -> (M, P) float32, unit length.

        Args:
            ids: Token ids with special tokens, not padded.
            on_progress: Called with sequences done and sequences in all, after each pack or batch.
        """
        width = self._network.config.projection_dim
        return self._check(encode_distinct(ids, width, self._encoded, on_progress))

    def _encoded(self, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        if self._causal and ("_tower" in self.__dict__ or len(sequences) >= self._worth_fusing):
            return self._encode_tree(until_end(sequences, self._causal))
        if self._is_padded:
            return self._encode_padded(sequences)
        return self._encode_batches(sequences)

    @cached_property
    def _tower(self) -> FusedTextTower:
        return FusedTextTower(self._network)

    @cached_property
    def _padded_tower(self) -> FusedSiglipTextTower:
        return FusedSiglipTextTower(self._network)

    def _encode_tree(self, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        """Compute each distinct prefix once; what follows the end token is not computed at all."""
        for pack in packs(sequences, self._tokens_at_once, multiple=self._block):
            tokens, depths = self._tensor(pack.tokens), self._tensor(pack.depths)
            yield pack.rows.tolist(), _numbers(self._tower(tokens, depths, *self._reaches(pack)))

    def _reaches(self, pack: Pack) -> tuple[Reach, Reach]:
        nodes = np.arange(len(pack.tokens)).reshape(-1, self._block)
        keys, visible = pack.block_keys(self._block)
        end_keys, end_visible = pack.end_keys()
        return (
            Reach(self._tensor(nodes), self._tensor(keys), self._tensor(visible[:, None])),
            Reach(self._tensor(pack.ends[:, None]), self._tensor(end_keys), self._tensor(end_visible[:, None, None])),
        )

    def _encode_batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        """Encode whole texts, those of similar length together, so that little is padding."""
        for batch in padded_batches(sequences, self._tokens_at_once, self._pad_token_id):
            tokens, real = self._tensor(batch.tokens), self._tensor(batch.real)
            yield batch.rows, _numbers(self._network.get_text_features(tokens, real))

    def _encode_padded(self, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        """Encode texts that the tower sees with their padding, which must fill all positions."""
        fused = "_padded_tower" in self.__dict__ or len(sequences) >= self._worth_fusing
        encode = self._padded_tower if fused else self._network.get_text_features
        text = self._network.config.text
        length = text.context_length if text is not None else 0
        step = max(1, self._tokens_at_once // length)
        for first in range(0, len(sequences), step):
            batch = sequences[first : first + step]
            tokens = np.full((len(batch), length), self._pad_token_id)
            for i, sequence in enumerate(batch):
                tokens[i, : len(sequence)] = sequence
            yield range(first, first + len(batch)), _numbers(encode(self._tensor(tokens)))

    def _tensor(self, values: "NDArray[np.int64] | NDArray[np.bool_]") -> Tensor:
        return torch.from_numpy(values).to(self._device)


def _numbers(features: Tensor) -> Floats:
    numbers: Floats = features.float().cpu().numpy()
    return numbers
