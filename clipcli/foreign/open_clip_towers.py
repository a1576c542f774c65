"""open_clip's checkpoints with a tower of another library.

A text tower of the hub's, XLM-RoBERTa or BiomedCLIP's PubMedBERT; an image tower of timm's, BiomedCLIP's or PE-core's.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipcli.checkpoints.open_clip import Settings
from clipcli.errors import DamagedModelError, UsageError
from clipcli.foreign import hub_layout, openai
from clipcli.foreign.hub_layout import HubCheckpoint, Tensors, count, heads_of, renamed, shape

_WORDS = "text.transformer.embeddings.word_embeddings.weight"
_CLASS_TOKEN, _POSITIONS = "visual.trunk.cls_token", "visual.trunk.pos_embed"
_PATCH_BIAS, _PROBE = "visual.trunk.patch_embed.proj.bias", "visual.trunk.attn_pool.latent"
_POOL = "vision_model.head"
_LAYER = r"vision_model.encoder.layers.\1"
_RULES = (
    *openai.VIT_RULES,
    *openai.TEXT_RULES,
    (r"visual\.trunk\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"visual\.trunk\.pos_embed$", "vision_model.embeddings.position_embedding.weight"),
    (r"visual\.trunk\.patch_embed\.proj\.weight$", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.trunk\.blocks\.(\d+)\.norm(\d)\.", rf"{_LAYER}.layer_norm\2."),
    (r"visual\.trunk\.blocks\.(\d+)\.attn\.qkv\.", rf"{_LAYER}.self_attn.in_proj_"),
    (r"visual\.trunk\.blocks\.(\d+)\.attn\.proj\.", rf"{_LAYER}.self_attn.out_proj."),
    (r"visual\.trunk\.blocks\.(\d+)\.mlp\.", rf"{_LAYER}.mlp."),
    (r"visual\.trunk\.norm\.", "vision_model.post_layernorm."),
    (r"visual\.trunk\.norm_pre\.", "vision_model.pre_layrnorm."),
    (r"visual\.trunk\.attn_pool\.latent$", f"{_POOL}.probe"),
    (r"visual\.trunk\.attn_pool\.(q|kv)\.", rf"{_POOL}.attention.\1."),
    (r"visual\.trunk\.attn_pool\.proj\.", f"{_POOL}.attention.out_proj."),
    (r"visual\.trunk\.attn_pool\.norm\.", f"{_POOL}.layernorm."),
    (r"visual\.trunk\.attn_pool\.mlp\.", f"{_POOL}.mlp."),
    (r"visual\.trunk\.head\.", "visual_projection."),
    (r"visual\.head\.proj\.weight$", "visual_projection.weight"),
    (r"text\.transformer\.(embeddings|encoder)\.", r"text_model.\1."),
    (r"text\.proj\.0\.weight$", "text_model.hidden_projection.weight"),
    (r"text\.proj\.(2\.)?weight$", "text_projection.weight"),
)
_NOT_RUN = re.compile(r"text\.transformer\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)")

# What no tensor says; the published networks of either kind have no other.
_TEXT = {
    "xlm_roberta_clip": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "biomed_clip": {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0},
}


def has_towers_of_others(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the text tower is a network of the hub's, or the image tower one of timm's, as open_clip keeps them."""
    return _WORDS in tensors or _POSITIONS in tensors


def read_towers_of_others(tensors: Mapping[str, Tensor], source: str, settings: Settings) -> HubCheckpoint:
    """Turn a state dict of open_clip's into the hub's layout.

    Raises:
        UsageError: There is no config beside it, which alone says how the towers are read.
        ModelError: Tensors are missing, or of another network.
    """
    if settings.family == "clip":
        raise UsageError(
            f"{source} has a tower of another library, and no config beside it that says how it is read",
            hint="put the model's open_clip_config.json beside the file",
        )
    weights = {name: tensor for name, tensor in tensors.items() if not _NOT_RUN.match(name)}
    hub = _with_whole_pool(renamed(_with_tables(weights, source), _RULES, source), source)
    activation = "gelu" if _POSITIONS in tensors else settings.activation or "gelu"
    vision = hub_layout.vit_config(hub, source, activation, settings.vision_heads, settings.image_size)
    is_pe_core = settings.family == "pe_core"
    vision |= {"class_tokens": 1} if is_pe_core and _CLASS_TOKEN in tensors else {}
    vision |= {"layer_norm_eps": 1e-6} if settings.family == "biomed_clip" else {}
    config = {
        "model_type": settings.family,
        "dtype": "float32",
        "projection_dim": shape(hub, "text_projection.weight", source, 2)[0],
        "text_config": (openai.text_config if is_pe_core else _text_config)(hub, source, settings),
        "vision_config": vision,
    }
    images = hub_layout.preprocessing(vision["image_size"], **settings.preprocessing)
    return HubCheckpoint(settings.family, config, images, hub, text_cleaning="openai")


def _with_tables(tensors: Tensors, source: str) -> Tensors:
    """Put tables in place of batches of one in a ViT of timm's, and add the bias of its patches to their positions.

    Raises:
        DamagedModelError: One of them is of a strange shape.
    """
    if _POSITIONS not in tensors:
        return tensors
    width = shape(tensors, _POSITIONS, source, 3)[2]
    usual = {_POSITIONS: (1, tensors[_POSITIONS].shape[1], width), _CLASS_TOKEN: (1, 1, width), _PATCH_BIAS: (width,)}
    for name, wanted in usual.items():
        if name in tensors and tensors[name].shape != wanted:
            raise DamagedModelError(f"{source}: {name} has shape {list(tensors[name].shape)}, expected {list(wanted)}")
    result = {name: tensor for name, tensor in tensors.items() if name not in usual}
    table, first = tensors[_POSITIONS][0], 0
    if _CLASS_TOKEN in tensors:
        result[_CLASS_TOKEN], first = tensors[_CLASS_TOKEN][0, 0], 1
    if _PATCH_BIAS in tensors:
        table = torch.cat([table[:first].float(), table[first:].float() + tensors[_PATCH_BIAS].float()])
    return result | {_POSITIONS: table}


def _with_whole_pool(hub: Tensors, source: str) -> Tensors:
    """A pool whose projection of the probe and that of the tokens are one, as the hub's names have it.

    Raises:
        DamagedModelError: One of them is missing or of a strange shape.
    """
    if f"{_POOL}.probe" not in hub:
        return hub
    result = dict(hub)
    for part, dimensions in (("weight", 2), ("bias", 1)):
        names = [f"{_POOL}.attention.{projection}.{part}" for projection in ("q", "kv")]
        shapes = [shape(hub, name, source, dimensions) for name in names]
        if shapes[0][1:] != shapes[1][1:]:
            raise DamagedModelError(f"{source}: the projections of its attention pool do not fit each other")
        result[f"{_POOL}.attention.in_proj_{part}"] = torch.cat([result.pop(name) for name in names])
    return result


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
