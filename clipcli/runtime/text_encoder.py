"""From token ids to text features: distinct texts once, shared beginnings once where the tower is causal.

Memory is that of one pack or batch, however many texts there are. Imports torch.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from clipcli.models.clip_text import CausalTextTransformer
from clipcli.models.dual_encoder import DualEncoder
from clipcli.models.transformer import Reach
from clipcli.runtime.prefix_tree import Pack, packs
from clipcli.scoring import Floats

ProgressCallback = Callable[[int, int], None]

# What a batch or a pack has in tokens. On a CPU matrix products run at full speed from here on, and their
# intermediate results still fit its caches; a GPU wants more at once.
_TOKENS = 512
_TOKENS_GPU = 8192
# Nodes that attend together: less wastes matrix products, more wastes attention over unrelated nodes.
_BLOCK = 32

# Rows of the sequences, and their features (rows, P) before normalising.
_Encoded = tuple[Sequence[int], Tensor]


@torch.inference_mode()
def encode_ids(
    network: DualEncoder,
    ids: Sequence[Sequence[int]],
    pad_token_id: int,
    on_progress: ProgressCallback = lambda done, total: None,
) -> Floats:
    """Encode token sequences.

    Shapes: M sequences of any length -> (M, P) float32, unit length.

    Args:
        network: With its text tower.
        ids: Token ids with special tokens, not padded.
        pad_token_id: What fills shorter rows of a batch.
        on_progress: Called with sequences done and sequences in all, after each pack or batch.
    """
    places: dict[tuple[int, ...], int] = {}
    rows_of = [places.setdefault(tuple(sequence), len(places)) for sequence in ids]
    distinct = list(places)
    features = np.empty((len(distinct), network.config.projection_dim), dtype=np.float32)
    tower = network.text_model
    encoded = (
        _encode_tree(network, tower, distinct)
        if isinstance(tower, CausalTextTransformer)
        else _encode_batches(network, distinct, pad_token_id)
    )
    done = 0
    for rows, batch in encoded:
        features[rows] = torch.nn.functional.normalize(batch.float(), dim=-1).cpu().numpy()
        done += len(rows)
        on_progress(done, len(distinct))
    return features[rows_of]


def _encode_tree(
    network: DualEncoder, tower: CausalTextTransformer, sequences: Sequence[Sequence[int]]
) -> Iterator[_Encoded]:
    """Compute each distinct prefix once; what follows the end token is not computed at all."""
    device = network.text_projection.weight.device
    texts = _until_end(tower, sequences)
    for pack in packs(texts, _TOKENS if device.type == "cpu" else _TOKENS_GPU, multiple=_BLOCK):
        tokens, depths = (torch.from_numpy(values).to(device) for values in (pack.tokens, pack.depths))
        states = tower.encode_nodes(tokens, depths, *_reaches(pack, device))
        yield pack.rows.tolist(), network.text_projection(states)


def _until_end(tower: CausalTextTransformer, sequences: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Cut each sequence after the token that its text is read at."""
    return [s[: int(tower.end_positions(torch.tensor([s]))[0]) + 1] for s in sequences]


def _reaches(pack: Pack, device: torch.device) -> tuple[Reach, Reach]:
    nodes = np.arange(len(pack.tokens)).reshape(-1, _BLOCK)
    keys, visible = pack.block_keys(_BLOCK)
    end_keys, end_visible = pack.end_keys()
    return (
        _reach(nodes, keys, visible[:, None], device),
        _reach(pack.ends[:, None], end_keys, end_visible[:, None, None], device),
    )


def _reach(queries: np.ndarray, keys: np.ndarray, visible: np.ndarray, device: torch.device) -> Reach:
    return Reach(*(torch.from_numpy(values).to(device) for values in (queries, keys, visible)))


def _encode_batches(network: DualEncoder, sequences: Sequence[Sequence[int]], pad_token_id: int) -> Iterator[_Encoded]:
    """Encode whole texts, those of similar length together, so that little is padding."""
    device = network.text_projection.weight.device
    most = _TOKENS if device.type == "cpu" else _TOKENS_GPU
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]), reverse=True)
    first = 0
    while first < len(order):
        length = len(sequences[order[first]])
        rows = order[first : first + max(1, most // length)]
        first += len(rows)
        tokens = torch.full((len(rows), length), pad_token_id)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            tokens[i, : len(sequences[row])] = torch.tensor(sequences[row])
            mask[i, : len(sequences[row])] = 1
        yield rows, network.get_text_features(tokens.to(device), mask.to(device))
