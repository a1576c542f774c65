"""How fast a model runs on this machine, and where the time goes."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from clipcli.answers.classify import ClassifyOptions, LabelClassifier
from clipcli.api.model import Model
from clipcli.api.questions import answer
from clipcli.images.decode import decode
from clipcli.images.find import ImageSource
from clipcli.images.prepare import Pixels
from clipcli.results import Classification

MODEL_SECONDS = 2.0
_WARM_UP_SECONDS = 0.1
_LABELS = ("cat", "dog", "bird", "car", "tree", "house", "boat", "person", "food", "flower")
_TEMPLATES = ("a photo of a {}.", "a drawing of a {}.", "a small {} in the distance.", "my favorite {}.")
_PROMPTS = tuple(template.format(label) for label in _LABELS for template in _TEMPLATES)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured.

    Attributes:
        load_s: Seconds until the first image was encoded: importing torch, reading weights and preparing them.
        images: Images of the whole run, from files to printed results.
        images_per_s: Images per second of the whole run.
        model_images_per_s: Images per second of the image tower alone, from pixels, on all cores or GPUs.
        prompts: Prompts encoded at once.
        prompts_per_s: Prompts per second.
        decode_ms: Decoding one image on one core, in milliseconds; the next two are per image on one core too.
        preprocess_ms: Scaling and cropping.
        write_ms: Printing a result as a line of JSON.
        batch_size: Images per batch.
    """

    load_s: float
    images: int
    images_per_s: float
    model_images_per_s: float
    prompts: int
    prompts_per_s: float
    decode_ms: float
    preprocess_ms: float
    write_ms: float
    batch_size: int

    @property
    def model_ms(self) -> float:
        """Milliseconds of the image tower per image."""
        return 1000 / self.model_images_per_s


def run_benchmark(
    model: Model, sources: Sequence[ImageSource], write: Callable[[list[Classification]], None]
) -> Benchmark:
    """Measure a model that was opened without a cache.

    Args:
        model: A model without a cache; with one, the second pass would compute nothing.
        sources: Images that can all be decoded; more of them make the result more exact.
        write: Prints results.

    Raises:
        ImageError: An image cannot be used.
    """
    begin = time.perf_counter()
    model.encode_texts(_PROMPTS[:1], warn_foreign=False)
    pixels, decode_ms, preprocess_ms = _prepare(model, sources[:16])
    model.encoders.image.encode(np.resize(pixels, (8, *pixels.shape[1:])))
    load_s = time.perf_counter() - begin - len(pixels) * (decode_ms + preprocess_ms) / 1000
    prompts_per_s, classifier = _time_prompts(model)
    model_speed = _time_model(model, pixels)
    begin, write_s = time.perf_counter(), 0.0
    for batch in answer(model.image_features(sources), classifier):
        before_write = time.perf_counter()
        write(batch)
        write_s += time.perf_counter() - before_write
    return Benchmark(
        load_s=load_s,
        images=len(sources),
        images_per_s=len(sources) / (time.perf_counter() - begin),
        model_images_per_s=model_speed,
        prompts=len(_PROMPTS),
        prompts_per_s=prompts_per_s,
        decode_ms=decode_ms,
        preprocess_ms=preprocess_ms,
        write_ms=1000 * write_s / len(sources),
        batch_size=model.encoders.image.batch_size,
    )


def synthetic_images(count: int, size: tuple[int, int]) -> Iterator[ImageSource]:
    """JPEGs of (width, height) in memory that compress about like photos: noise at several scales."""
    from PIL import Image

    random = np.random.default_rng(0)
    image = Image.new("RGB", size)
    for edge in (4, 16, 64, 256, 1024):
        noise = Image.fromarray(random.integers(0, 256, (edge, edge, 3), dtype=np.uint8))
        image = Image.blend(image, noise.resize(size, Image.Resampling.BICUBIC), 0.3)
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    for i in range(count):
        yield ImageSource(f"image {i}", data=file.getvalue())


def _prepare(model: Model, sources: Sequence[ImageSource]) -> tuple[Pixels, float, float]:
    """Decode and scale one after the other; returns pixels and the milliseconds per image of each step."""
    preprocessing, pixels, decode_s, preprocess_s = model.checkpoint.preprocessing, [], 0.0, 0.0
    for source in sources:
        begin = time.perf_counter()
        image = decode(source, model.options.decode, preprocessing.min_size)
        decoded = time.perf_counter()
        pixels.append(preprocessing.pixels(image, exact=model.options.decode.exact))
        preprocess_s += time.perf_counter() - decoded
        decode_s += decoded - begin
    return np.stack(pixels), 1000 * decode_s / len(pixels), 1000 * preprocess_s / len(pixels)


def _time_model(model: Model, pixels: Pixels) -> float:
    """Images per second with as many concurrent batches as the encoder supports."""
    encoder = model.encoders.image
    batch = np.resize(pixels, (encoder.batch_size, *pixels.shape[1:]))
    alone = encoder.concurrency == 1

    def encode_until(end: float) -> int:
        encoded = 0
        while time.perf_counter() < end:
            encoded += len(encoder.encode(batch, alone=alone))
        return encoded

    with ThreadPoolExecutor(encoder.concurrency) as pool:
        list(pool.map(encode_until, [time.perf_counter() + _WARM_UP_SECONDS] * encoder.concurrency))
        begin = time.perf_counter()
        encoded = sum(pool.map(encode_until, [begin + MODEL_SECONDS] * encoder.concurrency))
    return encoded / (time.perf_counter() - begin)


def _time_prompts(model: Model) -> tuple[float, LabelClassifier]:
    begin = time.perf_counter()
    features = model.encode_texts(_PROMPTS, warn_foreign=False)
    prompts_per_s = len(_PROMPTS) / (time.perf_counter() - begin)
    return prompts_per_s, LabelClassifier(_PROMPTS, features, model.logits, ClassifyOptions())
