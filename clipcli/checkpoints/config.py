"""What a checkpoint's `config.json` decides, as frozen records.

Keys that are absent or null take the default of the family's published configuration, because the files are written
with such keys left out. Unknown keys are ignored. A value of the wrong type, a size below 1, an unknown `model_type` or
`hidden_act` is an error that names it: a checkpoint never runs under a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.checkpoints.families import FAMILIES, IMAGE_TOWERS, MODEL_TYPES, TEXT_TOWERS, Family
from clipcli.checkpoints.sizes import typed
from clipcli.checkpoints.towers import (
    ClipTextConfig,
    ImageTowerConfig,
    ResNetConfig,
    SiglipTextConfig,
    TextConfig,
)
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json

_OTHER_TEXT_TOWERS = ("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "distilbert", "camembert", "t5", "gpt2")
_PLAIN_TOWERS = ("VisionModel", "TextModel")  # how the names of classes without a projection end


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One checkpoint: its family, its towers (None where the file has only the other) and its head, if it has one.

    Attributes:
        family: A key of `families.FAMILIES`.
        projection_dim: Width of the features: that of the space that images and texts share, or of the tower's own
            state where it has no projection.
        id2label: Class names of an image-classification head, in the order of its logits; None without a head.
    """

    family: str
    vision: ImageTowerConfig | None
    text: TextConfig | None
    projection_dim: int
    id2label: tuple[str, ...] | None = None
    has_projection: bool = True
    """Whether a tower alone was saved with the projection that maps it to the shared space."""

    @property
    def only_tower(self) -> str | None:
        """What the networks call the tower of a checkpoint that has just one; None for both."""
        if self.vision is not None and self.text is not None:
            return None
        return "text_model" if self.vision is None else "vision_model"


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
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise UnsupportedModelError(
            f"{path}: model_type {model_type!r} is not a family that this program runs",
            hint=f"supported: {', '.join(FAMILIES)}, and single towers of these",
        )
    if model_type in IMAGE_TOWERS or model_type in TEXT_TOWERS:
        return _single_tower(config, model_type, path)
    row = FAMILIES[model_type]
    text_section = _section(config, "text_config", path)
    _refuse_other_text_tower(text_section, row, path)
    vision = _image_tower(vision_section, row).from_section(vision_section, f"{path}: vision_config")
    text = row.text_config.from_section(text_section, f"{path}: text_config")
    if row.projection_dim is None and not isinstance(vision, ResNetConfig) and vision.hidden_size != text.output_size:
        raise DamagedModelError(
            f"{path}: the image tower's features have {vision.hidden_size} numbers, the text tower's {text.output_size}"
        )
    return ModelConfig(
        family=model_type,
        vision=vision,
        text=text,
        projection_dim=_projection_dim(config, path, row.projection_dim or text.output_size),
        id2label=_classification_labels(config, path),
    )


def _single_tower(config: Mapping[str, Any], model_type: str, path: Path) -> ModelConfig:
    """A checkpoint of one tower has a `model_type` of its own and a flat config.

    Only the name of its class tells whether it was saved with its projection.
    """
    family = IMAGE_TOWERS.get(model_type) or TEXT_TOWERS[model_type]
    row, vision, text = FAMILIES[family], None, None
    if model_type in IMAGE_TOWERS:
        vision = row.vision_config.from_section(config, str(path))
        width = vision.hidden_size
    else:
        text = row.text_config.from_section(config, str(path))
        width = text.output_size
    plain = row.projection_dim is None or any(name.endswith(_PLAIN_TOWERS) for name in architectures(config))
    projection_dim = width if plain else _projection_dim(config, path, row.projection_dim or width)
    return ModelConfig(family, vision, text, projection_dim, has_projection=not plain)


def architectures(config: Mapping[str, Any]) -> list[str]:
    """The classes of `transformers` that a checkpoint was saved by, as its `config.json` names them."""
    names = config.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def _section(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """One tower's section; an older spelling, `<name>_dict`, counts alone where it is given, absent keys and all."""
    section: dict[str, Any] = {}
    for key in (name, f"{name}_dict"):
        value = config.get(key)
        if value is not None and not isinstance(value, dict):
            raise DamagedModelError(f"{path}: {key} is not an object")
        section = section if value is None else value
    return section


def _is_resnet(section: Mapping[str, Any]) -> bool:
    return isinstance(section.get("num_hidden_layers"), list) and "width" in section


def _image_tower(section: Mapping[str, Any], row: Family) -> type[ImageTowerConfig]:
    return ResNetConfig if _is_resnet(section) else row.vision_config


def _refuse_unconverted_resnet(config: Mapping[str, Any], vision: Mapping[str, Any], path: Path) -> None:
    """Refuse ResNet towers in spellings other than ours; a list of layer counts, one a stage, gives them away."""
    if _is_resnet(vision):
        return
    for section in (config, vision):
        for key in ("vision_layers", "layers", "num_hidden_layers"):
            stages = section.get(key)
            if isinstance(stages, list) or (isinstance(stages, str) and stages.startswith("[")):
                raise _unconverted_resnet(path, f"{key} {stages}")
    if "resnet" in str(vision.get("model_type", "")).lower():
        raise _unconverted_resnet(path, f"model_type {vision['model_type']}")


def _refuse_other_text_tower(section: Mapping[str, Any], row: Family, path: Path) -> None:
    """Refuse a BERT or XLM-RoBERTa where the family has a causal tower: its defaults would describe another network."""
    kind = section.get("model_type")
    if issubclass(row.text_config, ClipTextConfig | SiglipTextConfig) and kind in _OTHER_TEXT_TOWERS:
        raise UnsupportedModelError(
            f"{path}: the text tower is a {kind}, which this program does not run beside {row.title}'s image tower",
            hint="text towers of this kind are run in Chinese-CLIP, AltCLIP and MetaCLIP 2",
        )


def _unconverted_resnet(path: Path, evidence: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path}: the image tower is a ResNet ({evidence}, as in Chinese-CLIP RN50), "
        "which is only supported as its authors' file",
        hint="use that file as the model (RN50.pt, clip_cn_rn50.pt), "
        "or use a ViT checkpoint, such as OFA-Sys/chinese-clip-vit-base-patch16",
    )


def _projection_dim(config: Mapping[str, Any], path: Path, default: int) -> int:
    value: int | None = typed(config, "projection_dim", int, f"{path}: projection_dim")
    return default if value is None else value


def _classification_labels(config: Mapping[str, Any], path: Path) -> tuple[str, ...] | None:
    heads = [name for name in architectures(config) if name.endswith("ForImageClassification")]
    if not heads:
        return None
    if heads != ["CLIPForImageClassification"]:
        raise UnsupportedModelError(
            f"{path}: {', '.join(map(str, heads))} is a classification head that this program does not run",
            hint="use the checkpoint with both towers that it was made from",
        )
    labels = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        return tuple(str(labels[str(i)]) for i in range(len(labels)))
    except (KeyError, TypeError):
        raise DamagedModelError(f"{path}: id2label must map 0, 1, 2 ... to names") from None
