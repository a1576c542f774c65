"""Writes the fixtures `flax/` and `tensorflow/` beside it with the frameworks themselves.

Run it where transformers 4.46.3 is installed with flax 0.8.5 and tensorflow 2.16.2 (these wrote what is committed);
newer transformers know neither. `*.expected.safetensors` holds inputs and what the framework makes of them in float32.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file
from transformers import CLIPConfig, CLIPImageProcessor, FlaxCLIPModel, TFCLIPModel

HERE = Path(__file__).parent
VOCABULARY = 514  # of `clip-tokenizer/`


def main() -> None:
    """Write both fixtures."""
    rng = np.random.default_rng(0)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        vision_config={**tower, "patch_size": 16, "image_size": 32},
        text_config={
            **tower,
            "num_hidden_layers": 1,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 16,
            "bos_token_id": VOCABULARY - 2,
            "eos_token_id": VOCABULARY - 1,
        },
        projection_dim=16,
    )
    pixels = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    ids = rng.integers(1, VOCABULARY - 2, (3, 16))
    for row, end in enumerate((15, 4, 9)):
        ids[row, end], ids[row, end + 1 :] = VOCABULARY - 1, 0

    flax = FlaxCLIPModel(config, seed=0)
    flax.params = randomised(flax.params, rng)
    write("flax", flax, pixels, ids, np.asarray)

    tensorflow = TFCLIPModel(config)
    tensorflow(input_ids=tf.constant(ids), pixel_values=tf.constant(pixels))  # builds it
    tensorflow.set_weights([noise(value, rng) for value in tensorflow.get_weights()])
    write("tensorflow", tensorflow, pixels, ids, tf.constant)


def write(name: str, model: Any, pixels: Any, ids: Any, as_input: Callable[[Any], Any]) -> None:
    """Save the model, and what it makes of the inputs."""
    model.save_pretrained(HERE / name)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(HERE / name)
    features = {
        "image_features": np.array(model.get_image_features(pixel_values=as_input(pixels))),
        "text_features": np.array(model.get_text_features(input_ids=as_input(ids))),
    }
    save_file({"pixel_values": pixels, "input_ids": ids, **features}, HERE / f"{name}.expected.safetensors")


def randomised(tree: Any, rng: np.random.Generator) -> Any:
    """Every leaf replaced by noise."""
    return {key: randomised(value, rng) for key, value in tree.items()} if isinstance(tree, dict) else noise(tree, rng)


def noise(value: Any, rng: np.random.Generator) -> Any:
    """Values in which a wrong mapping would show, and which are small once compressed."""
    if np.ndim(value) == 0:
        return np.asarray(value)
    noise = rng.normal(0, 0.2, np.shape(value)) if np.ndim(value) > 1 else rng.uniform(0.5, 1.5, np.shape(value))
    return (np.round(noise * 64) / 64).astype(np.float32)


if __name__ == "__main__":
    main()
