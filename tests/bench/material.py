"""What the benchmarks run on: a full-size checkpoint with random weights, and JPEGs of any size.

Speed does not depend on what the weights are. Images are cut from the photos of a folder, if one is given, else
drawn: noise at several scales compresses and decodes about like a photo.
"""

import json
import random
from pathlib import Path

from PIL import Image

_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
VISION = {
    "b32": {**_BASE, "patch_size": 32},
    "b32-256": {**_BASE, "patch_size": 32, "image_size": 256},
    "b16": {**_BASE, "patch_size": 16},
    "l14": {**_LARGE, "patch_size": 14},
}
MERGES = 48894  # of the published tokenizer
SIZES = {"camera": (4000, 3000), "web": (640, 480)}


def write_checkpoint(folder: Path, size: str) -> Path:
    """A CLIP of a published size, in the hub's layout; kept if it is there already."""
    if (folder / "preprocessor_config.json").exists():
        return folder
    import torch
    from transformers import CLIPConfig, CLIPModel

    from tests.helpers.checkpoints import preprocessor_config, write_clip_tokenizer

    torch.manual_seed(0)
    words = len(write_clip_tokenizer(folder, merge_count=MERGES))
    width = 768 if size == "l14" else 512
    text = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    tokens = {"vocab_size": words, "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": 1}
    config = CLIPConfig(vision_config=VISION[size], text_config={**text, **tokens}, projection_dim=width)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(preprocessor_config(config.vision_config.image_size, square=False))
    )
    return folder


def write_images(folder: Path, kind: str, count: int, photos: Path | None) -> Path:
    """`count` JPEGs of one of `SIZES`; kept if they are there already."""
    if folder.exists() and len(list(folder.iterdir())) == count:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    originals = [Image.open(path).convert("RGB") for path in _photos(photos)] or [_drawing(draw) for _ in range(8)]
    for i in range(count):
        original = originals[i % len(originals)]
        share = draw.uniform(0.6, 1)
        left, top = (draw.random() * (1 - share) * edge for edge in original.size)
        box = (left, top, left + share * original.width, top + share * original.height)
        original.resize(SIZES[kind], Image.Resampling.LANCZOS, box=box).save(folder / f"{i:05}.jpg", quality=90)
    return folder


def _photos(folder: Path | None) -> list[Path]:
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    return [] if folder is None else sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _drawing(draw: random.Random) -> Image.Image:
    image = Image.new("RGB", (1024, 768))
    for edge in (4, 16, 64, 256, 1024):
        noise = Image.frombytes("RGB", (edge, edge), draw.randbytes(edge * edge * 3))
        image = Image.blend(image, noise.resize(image.size, Image.Resampling.BICUBIC), 0.3)
    return image
