"""From token ids to text features in numpy."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from clipcli.checkpoints.towers import BertStyleConfig, ClipTextConfig
from clipcli.compute.numpy_backend import bert, clip
from clipcli.compute.numpy_backend.cores import on_all_cores
from clipcli.compute.prefix_tree import Pack, packs
from clipcli.compute.sequences import Encoded, PaddedBatch, encode_distinct, padded_batches, until_end
from clipcli.progress import Progress, unobserved
from clipcli.scoring import Floats

# Tokens that a core takes at a time: more would make matrix products no faster, and leave other cores idle sooner.
TOKENS = 256


class NumpyTextEncoder:
    """A checkpoint's text tower, fed with token ids."""

    def __init__(
        self,
        config: ClipTextConfig | BertStyleConfig,
        width: int,
        weights: clip.Weights,
        *,
        check: Callable[[Floats], Floats] = lambda features: features,
        tokens_at_once: int = TOKENS,
    ) -> None:
        """Prepare to encode.

        Args:
            config: Of the text tower.
            width: Of the space that texts share with images.
            weights: The checkpoint's.
            check: Given all features; raises if they cannot be right.
            tokens_at_once: In a batch or a pack.
        """
        self._width, self._weights, self._check = width, weights, check
        self._tokens_at_once = tokens_at_once
        if isinstance(config, ClipTextConfig):
            self._encode = partial(self._encode_tree, config)
        else:
            self._encode = partial(self._encode_batches, config)

    def encode(self, ids: Sequence[Sequence[int]], on_progress: Progress = unobserved) -> Floats:
        """Encode token sequences.

        Shapes: M sequences of any length -> (M, P) float32, unit length.

        Args:
            ids: Token ids with special tokens, not padded.
            on_progress: Called with sequences done and sequences in all, after each pack or batch.
        """
        return self._check(encode_distinct(ids, self._width, self._encode, on_progress))

    def _encode_tree(self, config: ClipTextConfig, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        def encode(pack: Pack) -> Encoded:
            return pack.rows.tolist(), clip.text_features(pack, self._weights, config)

        return on_all_cores(encode, packs(until_end(sequences, config), self._tokens_at_once, multiple=clip.BLOCK))

    def _encode_batches(self, config: BertStyleConfig, sequences: Sequence[Sequence[int]]) -> Iterator[Encoded]:
        def encode(batch: PaddedBatch) -> Encoded:
            return batch.rows, bert.text_features(batch.tokens, batch.real, self._weights, config)

        return on_all_cores(encode, padded_batches(sequences, self._tokens_at_once, config.pad_token_id))
