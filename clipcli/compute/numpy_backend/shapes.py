"""Names and shapes of all tensors of a checkpoint: what the towers in `clip` and `bert` are made of.

The torch networks find the same out by building themselves without data; a test holds the two to each other.
"""

from collections.abc import Iterator

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.checkpoints.towers import (
    BertStyleConfig,
    ClipTextConfig,
    PlainVisionConfig,
    PooledTextConfig,
    VisionConfig,
    XlmRobertaTextConfig,
)
from clipcli.checkpoints.weights import LOGIT_SCALE

_Shapes = Iterator[tuple[str, tuple[int, ...]]]


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """What the files of a checkpoint with ViT and text tower must hold, or with one of them."""
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(config.vision, VisionConfig):
        shapes |= dict(_image_tower(config.vision))
        shapes["visual_projection.weight"] = (config.projection_dim, config.vision.hidden_size)
    if isinstance(config.text, ClipTextConfig | BertStyleConfig):
        shapes |= dict(_causal_tower(config.text) if isinstance(config.text, ClipTextConfig) else _bert(config.text))
        shapes["text_projection.weight"] = (config.projection_dim, config.text.output_size)
    if config.vision is not None and config.text is not None:
        shapes[LOGIT_SCALE] = ()
    return shapes


def _image_tower(config: VisionConfig) -> _Shapes:
    width, patch = config.hidden_size, config.patch_size
    yield "vision_model.embeddings.class_embedding", (width,)
    yield "vision_model.embeddings.patch_embedding.weight", (width, config.num_channels, patch, patch)
    yield "vision_model.embeddings.position_embedding.weight", ((config.image_size // patch) ** 2 + 1, width)
    if not isinstance(config, PlainVisionConfig):
        yield from _norm("vision_model.pre_layrnorm", width)
    yield from _encoder("vision_model.encoder.layers", config)
    yield from _norm("vision_model.post_layernorm", width)


def _causal_tower(config: ClipTextConfig) -> _Shapes:
    width = config.hidden_size
    yield "text_model.embeddings.token_embedding.weight", (config.vocab_size, width)
    yield "text_model.embeddings.position_embedding.weight", (config.max_position_embeddings, width)
    yield from _encoder("text_model.encoder.layers", config)
    yield from _norm("text_model.final_layer_norm", width)


def _encoder(name: str, config: TransformerConfig) -> _Shapes:
    width, inner = config.hidden_size, config.intermediate_size
    for i in range(config.num_hidden_layers):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{name}.{i}.self_attn.{part}", width, width)
        yield from _linear(f"{name}.{i}.mlp.fc1", width, inner)
        yield from _linear(f"{name}.{i}.mlp.fc2", inner, width)
        yield from _norm(f"{name}.{i}.layer_norm1", width)
        yield from _norm(f"{name}.{i}.layer_norm2", width)


def _bert(config: BertStyleConfig) -> _Shapes:
    is_alt = isinstance(config, XlmRobertaTextConfig)
    tower, width, inner = "text_model.roberta" if is_alt else "text_model", config.hidden_size, config.intermediate_size
    yield f"{tower}.embeddings.word_embeddings.weight", (config.vocab_size, width)
    yield f"{tower}.embeddings.position_embeddings.weight", (config.max_position_embeddings, width)
    yield f"{tower}.embeddings.token_type_embeddings.weight", (config.type_vocab_size, width)
    yield from _norm(f"{tower}.embeddings.LayerNorm", width)
    for i in range(config.num_hidden_layers):
        name = f"{tower}.encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _linear(f"{name}.attention.{part}", width, width)
        yield from _norm(f"{name}.attention.output.LayerNorm", width)
        yield from _linear(f"{name}.intermediate.dense", width, inner)
        yield from _linear(f"{name}.output.dense", inner, width)
        yield from _norm(f"{name}.output.LayerNorm", width)
    if isinstance(config, XlmRobertaTextConfig):
        yield from _norm("text_model.pre_LN", width)
        yield from _linear("text_model.transformation", width, config.project_dim)
    if isinstance(config, PooledTextConfig) and config.hidden_projection:
        yield "text_model.hidden_projection.weight", (config.hidden_projection, width)


def _linear(name: str, width_in: int, width_out: int) -> _Shapes:
    yield f"{name}.weight", (width_out, width_in)
    yield f"{name}.bias", (width_out,)


def _norm(name: str, width: int) -> _Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
