"""Two towers and one space: what all families have in common (arXiv:2103.00020, section 2.3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.pe_core import PeVisionConfig
from clipcli.checkpoints.towers import (
    BertTextConfig,
    ClipTextConfig,
    MetaClip2TextConfig,
    NaflexVisionConfig,
    PooledBertTextConfig,
    PooledXlmRobertaTextConfig,
    ResNetConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
    XlmRobertaTextConfig,
)
from clipcli.errors import UnsupportedModelError
from clipcli.networks.bert_text import AltTextTransformer, BertTextTransformer, PooledTextTransformer
from clipcli.networks.clip_text import CausalTextTransformer
from clipcli.networks.pe_core import PeVisionTransformer
from clipcli.networks.resnet import ModifiedResNet
from clipcli.networks.siglip import SiglipTextTransformer, SiglipVisionTransformer
from clipcli.networks.transformer import TowerOutput
from clipcli.networks.vision import VisionTransformer

TEXT_TOWERS: dict[type[TextConfig], Callable[..., nn.Module]] = {
    ClipTextConfig: CausalTextTransformer,
    MetaClip2TextConfig: CausalTextTransformer,
    SiglipTextConfig: SiglipTextTransformer,
    BertTextConfig: BertTextTransformer,
    XlmRobertaTextConfig: AltTextTransformer,
    PooledXlmRobertaTextConfig: PooledTextTransformer,
    PooledBertTextConfig: PooledTextTransformer,
}


ImageTower = VisionTransformer | SiglipVisionTransformer | PeVisionTransformer | ModifiedResNet


@dataclass(frozen=True, slots=True)
class DualEncoderOutput:
    """What `DualEncoder.forward` computes.

    Shapes: logits_per_image (N, M); logits_per_text (M, N); image_embeds (N, P) and text_embeds (M, P), unit length;
    loss a scalar, or None.
    """

    loss: Tensor | None
    logits_per_image: Tensor
    logits_per_text: Tensor
    text_embeds: Tensor
    image_embeds: Tensor
    text_model_output: TowerOutput
    vision_model_output: TowerOutput


def contrastive_loss(logits_per_text: Tensor) -> Tensor:
    """Mean of the cross-entropies of texts over images and images over texts, matching pairs on the diagonal.

    Shapes: (N, N) -> scalar. Source: arXiv:2103.00020, figure 3.
    """
    pairs = torch.arange(len(logits_per_text), device=logits_per_text.device)
    return (F.cross_entropy(logits_per_text, pairs) + F.cross_entropy(logits_per_text.T, pairs)) / 2


def sigmoid_loss(logits_per_text: Tensor) -> Tensor:
    """Mean over images of the cross-entropies of all pairs, each judged by itself, matching pairs on the diagonal.

    Shapes: (N, N) -> scalar. Source: arXiv:2303.15343, algorithm 1.
    """
    signs = 2 * torch.eye(len(logits_per_text), device=logits_per_text.device) - 1
    return -F.logsigmoid(signs * logits_per_text).sum(dim=-1).mean()


class DualEncoder(nn.Module):
    """A checkpoint's network: an image tower, a text tower, or both, each with its projection.

    Args:
        config: Which towers there are and how large.
        image: Build the image tower, if the checkpoint has one.
        text: Build the text tower, if the checkpoint has one.
    """

    def __init__(self, config: ModelConfig, *, image: bool = True, text: bool = True) -> None:
        super().__init__()
        self.config = config
        self.vision_model: ImageTower | None = None
        self.text_model: nn.Module | None = None
        if image and isinstance(config.vision, ResNetConfig):
            self.vision_model = ModifiedResNet(config.vision, config.projection_dim)
            self.visual_projection: nn.Module = nn.Identity()  # the tower's attention pool projects
        if image and isinstance(config.vision, SiglipVisionConfig | NaflexVisionConfig):
            self.vision_model = SiglipVisionTransformer(config.vision)
            self.visual_projection = nn.Identity()  # both of its towers end in the space that they share
        if image and isinstance(config.vision, PeVisionConfig):
            self.vision_model = PeVisionTransformer(config.vision)
            self.visual_projection = nn.Linear(config.vision.hidden_size, config.projection_dim)
        if image and isinstance(config.vision, VisionConfig):
            self.vision_model = VisionTransformer(config.vision)
            self.visual_projection = nn.Identity()
            if config.id2label is None and config.has_projection:
                self.visual_projection = nn.Linear(config.vision.hidden_size, config.projection_dim, bias=False)
            if config.id2label is not None:
                self.classifier = nn.Linear(config.vision.hidden_size, len(config.id2label))
        if text and config.text is not None and config.id2label is None:
            self.text_model = TEXT_TOWERS[type(config.text)](config.text)
            self.text_projection: nn.Module = nn.Identity()
            if not isinstance(config.text, SiglipTextConfig) and config.has_projection:
                self.text_projection = nn.Linear(config.text.output_size, config.projection_dim, bias=False)
        if config.vision is not None and config.text is not None and config.id2label is None:
            has_bias = isinstance(config.text, SiglipTextConfig)
            self.logit_scale = nn.Parameter(torch.zeros((1,) if has_bias else ()))
            self.logit_bias = nn.Parameter(torch.zeros(1)) if has_bias else None

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Projected state of each image, not normalized.

        Shapes: pixel_values (N, 3, S, S) -> (N, P).
        """
        pooled = self._image_tower()(pixel_values).pooler_output
        return self.visual_projection(pooled)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Projected state of each text, not normalized.

        Shapes: input_ids and attention_mask (M, L) -> (M, P).
        """
        pooled = self._text_tower()(input_ids, attention_mask).pooler_output
        return self.text_projection(pooled)

    def classify_pixels(self, pixel_values: Tensor) -> Tensor:
        """Logits of an image-classification head over the mean state of the patches.

        Shapes: pixel_values (N, 3, S, S) -> (N, classes).
        """
        patches = self._image_tower()(pixel_values).last_hidden_state[:, 1:]
        return self.classifier(patches.mean(dim=1))

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        return_loss: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> DualEncoderOutput:
        """Compare every image with every text: cosine similarity times exp(`logit_scale`), plus `logit_bias`.

        Shapes: input_ids, attention_mask (M, L); pixel_values (N, 3, S, S); `return_loss` needs M = N.
        Source: arXiv:2103.00020, figure 3; where there is a bias, arXiv:2303.15343, algorithm 1.
        """
        wanted = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        vision = self._image_tower()(pixel_values, **wanted)
        text = self._text_tower()(input_ids, attention_mask, **wanted)
        image_embeds = F.normalize(self.visual_projection(vision.pooler_output), dim=-1)
        text_embeds = F.normalize(self.text_projection(text.pooler_output), dim=-1)
        logits_per_text = text_embeds @ image_embeds.T * self.logit_scale.exp()
        loss = contrastive_loss
        if self.logit_bias is not None:
            logits_per_text, loss = logits_per_text + self.logit_bias, sigmoid_loss
        return DualEncoderOutput(
            loss=loss(logits_per_text) if return_loss else None,
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text,
            vision_model_output=vision,
        )

    def _image_tower(self) -> ImageTower:
        if self.vision_model is None:
            raise UnsupportedModelError("this checkpoint has no image tower", hint="use one that has both towers")
        return self.vision_model

    def _text_tower(self) -> nn.Module:
        if self.text_model is None:
            raise UnsupportedModelError("this checkpoint has no text tower", hint="use one that has both towers")
        return self.text_model
