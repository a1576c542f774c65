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
        if "siglip" in self.model.config.model_type:  # its authors lower-case, and it must see its padding
            length = self.model.config.text_config.max_position_embeddings
            options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
            ids = self.tokenizer([text.lower() for text in texts], **options).input_ids
            features = self.model.get_text_features(ids).pooler_output
        else:
            batch = self.tokenizer(texts, padding=True, return_tensors="pt")
            features = self.model.get_text_features(batch.input_ids, batch.attention_mask).pooler_output
        return torch.nn.functional.normalize(features, dim=-1).numpy()
