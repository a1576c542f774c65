"""What every layout is turned into: the names, the configs and the preprocessing of the hub's layout."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor

from clipcli.errors import DamagedModelError, UnsupportedModelError

Tensors = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]

BICUBIC = 3
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Heads are 64 wide, but for the published image towers of these widths.
_HEAD_WIDTHS = {1280: 80, 1408: 88, 1536: 96, 1664: 104, 1792: 112}
_HEAD_WIDTH = 64

_IN_A_LAYER = (
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.", ".self_attn."),
)
_FUSED = re.compile(r"\.in_proj_(weight|bias)$")
_PROJECTIONS = ("visual_projection.weight", "text_projection.weight")


@dataclass(frozen=True, slots=True)
class HubCheckpoint:
    """A checkpoint as the hub would have it, but for its tokenizer.

    Attributes:
        family: A key of `checkpoints.families.FAMILIES`.
        config: What `config.json` says.
        preprocessing: What `preprocessor_config.json` says; empty for a text tower alone.
        tensors: Weights by the hub's names, in the number format of the file.
        text_cleaning: How its authors clean texts, `openai` or `none`.
    """

    family: str
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    tensors: Tensors
    text_cleaning: str = "none"


def renamed(tensors: Mapping[str, Tensor], rules: Rules, source: str) -> Tensors:
    """Give tensors the hub's names: the first rule that fits, then the names within a layer.

    Fused projections of attention are split in three. Projections that are stored as bare matrices, (in, out), are
    transposed; as weights of a layer they are (out, in) already.

    Raises:
        UnsupportedModelError: No rule fits a name.
    """
    result: Tensors = {}
    for name, tensor in tensors.items():
        new = _new_name(name, rules)
        if new is None:
            raise UnsupportedModelError(
                f"{source} holds {name}, which no network that this program runs has",
                hint="it is a checkpoint of another architecture, or of a variant that is not supported",
            )
        for part, value in _parts(new, tensor, is_layer=name.endswith(".weight")):
            if part in result:
                raise DamagedModelError(f"{source} holds {name} a second time under another name")
            result[part] = value
    return result


def _parts(name: str, tensor: Tensor, *, is_layer: bool) -> Iterator[tuple[str, Tensor]]:
    """What one stored tensor becomes; one of a shape that cannot be is left to the check against the config."""
    fused = _FUSED.search(name)
    if fused and tensor.ndim and tensor.shape[0] % 3 == 0:
        for part, third in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{name[: fused.start()]}.{part}_proj.{fused[1]}", third.clone()
    elif name in _PROJECTIONS and tensor.ndim == 2 and not is_layer:
        yield name, tensor.T.contiguous()
    elif name == "logit_scale" and tensor.numel() == 1:
        yield name, tensor.reshape(())
    else:
        yield name, tensor.contiguous()


def _new_name(name: str, rules: Rules) -> str | None:
    for pattern, replacement in rules:
        new, fits = re.subn(f"^{pattern}", replacement, name)
        if fits:
            for inner, substitute in _IN_A_LAYER if ".layers." in new else ():
                new = re.sub(inner, substitute, new)
            return new
    return None


def shape(tensors: Mapping[str, Tensor], name: str, source: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor that must be there.

    Raises:
        DamagedModelError: It is not, or has another number of dimensions.
    """
    if name not in tensors:
        raise DamagedModelError(f"{source} lacks {name}, or another name for it", hint="the file is incomplete")
    found = tuple(tensors[name].shape)
    if len(found) != dimensions:
        raise DamagedModelError(f"{source}: {name} has shape {list(found)}, expected {dimensions} dimensions")
    return found


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand in the first group of a pattern over all names."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def heads_of(width: int, source: str, *, vit: bool = False) -> int:
    """How many heads a published tower of a width has: a state dict does not say.

    Args:
        width: Of the tower.
        source: The file, for messages.
        vit: Whether it is a ViT; the widest of them have wider heads.

    Raises:
        UnsupportedModelError: No published tower is of this width.
    """
    head_width = _HEAD_WIDTHS.get(width, _HEAD_WIDTH) if vit else _HEAD_WIDTH
    if width % head_width:
        raise UnsupportedModelError(
            f"{source}: a width of {width} does not tell how many heads there are",
            hint="put the model's open_clip_config.json beside the file",
        )
    return width // head_width


def vit_config(
    tensors: Mapping[str, Tensor], source: str, activation: str, heads: int | None = None, image_size: int | None = None
) -> dict[str, Any]:
    """`vision_config` of a ViT under the hub's names.

    Raises:
        ModelError: A tensor that the sizes are read from is missing or of a strange shape.
    """
    width, channels, _, patch = shape(tensors, "vision_model.embeddings.patch_embedding.weight", source, 4)
    positions, _ = shape(tensors, "vision_model.embeddings.position_embedding.weight", source, 2)
    return {
        "hidden_size": width,
        "intermediate_size": shape(tensors, "vision_model.encoder.layers.0.mlp.fc1.weight", source, 2)[0],
        "num_hidden_layers": count(tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": heads or heads_of(width, source, vit=True),
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        "num_channels": channels,
        "image_size": image_size or isqrt(positions - 1) * patch,
        "patch_size": patch,
    }


def resnet_config(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """`vision_config` of a modified ResNet; its heads are 64 wide in all published models.

    Raises:
        ModelError: As `vit_config`.
    """
    width = shape(tensors, "vision_model.conv3.weight", source, 4)[0]
    positions, channels = shape(tensors, "vision_model.attnpool.positional_embedding", source, 2)
    return {
        "num_hidden_layers": [count(tensors, rf"vision_model\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)],
        "width": width,
        "num_attention_heads": heads_of(channels, source),
        "image_size": 32 * isqrt(positions - 1),
    }


def preprocessing(
    image_size: int,
    *,
    square: bool,
    resample: int = BICUBIC,
    mean: Iterable[float] = CLIP_MEAN,
    std: Iterable[float] = CLIP_STD,
) -> dict[str, Any]:
    """`preprocessor_config.json`: resize the shortest edge and cut the middle out, or resize to a square."""
    edges = {"height": image_size, "width": image_size}
    return {
        "image_processor_type": "ChineseCLIPImageProcessor" if square else "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": edges if square else {"shortest_edge": image_size},
        "resample": resample,
        "do_center_crop": not square,
        "crop_size": edges,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [*mean],
        "image_std": [*std],
    }
