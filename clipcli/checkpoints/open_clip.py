"""`open_clip_config.json`: what open_clip writes beside a state dict, and what of it this program can run.

It is enough to tell before a download whether a checkpoint can be run.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives to weights, the better format first."""

_FILTERS = {"bicubic": 3, "bilinear": 2}  # Pillow's numbers
_RESIZE_MODES = {"shortest": False, "squash": True}  # whether images become a square

# Keys that change what is computed, with the one value that this program computes.
_FIXED = {
    "vision_cfg": {"pool_type": "tok", "pos_embed_type": "learnable"},
    "text_cfg": {"pool_type": "argmax", "proj_type": "linear"},
}
# Keys whose meaning the tensors' shapes show, or which count for training or for other towers only; and the names of
# networks, which tell the family.
_HARMLESS = frozenset(
    "layers width head_width mlp_ratio patch_size image_size context_length vocab_size heads output_tokens "
    "patch_dropout attn_pooler_queries attn_pooler_heads timm_model_name timm_model_pretrained timm_pool timm_proj "
    "hf_model_name hf_model_pretrained hf_tokenizer_name tokenizer_mode tokenizer_kwargs hf_proj_type hf_pooler_type "
    "proj pooler_type pad_id eos_id".split()
)
_HEAD_WIDTH = 64
_KNOWN_MODELS = "`clip models list` names models that are known to work"

# What people call the networks of a key that is not run, by how its value begins.
_NETWORKS = {
    "fastvit": "MobileCLIP and MobileCLIP 2",
    "vit_base_mci": "MobileCLIP and MobileCLIP 2",
    "eva": "EVA02-CLIP",
    "vit_pe": "PE-lang and PE-spatial",
    "convnext": "ConvNeXt CLIP",
    "vitamin": "ViTamin",
    "roberta": "CLIP with an English RoBERTa",
    "mt5": "multilingual CLIP with mT5",
    "nllb": "NLLB-CLIP",
}

# Networks of other libraries that towers may be built of: two of timm, and two of the hub.
_PE_CORE = re.compile(r"vit_pe_core_(tiny|small|base|large|gigantic)_patch\d+_\d+(\.\w+)?")
_PLAIN_VIT = re.compile(r"vit_(tiny|small|base|large|huge)_patch\d+_\d+(\.\w+)?")
_XLM_ROBERTA = re.compile(r"(facebookai/)?xlm-roberta-(base|large)", re.IGNORECASE)
_PUBMEDBERT = re.compile(r"microsoft/biomednlp-(pubmed|biomed)bert-base-uncased-abstract(-fulltext)?", re.IGNORECASE)

# The family of an image tower and a text tower that are built of these.
_FAMILIES = {
    (None, None): "clip",
    (None, _XLM_ROBERTA): "xlm_roberta_clip",
    (_PLAIN_VIT, _PUBMEDBERT): "biomed_clip",
    (_PE_CORE, None): "pe_core",
}
_POOLINGS = {"mean_pooler": "mean", "cls_last_hidden_state_pooler": "first"}
_PROJECTIONS = ("mlp", "linear")
# How an image tower of timm's may be read and projected; without the keys open_clip reads the mean, and by a matrix.
_TIMM_USUAL = {"timm_pool": "avg", "timm_proj": "linear"}
_TIMM_KNOWN: dict[str, dict[str, tuple[str | None, ...]]] = {
    "biomed_clip": {"timm_pool": ("", "token"), "timm_proj": ("linear",)},
    "pe_core": {"timm_pool": ("map",), "timm_proj": (None, "")},
}
_CONTEXT_LENGTH = 77


@dataclass(frozen=True, slots=True)
class Settings:
    """What the tensors do not say, where a config does; None where nothing does.

    Attributes:
        activation: `gelu` or `quick_gelu`.
        vision_heads: Heads of the image tower.
        text_heads: Heads of the text tower.
        image_size: Pixels a side.
        preprocessing: More arguments of `foreign.hub_layout.preprocessing`.
        family: A key of `families.FAMILIES`.
        pooling: How a text tower of the hub's is read: one of `towers.POOLINGS`.
        context_length: Tokens a text of such a tower may have.
    """

    activation: str | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    image_size: int | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: {"square": False})
    family: str = "clip"
    pooling: str | None = None
    context_length: int = _CONTEXT_LENGTH


