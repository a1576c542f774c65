"""What every record of a tower has: sizes read from a `config.json`, each of its type and within bounds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from clipcli.errors import DamagedModelError, UnsupportedModelError

ACTIVATIONS = (
    "quick_gelu",
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_fast",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "relu",
    "silu",
    "swish",
)

# The largest published towers have 48 layers, images of 1,024 pixels, patches of 32, and vocabularies of 900,000.
_LARGEST_SIZE = 2**22
LARGEST_IMAGE = 4096
"""The largest height and width in pixels that a checkpoint may ask for."""
LARGEST = {
    "num_hidden_layers": 512,
    "num_attention_heads": 1024,
    "hidden_size": 2**16,
    "image_size": LARGEST_IMAGE,
    "patch_size": 256,
    "max_position_embeddings": 2**14,
    "num_patches": 2**16,
    "width": 2**12,
}


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The sizes that every tower has; the defaults are those of ViT-B and of BERT-base, which most families share."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> Self:
        """Read the fields of this record from one section of a `config.json`.

        Args:
            section: The JSON object.
            where: How to name the section in an error, such as `config.json: vision_config`.

        Raises:
            DamagedModelError: A value has the wrong type, or the heads do not divide the width.
            UnsupportedModelError: `hidden_act` is not one of `ACTIVATIONS`, or images have other channels than RGB.
        """
        given = {f.name: typed(section, f.name, f.type, f"{where}.{f.name}") for f in fields(cls)}
        config = cls(**{name: value for name, value in given.items() if value is not None})
        if config.hidden_act not in ACTIVATIONS:
            raise UnsupportedModelError(
                f"{where}.hidden_act is {config.hidden_act!r}, which this program does not know",
                hint=f"known activations: {', '.join(ACTIVATIONS)}",
            )
        if config.hidden_size % config.num_attention_heads:
            raise DamagedModelError(
                f"{where}: hidden_size {config.hidden_size} is not a multiple of "
                f"num_attention_heads {config.num_attention_heads}"
            )
        config.check(where)
        return config

    def check(self, where: str) -> None:
        """Check what the fields of one kind of tower mean together; `where` as in `from_section`.

        Raises:
            ModelError: They do not fit each other, or this program.
        """


def typed(section: Mapping[str, Any], key: str, kind: Any, where: str) -> Any:
    """A value checked against the type of its field, None if it is absent or null.

    Numbers may be whole where floats are meant. All whole numbers but token ids are sizes or counts, so at least 1, and
    bounded far above what any published checkpoint has: nothing is built of a size that no machine has room for. All
    floats are the small constants of norms.
    """
    value = section.get(key)
    if value is None or (kind is str and isinstance(value, str)):
        return value
    least, most = 0 if key.endswith("_token_id") else 1, LARGEST.get(key, _LARGEST_SIZE)
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    expected = {int: f"a whole number from {least} to {most:,}", float: "a number from 0 to 1", str: "a string"}[kind]
    raise DamagedModelError(f"{where} is {value!r}, expected {expected}")
