"""Images with structure at several scales, another one for each number."""

import numpy as np
from PIL import Image


def scene(number: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    random = np.random.default_rng(number)
    image = Image.new("RGB", size)
    for edge in (3, 6, 12):
        noise = Image.fromarray(random.integers(0, 256, (edge, edge, 3), dtype=np.uint8))
        image = Image.blend(image, noise.resize(size, Image.Resampling.BICUBIC), 0.5)
    return image
