"""What a `config.json` says of each tower, as frozen records: one for each kind of tower.

The defaults are those of the family's published configuration, because the files are written with such keys left out; a
record states those in which it differs from the kind of tower that it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from clipcli.checkpoints.sizes import LARGEST, TransformerConfig, typed
from clipcli.errors import DamagedModelError, UnsupportedModelError

_RGB = 3


@dataclass(frozen=True, slots=True)
class VitConfig(TransformerConfig):
    """The sizes that every ViT image tower has (arXiv:2010.11929)."""

    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 16

    @property
    def patches(self) -> int:
        """Patches of an image; what is left over at its right and lower edges is not seen."""
        return (self.image_size // self.patch_size) ** 2

    def check(self, where: str) -> None:
        """Refuse a tower for other images than RGB, and one whose patches are larger than its images."""
        _check_channels(self.num_channels, where)
        if self.patches == 0:
            raise DamagedModelError(f"{where}: patch_size {self.patch_size} is more than image_size {self.image_size}")


@dataclass(frozen=True, slots=True)
class VisionConfig(VitConfig):
    """CLIP's ViT, with a class token and a norm before the layers (arXiv:2103.00020, section 2.4)."""

    hidden_act: str = "quick_gelu"
    patch_size: int = 32


@dataclass(frozen=True, slots=True)
class PlainVisionConfig(VisionConfig):
    """BiomedCLIP's ViT (arXiv:2303.00915): that of arXiv:2010.11929, with a class token and no norm before the layers.

    The bias of its patches is part of their positions, which come to the same.
    """

    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    patch_size: int = 16


@dataclass(frozen=True, slots=True)
class SiglipVisionConfig(VitConfig):
    """SigLIP's ViT, read by an attention pool in place of a class token (arXiv:2303.15343, section 3)."""

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True)
class NaflexVisionConfig(TransformerConfig):
    """SigLIP 2's ViT for images of any shape (arXiv:2502.14786, section 2.4).

    `num_patches` is that of its square table of positions, which is resized to the shape of each image.
    """

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    num_channels: int = 3
    patch_size: int = 16
    num_patches: int = 256

    @property
    def patches(self) -> int:
        """Patches of an image, about."""
        return self.num_patches

    def check(self, where: str) -> None:
        """Refuse a tower for other images than RGB."""
        _check_channels(self.num_channels, where)


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """The modified ResNet image tower of some CLIP and Chinese-CLIP checkpoints (arXiv:2103.00020, section 2.4).

    In a `config.json` its `num_hidden_layers` is a list, blocks a stage, where a ViT has one number.
    """

    layers: tuple[int, int, int, int]
    width: int
    num_attention_heads: int
    image_size: int
    num_channels: int = 3

    @property
    def output_channels(self) -> int:
        """Channels of the last feature map."""
        return 32 * self.width

    @property
    def grid_size(self) -> int:
        """Height and width of the last feature map."""
        return self.image_size // 32

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> Self:
        """Read `vision_config`.

        Raises:
            DamagedModelError: A value is missing or has the wrong type, or the heads do not divide the width.
        """
        layers = section["num_hidden_layers"]
        most = LARGEST["num_hidden_layers"]
        if len(layers) != 4 or not all(type(blocks) is int and 0 < blocks <= most for blocks in layers):
            raise DamagedModelError(f"{where}.num_hidden_layers is {layers!r}, expected four numbers of blocks")
        names = ("width", "num_attention_heads", "image_size")
        values = {name: typed(section, name, int, f"{where}.{name}") for name in names}
        if None in values.values():
            raise DamagedModelError(f"{where} lacks one of {', '.join(names)}")
        config = cls(layers=tuple(layers), **values)
        if config.output_channels % config.num_attention_heads:
            raise DamagedModelError(
                f"{where}: 32 times width {config.width} is not a multiple of "
                f"num_attention_heads {config.num_attention_heads}"
            )
        return config


ImageTowerConfig = VitConfig | NaflexVisionConfig | ResNetConfig

# Configs of CLIP written before the end-of-text id was recorded say 2 and mean the highest id of the vocabulary.
_UNRECORDED_EOS = 2


