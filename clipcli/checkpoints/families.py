"""One row for each family: all that sets it apart, or the name of what does. `CONTRIBUTING.md` says how to add one.

The towers follow from the types of the two configs (`networks.dual_encoder`), how texts become ids from the name of the
tokenizer class (`text.classes`), and how images are prepared from the image processor that a checkpoint's own files
name (`images.preprocess`).
"""

from dataclasses import dataclass

from clipcli.checkpoints.pe_core import PeVisionConfig
from clipcli.checkpoints.towers import (
    BertTextConfig,
    ClipTextConfig,
    MetaClip2TextConfig,
    NaflexVisionConfig,
    PlainVisionConfig,
    PooledBertTextConfig,
    PooledXlmRobertaTextConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
    VitConfig,
    XlmRobertaTextConfig,
)


@dataclass(frozen=True, slots=True)
class Family:
    """What sets one family apart.

    Attributes:
        title: What people call it.
        vision_config: How its ViT is described.
        text_config: How its text tower is described.
        projection_dim: Width of the space that images and texts share, where `config.json` does not say; None for the
            image tower's own width.
        tokenizer: The class of its published checkpoints, for those whose files name none.
        image_tower: The `model_type` of a checkpoint of the image tower alone; None where nobody writes one.
        text_tower: The `model_type` of a checkpoint of the text tower alone; None where nobody writes one.
        templates: English templates of its authors, where a bare photo is not what they recommend.
    """

    title: str
    vision_config: type[VitConfig | NaflexVisionConfig]
    text_config: type[TextConfig]
    projection_dim: int | None
    tokenizer: str
    image_tower: str | None = None
    text_tower: str | None = None
    templates: tuple[str, ...] | None = None


# From the README of both, in big_vision; the full stop costs a little accuracy.
_SIGLIP_TEMPLATES = ("this is a photo of {}",)

FAMILIES: dict[str, Family] = {
    "clip": Family(
        title="CLIP",
        vision_config=VisionConfig,
        text_config=ClipTextConfig,
        projection_dim=512,
        tokenizer="CLIPTokenizer",
        image_tower="clip_vision_model",
        text_tower="clip_text_model",
    ),
    "chinese_clip": Family(
        title="Chinese-CLIP",
        vision_config=VisionConfig,
        text_config=BertTextConfig,
        projection_dim=512,
        tokenizer="BertTokenizer",
        image_tower="chinese_clip_vision_model",
        text_tower="chinese_clip_text_model",
    ),
    "altclip": Family(
        title="AltCLIP",
        vision_config=VisionConfig,
        text_config=XlmRobertaTextConfig,
        projection_dim=768,
        tokenizer="XLMRobertaTokenizer",
        image_tower="altclip_vision_model",
        text_tower="altclip_text_model",
    ),
    "metaclip_2": Family(
        title="MetaCLIP 2",
        vision_config=VisionConfig,
        text_config=MetaClip2TextConfig,
        projection_dim=512,
        tokenizer="XLMRobertaTokenizer",
        image_tower="metaclip_2_vision_model",
        text_tower="metaclip_2_text_model",
    ),
    "siglip": Family(
        title="SigLIP and SigLIP 2",
        vision_config=SiglipVisionConfig,
        text_config=SiglipTextConfig,
        projection_dim=None,
        tokenizer="SiglipTokenizer",
        image_tower="siglip_vision_model",
        text_tower="siglip_text_model",
        templates=_SIGLIP_TEMPLATES,
    ),
    "siglip2": Family(
        title="SigLIP 2 NaFlex",
        vision_config=NaflexVisionConfig,
        text_config=SiglipTextConfig,
        projection_dim=None,
        tokenizer="Siglip2Tokenizer",
        image_tower="siglip2_vision_model",
        text_tower="siglip2_text_model",
        templates=_SIGLIP_TEMPLATES,
    ),
    "xlm_roberta_clip": Family(
        title="XLM-RoBERTa CLIP",
        vision_config=VisionConfig,
        text_config=PooledXlmRobertaTextConfig,
        projection_dim=512,
        tokenizer="XLMRobertaTokenizer",
    ),
    "biomed_clip": Family(
        title="BiomedCLIP",
        vision_config=PlainVisionConfig,
        text_config=PooledBertTextConfig,
        projection_dim=512,
        tokenizer="BertTokenizer",
    ),
    "pe_core": Family(
        title="PE-core",
        vision_config=PeVisionConfig,
        text_config=ClipTextConfig,
        projection_dim=1024,
        tokenizer="CLIPTokenizer",
    ),
}

IMAGE_TOWERS = {row.image_tower: name for name, row in FAMILIES.items() if row.image_tower}
TEXT_TOWERS = {row.text_tower: name for name, row in FAMILIES.items() if row.text_tower}

MODEL_TYPES = (*FAMILIES, *IMAGE_TOWERS, *TEXT_TOWERS)
"""Every `model_type` that this program runs."""
