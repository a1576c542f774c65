"""What a `config.json` says of PE-core's image tower; those of the other families are in `towers`."""

from dataclasses import dataclass

from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.checkpoints.towers import VitConfig
from clipcli.errors import DamagedModelError

_POOL_HEADS = 8  # of the pool that reads the tower, however wide it is
_POOL_RATIO = 4  # of the width of the pool's perceptron to that of the tower


@dataclass(frozen=True, slots=True)
class PeVisionConfig(VitConfig):
    """PE-core's ViT, in which positions turn queries and keys, read by an attention pool (arXiv:2504.13181, section 2).

    `class_tokens` is 0 where the config leaves it out: the largest one has none.
    """

    class_tokens: int = 0

    @property
    def pool(self) -> TransformerConfig:
        """The sizes of the pool."""
        inner = _POOL_RATIO * self.hidden_size
        return TransformerConfig(self.hidden_size, inner, 1, _POOL_HEADS, self.hidden_act, self.layer_norm_eps)

    def check(self, where: str) -> None:
        """Refuse also a second class token, and a width that the pool or the turning cannot divide."""
        VitConfig.check(self, where)
        if self.class_tokens > 1:
            raise DamagedModelError(f"{where}.class_tokens is {self.class_tokens}, expected 1 or none")
        if self.hidden_size % _POOL_HEADS or self.hidden_size // self.num_attention_heads % 4:
            raise DamagedModelError(
                f"{where}: hidden_size {self.hidden_size} is not a multiple of {_POOL_HEADS} and of "
                f"4 times num_attention_heads {self.num_attention_heads}"
            )
