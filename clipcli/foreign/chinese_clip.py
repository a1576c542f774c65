"""Chinese-CLIP's own files, `clip_cn_*.pt`: OpenAI's names for the image tower, BERT's for the text tower."""

from collections.abc import Mapping

from torch import Tensor

from clipcli.foreign import hub_layout
from clipcli.foreign.hub_layout import HubCheckpoint, count, heads_of, renamed, shape
from clipcli.foreign.openai import RESNET_RULES, VIT_RULES, is_resnet

# The authors' code has no other for the image tower, and no other config for the text tower than BERT's.
ACTIVATION = "quick_gelu"
_TEXT_ACTIVATION = "gelu"

_TEXT_RULES = (
    (r"bert\.(embeddings|encoder)\.", r"text_model.\1."),
    (r"text_projection$", "text_projection.weight"),
    (r"logit_scale$", "logit_scale"),
)
_POOLER = "bert.pooler."  # trained by nobody and run by nobody


def is_chinese_clip(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the text tower is a BERT beside an image tower with OpenAI's names."""
    return "bert.embeddings.word_embeddings.weight" in tensors


def read_chinese_clip(tensors: Mapping[str, Tensor], source: str) -> HubCheckpoint:
    """Turn a state dict of the authors' code into the hub's layout.

    Raises:
        ModelError: Tensors are missing, or of another network.
    """
    resnet = is_resnet(tensors)
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_POOLER)}
    hub = renamed(weights, (*(RESNET_RULES if resnet else VIT_RULES), *_TEXT_RULES), source)
    vision = hub_layout.resnet_config(hub, source) if resnet else hub_layout.vit_config(hub, source, ACTIVATION)
    vocab_size, width = shape(hub, "text_model.embeddings.word_embeddings.weight", source, 2)
    projection_dim = shape(hub, "text_projection.weight", source, 2)[0]
    text = {
        "hidden_size": width,
        "intermediate_size": shape(hub, "text_model.encoder.layer.0.intermediate.dense.weight", source, 2)[0],
        "num_hidden_layers": count(hub, r"text_model\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": heads_of(width, source),
        "hidden_act": _TEXT_ACTIVATION,
        "layer_norm_eps": 1e-12,
        "vocab_size": vocab_size,
        "max_position_embeddings": shape(hub, "text_model.embeddings.position_embeddings.weight", source, 2)[0],
        "type_vocab_size": shape(hub, "text_model.embeddings.token_type_embeddings.weight", source, 2)[0],
        "pad_token_id": 0,
    }
    config = {
        "architectures": ["ChineseCLIPModel"],
        "model_type": "chinese_clip",
        "dtype": "float32",
        "projection_dim": projection_dim,
        "text_config": {"model_type": "chinese_clip_text_model", **text},
        "vision_config": {"model_type": "chinese_clip_vision_model", "projection_dim": projection_dim, **vision},
    }
    return HubCheckpoint("chinese_clip", config, hub_layout.preprocessing(vision["image_size"], square=True), hub)
