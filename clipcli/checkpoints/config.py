"""What a checkpoint's `config.json` decides, as frozen records. Imports no torch: commands that only look use it.

Keys that are absent or null take the default of the family's published configuration, because the files are written
with such keys left out. Unknown keys are ignored. A value of the wrong type, a size below 1, an unknown `model_type` or
`hidden_act` is an error that names it: a checkpoint never runs under a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json

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


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The sizes that every tower has."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> Self:
        """Read the fields of this record from one section of a `config.json`.

        Args:
            section: The JSON object.
            where: How to name the section in an error, such as `config.json: vision_config`.

        Raises:
            DamagedModelError: A value has the wrong type, or the heads do not divide the width.
            UnsupportedModelError: `hidden_act` is not one of `ACTIVATIONS`.
        """
        given = {f.name: _typed(section, f.name, f.type, f"{where}.{f.name}") for f in fields(cls)}
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
        return config


@dataclass(frozen=True, slots=True)
class VisionConfig(TransformerConfig):
    """The ViT image tower (arXiv:2010.11929), the same in all three families."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32


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
        if len(layers) != 4 or not all(type(blocks) is int and blocks > 0 for blocks in layers):
            raise DamagedModelError(f"{where}.num_hidden_layers is {layers!r}, expected four numbers of blocks")
        names = ("width", "num_attention_heads", "image_size")
        values = {name: _typed(section, name, int, f"{where}.{name}") for name in names}
        if None in values.values():
            raise DamagedModelError(f"{where} lacks one of {', '.join(names)}")
        config = cls(layers=tuple(layers), **values)
        if config.output_channels % config.num_attention_heads:
            raise DamagedModelError(
                f"{where}: 32 times width {config.width} is not a multiple of "
                f"num_attention_heads {config.num_attention_heads}"
            )
        return config


ImageTowerConfig = VisionConfig | ResNetConfig


@dataclass(frozen=True, slots=True)
class ClipTextConfig(TransformerConfig):
    """CLIP's causal text tower (arXiv:2103.00020, section 2.4)."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407
    pad_token_id: int = 1

    @property
    def context_length(self) -> int:
        """Tokens a text may have: as many as there are positions."""
        return self.max_position_embeddings

    @property
    def output_size(self) -> int:
        """Width of the state that the text projection takes."""
        return self.hidden_size


@dataclass(frozen=True, slots=True)
class BertTextConfig(TransformerConfig):
    """Chinese-CLIP's BERT text tower (arXiv:2211.01335, section 2.1)."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu"
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
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
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


