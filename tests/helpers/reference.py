"""The same questions, asked of `transformers`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


class Reference:
    """What a user of `transformers` would write."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        self.model: Any = AutoModel.from_pretrained(folder).eval()
        self.processor: Any = AutoImageProcessor.from_pretrained(folder, use_fast=False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def image_features(self, paths: list[Path]) -> np.ndarray[Any, np.dtype[np.float32]]:
        batch = self.processor([Image.open(p).convert("RGB") for p in paths], return_tensors="pt")
        features = self.model.get_image_features(**batch).pooler_output
        return torch.nn.functional.normalize(features, dim=-1).numpy()

    @torch.inference_mode()
    def text_features(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        features = self.model.get_text_features(**self.tokens(texts)).pooler_output
        return torch.nn.functional.normalize(features, dim=-1).numpy()

    def tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Arguments of the text tower."""
        if "siglip" not in self.model.config.model_type:
            batch = self.tokenizer(texts, padding=True, return_tensors="pt")
            return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        length = self.model.config.text_config.max_position_embeddings  # it must see its padding
        options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
        return {"input_ids": self.tokenizer(self.cased(texts), **options).input_ids}

    def cased(self, texts: list[str]) -> list[str]:
        """SigLIP's authors lower-case."""
        return [text.lower() for text in texts] if "siglip" in self.model.config.model_type else texts
