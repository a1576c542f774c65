"""open_clip's checkpoints whose text tower is a network of the hub's: XLM-RoBERTa, or BiomedCLIP's PubMedBERT.

The image tower has OpenAI's names beside the one and timm's beside the other.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipcli.checkpoints.open_clip import Settings
from clipcli.errors import DamagedModelError, UsageError
from clipcli.foreign import hub_layout
from clipcli.foreign.hub_layout import HubCheckpoint, Tensors, count, heads_of, renamed, shape
from clipcli.foreign.openai import VIT_RULES

_WORDS = "text.transformer.embeddings.word_embeddings.weight"
_LAYER = r"vision_model.encoder.layers.\1"
_RULES = (
    *VIT_RULES,
    (r"visual\.trunk\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"visual\.trunk\.pos_embed$", "vision_model.embeddings.position_embedding.weight"),
    (r"visual\.trunk\.patch_embed\.proj\.weight$", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.trunk\.blocks\.(\d+)\.norm(\d)\.", rf"{_LAYER}.layer_norm\2."),
    (r"visual\.trunk\.blocks\.(\d+)\.attn\.qkv\.", rf"{_LAYER}.self_attn.in_proj_"),
    (r"visual\.trunk\.blocks\.(\d+)\.attn\.proj\.", rf"{_LAYER}.self_attn.out_proj."),
    (r"visual\.trunk\.blocks\.(\d+)\.mlp\.", rf"{_LAYER}.mlp."),
    (r"visual\.trunk\.norm\.", "vision_model.post_layernorm."),
    (r"visual\.head\.proj\.weight$", "visual_projection.weight"),
    (r"text\.transformer\.(embeddings|encoder)\.", r"text_model.\1."),
    (r"text\.proj\.0\.weight$", "text_model.hidden_projection.weight"),
    (r"text\.proj\.(2\.)?weight$", "text_projection.weight"),
    (r"logit_scale$", "logit_scale"),
)
_NOT_RUN = re.compile(r"text\.transformer\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)")

# What no tensor says; the published networks of either kind have no other.
_TEXT = {
    "xlm_roberta_clip": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "biomed_clip": {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0},
}


def is_open_clip_bert(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the text tower is a network of the hub's as open_clip keeps it."""
    return _WORDS in tensors


def read_open_clip_bert(tensors: Mapping[str, Tensor], source: str, settings: Settings) -> HubCheckpoint:
    """Turn a state dict of open_clip's into the hub's layout.

    Raises:
        UsageError: There is no config beside it, which alone says how texts are read.
        ModelError: Tensors are missing, or of another network.
    """
    if settings.pooling is None:
        raise UsageError(
            f"{source} has a text tower of the hub's, and no config beside it that says how it is read",
            hint="put the model's open_clip_config.json beside the file",
        )
    is_plain = settings.family == "biomed_clip"
    weights = {name: tensor for name, tensor in tensors.items() if not _NOT_RUN.match(name)}
    hub = renamed(_flattened(weights, source) if is_plain else weights, _RULES, source)
    activation = "gelu" if is_plain else settings.activation or "gelu"
    vision = hub_layout.vit_config(hub, source, activation, settings.vision_heads, settings.image_size)
    vision |= {"layer_norm_eps": 1e-6} if is_plain else {}
    config = {
        "model_type": settings.family,
        "dtype": "float32",
        "projection_dim": shape(hub, "text_projection.weight", source, 2)[0],
        "text_config": _text_config(hub, source, settings),
        "vision_config": vision,
    }
    images = hub_layout.preprocessing(vision["image_size"], **settings.preprocessing)
    return HubCheckpoint(settings.family, config, images, hub, text_cleaning="openai")


def _flattened(tensors: Mapping[str, Tensor], source: str) -> Tensors:
    """The ViT of timm with tables for its class token and positions, and the bias of the patches added to the latter.

    Raises:
        DamagedModelError: One of them is missing or of a strange shape.
    """
    names = [f"visual.trunk.{part}" for part in ("cls_token", "pos_embed", "patch_embed.proj.bias")]
    for name, dimensions in zip(names, (3, 3, 1), strict=True):
        shape(tensors, name, source, dimensions)
    result = dict(tensors)
    token, positions, bias = (result.pop(name) for name in names)
    if token.shape[:2] != (1, 1) or len(positions) != 1 or not token.shape[2:] == positions.shape[2:] == bias.shape:
        raise DamagedModelError(f"{source}: {', '.join(names)} do not fit each other")
    added = positions[0].float()
    return result | {names[0]: token[0, 0], names[1]: torch.cat([added[:1], added[1:] + bias.float()])}


def _text_config(hub: Tensors, source: str, settings: Settings) -> dict[str, Any]:
    vocab_size, width = shape(hub, "text_model.embeddings.word_embeddings.weight", source, 2)
    config = {
        "hidden_size": width,
        "intermediate_size": shape(hub, "text_model.encoder.layer.0.intermediate.dense.weight", source, 2)[0],
        "num_hidden_layers": count(hub, r"text_model\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": heads_of(width, source),
        "vocab_size": vocab_size,
        "max_position_embeddings": shape(hub, "text_model.embeddings.position_embeddings.weight", source, 2)[0],
        "type_vocab_size": shape(hub, "text_model.embeddings.token_type_embeddings.weight", source, 2)[0],
        "pooling": settings.pooling,
        "context_length": settings.context_length,
        **_TEXT[settings.family],
    }
    hidden = "text_model.hidden_projection.weight"
    return config | ({"hidden_projection": shape(hub, hidden, source, 2)[0]} if hidden in hub else {})
