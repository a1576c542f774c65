"""From token ids to text features: distinct texts once, shared beginnings once where the tower is causal.

Memory is that of one pack or batch, however many texts there are. Imports torch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipcli.compute.prefix_tree import Pack, packs
from clipcli.compute.torch_backend.fused import Reach
from clipcli.compute.torch_backend.fused_siglip import FusedSiglipTextTower
from clipcli.compute.torch_backend.fused_text import FusedTextTower
from clipcli.networks.clip_text import CausalTextTransformer
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
_WORTH_FUSING = 32

# Rows of the sequences, and their features (rows, P) before normalising.
_Encoded = tuple[Sequence[int], Tensor]


class TorchTextEncoder:
    """The text tower of a loaded network, fed with token ids."""

    def __init__(
        self,
        network: DualEncoder,
        pad_token_id: int,
        *,
        check: Callable[[Floats], Floats] = lambda features: features,
    ) -> None:
        """Use the device and dtype that the network's weights have.

        Args:
            network: With its text tower; it belongs to the encoder from now on.
            pad_token_id: What fills shorter rows of a batch.
            check: Given all features; raises if they cannot be right.
        """
        self._network, self._pad_token_id, self._check = network, pad_token_id, check
        self._is_causal = isinstance(network.text_model, CausalTextTransformer)
        self._is_padded = isinstance(network.text_model, SiglipTextTransformer)
        device = next(network.parameters()).device
        self._tokens_at_once = _TOKENS if device.type == "cpu" else _TOKENS_GPU
        self._device = device

    @torch.inference_mode()
    def encode(self, ids: Sequence[Sequence[int]], on_progress: Progress = unobserved) -> Floats:
        """Encode token sequences.

        Shapes: M sequences of any length -> (M, P) float32, unit length.

        Args:
            ids: Token ids with special tokens, not padded.
            on_progress: Called with sequences done and sequences in all, after each pack or batch.
        """
        places: dict[tuple[int, ...], int] = {}
        rows_of = [places.setdefault(tuple(sequence), len(places)) for sequence in ids]
        distinct = list(places)
        features = np.empty((len(distinct), self._network.config.projection_dim), dtype=np.float32)
        done = 0
        for rows, batch in self._encoded(distinct):
            features[rows] = torch.nn.functional.normalize(batch.float(), dim=-1).cpu().numpy()
            done += len(rows)
            on_progress(done, len(distinct))
        return self._check(features[rows_of])

    def _encoded(self, sequences: Sequence[Sequence[int]]) -> Iterator[_Encoded]:
        if self._is_causal and ("_tower" in self.__dict__ or len(sequences) >= _WORTH_FUSING):
            return self._encode_tree(sequences)
        if self._is_padded:
            return self._encode_padded(sequences)
        return self._encode_batches(sequences)

    @cached_property
    def _tower(self) -> FusedTextTower:
        return FusedTextTower(self._network)

    @cached_property
    def _padded_tower(self) -> FusedSiglipTextTower:
        return FusedSiglipTextTower(self._network)

    def _encode_tree(self, sequences: Sequence[Sequence[int]]) -> Iterator[_Encoded]:
        """Compute each distinct prefix once; what follows the end token is not computed at all."""
        for pack in packs(self._until_end(sequences), self._tokens_at_once, multiple=_BLOCK):
            tokens, depths = self._tensor(pack.tokens), self._tensor(pack.depths)
            yield pack.rows.tolist(), self._tower(tokens, depths, *self._reaches(pack))

    def _until_end(self, sequences: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Cut each sequence after the token that its text is read at."""
        return [s[: int(self._tower.end_positions(torch.tensor([s]))[0]) + 1] for s in sequences]

    def _reaches(self, pack: Pack) -> tuple[Reach, Reach]:
        nodes = np.arange(len(pack.tokens)).reshape(-1, _BLOCK)
        keys, visible = pack.block_keys(_BLOCK)
        end_keys, end_visible = pack.end_keys()
        return (
            Reach(self._tensor(nodes), self._tensor(keys), self._tensor(visible[:, None])),
            Reach(self._tensor(pack.ends[:, None]), self._tensor(end_keys), self._tensor(end_visible[:, None, None])),
        )

    def _encode_batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[_Encoded]:
        """Encode whole texts, those of similar length together, so that little is padding."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]), reverse=True)
        first = 0
        while first < len(order):
            length = len(sequences[order[first]])
            rows = order[first : first + max(1, self._tokens_at_once // length)]
            first += len(rows)
            tokens = np.full((len(rows), length), self._pad_token_id)
            mask = np.zeros((len(rows), length), dtype=np.int64)
            for i, row in enumerate(rows):
                tokens[i, : len(sequences[row])] = sequences[row]
                mask[i, : len(sequences[row])] = 1
            yield rows, self._network.get_text_features(self._tensor(tokens), self._tensor(mask))

    def _encode_padded(self, sequences: Sequence[Sequence[int]]) -> Iterator[_Encoded]:
        """Encode texts that the tower sees with their padding, which must fill all positions."""
        fused = "_padded_tower" in self.__dict__ or len(sequences) >= _WORTH_FUSING
        encode = self._padded_tower if fused else self._network.get_text_features
        text = self._network.config.text
        length = text.context_length if text is not None else 0
        step = max(1, self._tokens_at_once // length)
        for first in range(0, len(sequences), step):
            batch = sequences[first : first + step]
            tokens = np.full((len(batch), length), self._pad_token_id)
            for i, sequence in enumerate(batch):
                tokens[i, : len(sequence)] = sequence
            yield range(first, first + len(batch)), encode(self._tensor(tokens))

    def _tensor(self, values: "NDArray[np.int64] | NDArray[np.bool_]") -> Tensor:
        return torch.from_numpy(values).to(self._device)