@dataclass(frozen=True, slots=True)
class ClipTextConfig(TransformerConfig):
    """CLIP's causal text tower (arXiv:2103.00020, section 2.4)."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    hidden_act: str = "quick_gelu"
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407
    pad_token_id: int = 1

    @property
    def end_token_id(self) -> int | None:
        """The id at which a text is read, where it first occurs; None for the highest id of the text."""
        return None if self.eos_token_id == _UNRECORDED_EOS else self.eos_token_id

    @property
    def context_length(self) -> int:
        """Tokens a text may have: as many as there are positions."""
        return self.max_position_embeddings

    def end_position(self, ids: Sequence[int]) -> int:
        """Where a text is read, see `end_token_id`; at its start if it has no end."""
        end = max(ids) if self.end_token_id is None else self.end_token_id
        return ids.index(end) if end in ids else 0

    @property
    def output_size(self) -> int:
        """Width of the state that the text projection takes."""
        return self.hidden_size


@dataclass(frozen=True, slots=True)
class MetaClip2TextConfig(ClipTextConfig):
    """MetaCLIP 2's text tower (arXiv:2507.22062): CLIP's, over a vocabulary whose end-of-text id really is 2."""

    @property
    def end_token_id(self) -> int | None:
        """The id at which a text is read, where it first occurs."""
        return self.eos_token_id


@dataclass(frozen=True, slots=True)
class SiglipTextConfig(TransformerConfig):
    """SigLIP's text tower (arXiv:2303.15343, section 3), read at the last position whatever stands there.

    `projection_size` is 0 where the config leaves it out, which means `hidden_size`.
    """

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    vocab_size: int = 32000
    max_position_embeddings: int = 64
    projection_size: int = 0

    @property
    def context_length(self) -> int:
        """Tokens a text has, padding included: as many as there are positions."""
        return self.max_position_embeddings

    @property
    def output_size(self) -> int:
        """Width of a text's features; the tower's own head makes them."""
        return self.projection_size or self.hidden_size


@dataclass(frozen=True, slots=True)
class BertTextConfig(TransformerConfig):
    """Chinese-CLIP's BERT text tower (arXiv:2211.01335, section 2.1)."""

    layer_norm_eps: float = 1e-12
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0

    @property
    def max_length(self) -> int:
        """Tokens that there are positions for."""
        return self.max_position_embeddings

    @property
    def context_length(self) -> int:
        """Tokens a text may have: 52, as the authors run it, though BERT has more positions."""
        return min(52, self.max_length)

    @property
    def output_size(self) -> int:
        """Width of the state that the text projection takes."""
        return self.hidden_size


@dataclass(frozen=True, slots=True)
class XlmRobertaTextConfig(TransformerConfig):
    """AltCLIP's XLM-RoBERTa text tower (arXiv:2211.06679, section 3.1); `project_dim` is the teacher's width."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    vocab_size: int = 250002
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    pad_token_id: int = 1
    project_dim: int = 768

    @property
    def max_length(self) -> int:
        """Tokens that there are positions for: they count from the padding id + 1."""
        return self.max_position_embeddings - self.pad_token_id - 1

    @property
    def context_length(self) -> int:
        """Tokens a text may have: 77, like the teacher's, though XLM-RoBERTa has more positions."""
        return min(77, self.max_length)

    @property
    def output_size(self) -> int:
        """Width of the state that the text projection takes."""
        return self.project_dim


POOLINGS = ("mean", "first")
"""How the states of a text's tokens become one: the mean of all but padding, or that of the first token."""


@dataclass(frozen=True, slots=True)
class PooledTextConfig(TransformerConfig):
    """A BERT or XLM-RoBERTa as open_clip runs it: its states are pooled, and projected in one step or in two.

    `hidden_projection` is the width between two steps, and 0 where there is one. What cuts a text is `context_length`,
    not the positions, of which there are more. The defaults are those of a BERT.
    """

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    pooling: str = "first"
    hidden_projection: int = 0
    context_length: int = 256

    @property
    def max_length(self) -> int:
        """Tokens that there are positions for."""
        return self.max_position_embeddings

    @property
    def output_size(self) -> int:
        """Width of the state that the text projection takes."""
        return self.hidden_projection or self.hidden_size

    def check(self, where: str) -> None:
        """Refuse another pooling, and texts that are longer than there are positions."""
        if self.pooling not in POOLINGS:
            raise UnsupportedModelError(
                f"{where}.pooling is {self.pooling!r}, which this program does not know",
                hint=f"known poolings: {', '.join(POOLINGS)}",
            )
        if self.context_length > self.max_length:
            raise DamagedModelError(
                f"{where}: context_length {self.context_length} exceeds {self.max_length} positions"
            )


@dataclass(frozen=True, slots=True)
class PooledXlmRobertaTextConfig(PooledTextConfig):
    """The text tower of open_clip's multilingual CLIP (arXiv:1911.02116)."""

    vocab_size: int = 250002
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    pad_token_id: int = 1
    pooling: str = "mean"
    context_length: int = 77

    @property
    def max_length(self) -> int:
        """Tokens that there are positions for: they count from the padding id + 1."""
        return self.max_position_embeddings - self.pad_token_id - 1


@dataclass(frozen=True, slots=True)
class PooledBertTextConfig(PooledTextConfig):
    """BiomedCLIP's text tower, PubMedBERT (arXiv:2007.15779)."""

    layer_norm_eps: float = 1e-12


BertStyleConfig = BertTextConfig | XlmRobertaTextConfig | PooledTextConfig
TextConfig = ClipTextConfig | SiglipTextConfig | BertStyleConfig
COUNTED_FROM_PADDING = (XlmRobertaTextConfig, PooledXlmRobertaTextConfig)
"""The BERT-style towers whose positions count up from the padding id + 1, as RoBERTa's do (arXiv:1907.11692)."""


def _check_channels(channels: int, where: str) -> None:
    if channels != _RGB:
        raise UnsupportedModelError(
            f"{where}.num_channels is {channels}, but this program gives a model three channels: red, green, blue",
            hint="use a checkpoint for RGB images",
        )