TextConfig = ClipTextConfig | BertTextConfig | XlmRobertaTextConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One checkpoint: its family, its towers (None where the file has only the other) and its head, if it has one.

    Attributes:
        family: `clip`, `chinese_clip` or `altclip`.
        projection_dim: Width of the space that images and texts share.
        id2label: Class names of an image-classification head, in the order of its logits; None without a head.
    """

    family: str
    vision: ImageTowerConfig | None
    text: TextConfig | None
    projection_dim: int
    id2label: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """Where one family's configuration differs from the others'.

    What else differs follows from the type of the text config: the tower (`dual_encoder.TEXT_TOWERS`) and how it counts
    positions (`bert_text.POSITIONS`). How texts become ids stands in `text/families.py`; images are prepared as the
    checkpoint's image processor's settings say, whatever the family.
    """

    text_config: type[TextConfig]
    projection_dim: int


FAMILIES: dict[str, Family] = {
    "clip": Family(text_config=ClipTextConfig, projection_dim=512),
    "chinese_clip": Family(text_config=BertTextConfig, projection_dim=512),
    "altclip": Family(text_config=XlmRobertaTextConfig, projection_dim=768),
}

# Checkpoints of a single tower carry a `model_type` of their own and a flat config.
_VISION_ONLY = {"clip_vision_model": "clip"}
_TEXT_ONLY = {"clip_text_model": "clip"}


def read_config(folder: Path) -> ModelConfig:
    """Read `config.json` of a checkpoint folder in the hub's layout.

    Raises:
        DamagedModelError: The file is missing, is no JSON object, or holds a value of the wrong type.
        UnsupportedModelError: The `model_type` or an activation is not one this program runs.
    """
    path = folder / "config.json"
    return parse_config(read_json(path), path)


def parse_config(config: Mapping[str, Any], path: Path) -> ModelConfig:
    """Read what a `config.json` holds; `path` names it in messages.

    Raises:
        DamagedModelError: A value has the wrong type.
        UnsupportedModelError: As `read_config`.
    """
    vision_section = _section(config, "vision_config", path)
    _refuse_unconverted_resnet(config, vision_section, path)
    model_type = config.get("model_type")
    if model_type in _VISION_ONLY:
        family = _VISION_ONLY[model_type]
        vision = VisionConfig.from_section(config, str(path))
        return ModelConfig(family, vision, None, _projection_dim(config, path, FAMILIES[family].projection_dim))
    if model_type in _TEXT_ONLY:
        family = _TEXT_ONLY[model_type]
        text = FAMILIES[family].text_config.from_section(config, str(path))
        return ModelConfig(family, None, text, _projection_dim(config, path, FAMILIES[family].projection_dim))
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"{path}: model_type {model_type!r} is not a family that this program runs",
            hint=f"supported: {', '.join([*FAMILIES, *_VISION_ONLY, *_TEXT_ONLY])}",
        )
    row = FAMILIES[model_type]
    return ModelConfig(
        family=model_type,
        vision=_image_tower(vision_section).from_section(vision_section, f"{path}: vision_config"),
        text=row.text_config.from_section(_section(config, "text_config", path), f"{path}: text_config"),
        projection_dim=_projection_dim(config, path, row.projection_dim),
        id2label=_classification_labels(config, path),
    )


def _section(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """One tower's section; an older spelling, `<name>_dict`, counts alone where it is given, absent keys and all."""
    section: dict[str, Any] = {}
    for key in (name, f"{name}_dict"):
        value = config.get(key)
        if value is not None and not isinstance(value, dict):
            raise DamagedModelError(f"{path}: {key} is not an object")
        section = section if value is None else value
    return section


def _image_tower(section: Mapping[str, Any]) -> type[ImageTowerConfig]:
    ours = isinstance(section.get("num_hidden_layers"), list) and "width" in section
    return ResNetConfig if ours else VisionConfig


def _refuse_unconverted_resnet(config: Mapping[str, Any], vision: Mapping[str, Any], path: Path) -> None:
    """Refuse ResNet towers in spellings other than ours; a list of layer counts, one a stage, gives them away."""
    if _image_tower(vision) is ResNetConfig:
        return
    for section in (config, vision):
        for key in ("vision_layers", "layers", "num_hidden_layers"):
            stages = section.get(key)
            if isinstance(stages, list) or (isinstance(stages, str) and stages.startswith("[")):
                raise _unconverted_resnet(path, f"{key} {stages}")
    if "resnet" in str(vision.get("model_type", "")).lower():
        raise _unconverted_resnet(path, f"model_type {vision['model_type']}")


def _unconverted_resnet(path: Path, evidence: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path}: the image tower is a ResNet ({evidence}, as in Chinese-CLIP RN50), "
        "which is only run from its authors' own file",
        hint="use that file as the model (RN50.pt, clip_cn_rn50.pt), "
        "or use a ViT checkpoint, such as OFA-Sys/chinese-clip-vit-base-patch16",
    )


def _projection_dim(config: Mapping[str, Any], path: Path, default: int) -> int:
    value: int | None = _typed(config, "projection_dim", int, f"{path}: projection_dim")
    return default if value is None else value


def _classification_labels(config: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    if "CLIPForImageClassification" not in (config.get("architectures") or ()):
        return None
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        return tuple(str(labels[str(i)]) for i in range(len(labels)))
    except (KeyError, TypeError):
        raise DamagedModelError(f"{path}: id2label must map 0, 1, 2 ... to names") from None


def _typed(section: Mapping[str, Any], key: str, kind: Any, where: str) -> Any:
    """A value checked against the type of its field, None if it is absent or null.

    Numbers may be whole where floats are meant; all whole numbers but token ids are sizes or counts, so at least 1.
    """
    value = section.get(key)
    if value is None or (kind is str and isinstance(value, str)):
        return value
    least = 0 if key.endswith("_token_id") else 1
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    expected = {int: f"a whole number, at least {least}", float: "a number", str: "a string"}[kind]
    raise DamagedModelError(f"{where} is {value!r}, expected {expected}")
