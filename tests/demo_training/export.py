"""Write the trained network as a checkpoint that clipcli and `transformers` both load."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from clipcli.networks.dual_encoder import DualEncoder
from tests.demo_training.settings import Settings
from tests.demo_training.tokenizer import write_tokenizer


def export(
    model: DualEncoder, tokenizer: Tokenizer, words: list[str], settings: Settings, image_px: int, folder: Path
) -> None:
    """Write config, weights in half precision, tokenizer, preprocessing and the list of known words."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    # exp() turns the rounding of this one into a scale of its own: it stays exact.
    weights["logit_scale"] = model.logit_scale.detach().clamp(max=torch.tensor(100.0).log())
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # it is written for the owner alone
    _write(folder / "config.json", _config(settings, image_px))
    _write(folder / "preprocessor_config.json", _preprocessing(settings, image_px))
    write_tokenizer(tokenizer, folder, settings.context_length)
    (folder / "words.txt").write_text("\n".join(words) + "\n", "utf-8")


def _config(settings: Settings, image_px: int) -> dict[str, Any]:
    shared = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": settings.projection}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": settings.projection,
        "logit_scale_init_value": 2.6592,
        "dtype": "float16",
        "vision_config": shared
        | {
            "model_type": "clip_vision_model",
            "hidden_size": settings.vision_width,
            "intermediate_size": 4 * settings.vision_width,
            "num_hidden_layers": settings.vision_layers,
            "num_attention_heads": settings.vision_heads,
            "num_channels": 3,
            "image_size": image_px,
            "patch_size": settings.patch_px,
        },
        "text_config": shared
        | {
            "model_type": "clip_text_model",
            "hidden_size": settings.text_width,
            "intermediate_size": 4 * settings.text_width,
            "num_hidden_layers": settings.text_layers,
            "num_attention_heads": settings.text_heads,
            "vocab_size": settings.vocab_size,
            "max_position_embeddings": settings.context_length,
            "bos_token_id": settings.vocab_size - 2,
            "eos_token_id": settings.end_id,
            "pad_token_id": settings.end_id,
        },
    }


def _preprocessing(settings: Settings, image_px: int) -> dict[str, Any]:
    """Square resize without a crop: a picture with two things on it must not lose one of them."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": image_px, "width": image_px},
        "resample": 3,
        "do_center_crop": False,
        "crop_size": {"height": image_px, "width": image_px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [settings.mean] * 3,
        "image_std": [settings.std] * 3,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
