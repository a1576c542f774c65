"""The names of OpenAI's code, which open_clip keeps: `visual.`, `transformer.resblocks.`, fused attention.

Chinese-CLIP's own files name their image tower the same way.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clipcli.checkpoints.open_clip import Settings
from clipcli.errors import UsageError
from clipcli.foreign import hub_layout
from clipcli.foreign.hub_layout import HubCheckpoint, Tensors, count, heads_of, renamed, shape

VIT_RULES = (
    (r"visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"visual\.conv1\.weight$", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"visual\.transformer\.resblocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
    (r"visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"visual\.proj$", "visual_projection.weight"),
)
RESNET_RULES = ((r"visual\.((conv|bn)[123]|layer[1234]|attnpool)\.", r"vision_model.\1."),)
TEXT_RULES = (
    (r"(text\.)?token_embedding\.weight$", "text_model.embeddings.token_embedding.weight"),
    (r"(text\.)?positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"(text\.)?transformer\.resblocks\.(\d+)\.", r"text_model.encoder.layers.\2."),
    (r"(text\.)?ln_final\.", "text_model.final_layer_norm."),
    (r"(text\.)?text_projection$", "text_projection.weight"),
    (r"logit_scale$", "logit_scale"),
)
# Sizes that OpenAI's archives keep beside the weights; no other program writes them.
_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})


def is_openai(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as in OpenAI's code, text tower and all."""
    return any(name in tensors for name in ("token_embedding.weight", "text.token_embedding.weight"))


def is_resnet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the image tower is a modified ResNet."""
    return "visual.attnpool.positional_embedding" in tensors


def stated_activation(tensors: Mapping[str, Tensor]) -> str | None:
    """Quick-GELU if the file carries the marks of OpenAI's release, whose networks all have it."""
    return "quick_gelu" if tensors.keys() >= _MARKS else None


def read_openai(tensors: Mapping[str, Tensor], source: str, settings: Settings) -> HubCheckpoint:
    """Turn a state dict with OpenAI's names into the hub's layout.

    Raises:
        UsageError: Nothing says which activation the network has.
        ModelError: Tensors are missing, or of another network.
    """
    if settings.activation is None:
        raise UsageError(
            f"{source} does not say which activation its network has, and the wrong one gives wrong answers",
            hint="put its open_clip_config.json beside it, or say so: `clip models convert` it with "
            '`activation="quick_gelu"` (OpenAI\'s own models) or gelu (most that open_clip trained)',
        )
    resnet = is_resnet(tensors)
    weights = {name: tensor for name, tensor in tensors.items() if name not in _MARKS}
    hub = renamed(weights, (*(RESNET_RULES if resnet else VIT_RULES), *TEXT_RULES), source)
    if resnet:
        vision = hub_layout.resnet_config(hub, source)
    else:
        vision = hub_layout.vit_config(hub, source, settings.activation, settings.vision_heads, settings.image_size)
    text = text_config(hub, source, settings)
    projection_dim = shape(hub, "text_projection.weight", source, 2)[0]
    config = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "dtype": "float32",
        "projection_dim": projection_dim,
        "text_config": {"model_type": "clip_text_model", "projection_dim": projection_dim, **text},
        "vision_config": {"model_type": "clip_vision_model", "projection_dim": projection_dim, **vision},
    }
    images = hub_layout.preprocessing(vision["image_size"], **settings.preprocessing)
    return HubCheckpoint("clip", config, images, hub, text_cleaning="openai")


def text_config(hub: Tensors, source: str, settings: Settings) -> dict[str, Any]:
    """`text_config` of CLIP's text tower under the hub's names.

    Raises:
        ModelError: A tensor that the sizes are read from is missing or of a strange shape.
    """
    vocab_size, width = shape(hub, "text_model.embeddings.token_embedding.weight", source, 2)
    return {
        "hidden_size": width,
        "intermediate_size": shape(hub, "text_model.encoder.layers.0.mlp.fc1.weight", source, 2)[0],
        "num_hidden_layers": count(hub, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": settings.text_heads or heads_of(width, source),
        "hidden_act": settings.activation,
        "layer_norm_eps": 1e-5,
        "vocab_size": vocab_size,
        "max_position_embeddings": shape(hub, "text_model.embeddings.position_embedding.weight", source, 2)[0],
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,  # where a text ends is its highest id
        "pad_token_id": vocab_size - 1,
    }
