"""Which library computes: numpy for small jobs, torch for large ones and for what numpy cannot do. Chosen here alone.

torch computes faster, once it has been imported and has rearranged the weights, which takes longer than a small job.
The choice follows from what there is to do and never from the time that anything takes, so that the same command gives
the same digits. Both compute in float32 on the CPU, and their features differ by less than 2e-6 in cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.checkpoints.towers import (
    BertStyleConfig,
    ClipTextConfig,
    VisionConfig,
)
from clipcli.compute.devices import Placement

Backend = Literal["numpy", "torch"]

# Families whose towers are written in numpy, and the towers.
_FAMILIES = ("clip", "chinese_clip", "altclip", "xlm_roberta_clip", "biomed_clip")
_TOWERS = (VisionConfig, ClipTextConfig, BertStyleConfig, type(None))

# Multiplications of the largest job for numpy. Measured on two cores with ViT-B/32, in processor time: torch takes
# 2.4 s to be imported and to rearrange the weights, and then 40 ms an image where numpy takes 59. So it would gain from
# 130 images on; half of that leaves room for machines on which it starts sooner. Prompts cost both the same.
SMALL_JOB = 64 * 4.25e9

# Tokens of a prompt that are computed, where some of its beginning is another's too.
_TOKENS_OF_PROMPT = 8


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to compute; None for a number that is not known, as of a stream."""

    images: int | None = 0
    prompts: int | None = 0


def choose_backend(work: Work, config: ModelConfig, obstacle: str | None) -> Backend:
    """Choose for a job, supposing that torch is installed.

    Args:
        work: New images and prompts: those whose features are not cached.
        config: How large the towers are.
        obstacle: What numpy cannot do (`why_torch`), or None.
    """
    if obstacle is not None or work.images is None or work.prompts is None:
        return "torch"
    job = work.images * _image_cost(config) + work.prompts * _TOKENS_OF_PROMPT * _token_cost(config.text)
    return "numpy" if job <= SMALL_JOB else "torch"


def why_torch(config: ModelConfig, weight_files: Sequence[Path], placement: Placement) -> str | None:
    """What of a checkpoint, or of where it runs, numpy cannot do, to be followed by "needs torch"; None for nothing.

    Raises:
        DamagedModelError: A weight file cannot be read.
    """
    if (placement.device, placement.dtype) != ("cpu", "float32"):
        return f"computing on {placement.device} in {placement.dtype}"
    if config.family not in _FAMILIES or not (isinstance(config.vision, _TOWERS) and isinstance(config.text, _TOWERS)):
        return "a checkpoint of this kind"
    if config.id2label is not None:
        return "a classification head"
    if not config.has_projection:
        return "a tower without its projection"
    if any(path.suffix != ".safetensors" for path in weight_files):
        return weight_files[0].name
    from clipcli.compute.numpy_backend.mapped import unreadable_format

    return unreadable_format(weight_files)


def _image_cost(config: ModelConfig) -> float:
    """Multiplications of an image."""
    if not isinstance(config.vision, VisionConfig):
        return 0
    return ((config.vision.image_size // config.vision.patch_size) ** 2 + 1) * _token_cost(config.vision)


def _token_cost(config: TransformerConfig | None) -> float:
    """Multiplications of a token: those with the four matrices of attention and the two of the perceptron."""
    if config is None:
        return 0
    width = config.hidden_size
    return config.num_hidden_layers * (4 * width + 2 * config.intermediate_size) * width