def is_open_clip(folder: Path) -> bool:
    """Whether a folder holds a checkpoint in open_clip's layout and none in the hub's."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def read_settings(path: Path) -> Settings:
    """Read the config beside a state dict.

    Raises:
        UnsupportedModelError: It asks for something that this program does not compute.
        DamagedModelError: The file is not an open_clip config.
    """
    content = read_json(path)
    model, images = _section(content, "model_cfg", path), _section(content, "preprocess_cfg", path)
    vision, text = (_section(model, name, path) for name in _FIXED)
    if model.get("multimodal_cfg"):
        raise _unsupported(path, "multimodal_cfg", "...")
    family = _family(vision, text, path)
    for name, section in (("vision_cfg", vision), ("text_cfg", text)):
        _refuse_unknown(section, _FIXED[name], f"{path}: {name}")
    is_of_hub = bool(text.get("hf_model_name"))
    _check_tokenizer(text, path, is_of_hub=is_of_hub)
    try:
        return Settings(
            activation="quick_gelu" if model.get("quick_gelu") else "gelu",
            vision_heads=_vision_heads(vision, family, path),
            text_heads=None if is_of_hub else int(text["heads"]),
            image_size=_edge(vision["image_size"], path),
            preprocessing=_preprocessing(images, path),
            family=family,
            pooling=_pooling(text, path) if is_of_hub else None,
            context_length=int(text.get("context_length", _CONTEXT_LENGTH)),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise DamagedModelError(f"{path} is not a CLIP config ({type(error).__name__}: {error})") from error


def _family(vision: Mapping[str, Any], text: Mapping[str, Any], path: Path) -> str:
    """The family of two towers.

    Raises:
        UnsupportedModelError: One is built of a network that is not run, or not beside the other.
    """
    image_network, text_network = vision.get("timm_model_name"), text.get("hf_model_name")
    for (plain_vit, hub_network), family in _FAMILIES.items():
        if _is_built_of(image_network, plain_vit) and _is_built_of(text_network, hub_network):
            return family
    for section, key, name, column in (
        ("vision_cfg", "timm_model_name", image_network, 0),
        ("text_cfg", "hf_model_name", text_network, 1),
    ):
        if not any(_is_built_of(name, networks[column]) for networks in _FAMILIES):
            raise _unsupported(f"{path}: {section}", key, name)
    raise UnsupportedModelError(
        f"{path}: this program does not run timm_model_name {image_network!r} beside hf_model_name {text_network!r}",
        hint=_KNOWN_MODELS,
    )


def _is_built_of(name: Any, network: re.Pattern[str] | None) -> bool:
    return not name if network is None else bool(network.fullmatch(str(name)))


def _vision_heads(vision: Mapping[str, Any], family: str, path: Path) -> int | None:
    """Heads of the image tower; None for one of timm's, whose width tells.

    Raises:
        UnsupportedModelError: One of timm's is read or projected otherwise than those of its family.
    """
    if not vision.get("timm_model_name"):
        width = vision["width"] * (32 if isinstance(vision["layers"], list) else 1)
        return int(width // vision.get("head_width", _HEAD_WIDTH))
    for key, known in _TIMM_KNOWN[family].items():
        value = vision.get(key, _TIMM_USUAL[key])
        if value not in known:
            raise _unsupported(f"{path}: vision_cfg", key, value)
    return None


def _pooling(text: Mapping[str, Any], path: Path) -> str:
    """How a text tower of the hub's is read; older versions of open_clip wrote the keys without `hf_` and `_type`.

    Raises:
        UnsupportedModelError: In a way that is not run, or it is projected in such a way.
    """
    pooler = text.get("hf_pooler_type", text.get("pooler_type", "mean_pooler"))
    projection = text.get("hf_proj_type", text.get("proj", "mlp"))
    if pooler not in _POOLINGS:
        raise _unsupported(f"{path}: text_cfg", "hf_pooler_type", pooler)
    if projection not in _PROJECTIONS:
        raise _unsupported(f"{path}: text_cfg", "hf_proj_type", projection)
    return _POOLINGS[pooler]


def _edge(size: Any, path: Path) -> int:
    """Pixels a side, however a square is written.

    Raises:
        UnsupportedModelError: Images are not square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UnsupportedModelError(
            f"{path}: image_size is {height} x {width}, and this program runs towers for square images only"
        )
    return int(height)


def _check_tokenizer(text: Mapping[str, Any], path: Path, *, is_of_hub: bool) -> None:
    """Refuse settings of the tokenizer that change ids; what open_clip does without them may be spelled out."""
    usual = {"clean": "whitespace" if is_of_hub else "lower", "context_length": text.get("context_length")}
    given = _section(text, "tokenizer_kwargs", path) if text.get("tokenizer_kwargs") else {}
    for key, value in given.items():
        if value and value != usual.get(key):
            raise _unsupported(f"{path}: text_cfg.tokenizer_kwargs", key, value)
    if is_of_hub and text.get("tokenizer_mode"):
        raise _unsupported(f"{path}: text_cfg", "tokenizer_mode", text["tokenizer_mode"])


def _preprocessing(section: Mapping[str, Any], path: Path) -> dict[str, Any]:
    interpolation, mode = section.get("interpolation", "bicubic"), section.get("resize_mode", "shortest")
    if interpolation not in _FILTERS:
        raise _unsupported(path, "interpolation", interpolation)
    if mode not in _RESIZE_MODES:
        raise _unsupported(path, "resize_mode", mode)
    given = {key: section[key] for key in ("mean", "std") if section.get(key)}
    given = {key: value if isinstance(value, list) else [value] * 3 for key, value in given.items()}
    return {"square": _RESIZE_MODES[mode], "resample": _FILTERS[interpolation], **given}


def _section(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = content.get(name, {})
    if not isinstance(section, dict):
        raise DamagedModelError(f"{path}: {name} is not an object")
    return section


def _refuse_unknown(section: Mapping[str, Any], fixed: Mapping[str, str], where: str) -> None:
    """Refuse what is switched on and would be passed over; null and false switch nothing on."""
    for key, value in section.items():
        if key in fixed and value != fixed[key]:
            raise _unsupported(where, key, value)
        if key not in fixed and key not in _HARMLESS and value:
            raise _unsupported(where, key, value)


def _unsupported(where: object, key: str, value: object) -> UnsupportedModelError:
    if key == "timm_model_name" and "siglip" in str(value):
        hint = "SigLIP is run in the hub's own layout: `clip models list` names it"
    else:
        name = str(value).rpartition("/")[2]
        title = next((title for start, title in _NETWORKS.items() if name.startswith(start)), None)
        hint = f"networks of {title} are not supported yet; {_KNOWN_MODELS}" if title else _KNOWN_MODELS
    return UnsupportedModelError(f"{where}: {key} is {value!r}, which this program does not run", hint=hint)
