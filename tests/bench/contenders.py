"""One contender, in a process of its own: prints how long it took to get ready and to run, as one JSON object.

    python -m tests.bench.contenders clipcli|transformers|open_clip|onnxruntime CHECKPOINT IMAGES [--dtype float32]

All are warm when the clock starts: imported, weights loaded, one batch done.
"""

import argparse
import json
import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
LABELS = ["cat", "dog", "bird", "car", "tree"]
BATCH = 16
OPEN_CLIP_NAMES = {"b32": "ViT-B-32-quickgelu", "b16": "ViT-B-16-quickgelu", "l14": "ViT-L-14-quickgelu"}
Run = Callable[[list[str]], object]


def clipcli(checkpoint: str, dtype: str) -> Run:
    """What `clip classify --no-cache` runs."""
    import clipcli
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.api.judges import classifier
    from clipcli.api.model import Model
    from clipcli.api.questions import answer
    from clipcli.compute.options import RunOptions
    from clipcli.images.decode import DecodeOptions
    from clipcli.labels.parse import parse_labels

    files = clipcli.load(checkpoint).checkpoint.files
    model = Model(files, RunOptions(dtype=dtype, decode=DecodeOptions(exact=False), cache=False))
    labels = parse_labels([",".join(LABELS)])

    def run(paths: list[str]) -> object:
        from clipcli.images.find import ImageSource

        judge = classifier(model, labels, ClassifyOptions())
        return list(answer(model.image_features(ImageSource(path) for path in paths), judge))

    return run


def transformers(checkpoint: str, dtype: str) -> Run:
    """The zero-shot pipeline."""
    import torch
    from transformers import pipeline

    task = "zero-shot-image-classification"
    pipe = pipeline(task, model=checkpoint, device="cpu", dtype=getattr(torch, dtype))
    return lambda paths: pipe(paths, candidate_labels=LABELS, hypothesis_template="a photo of a {}.", batch_size=BATCH)


def open_clip(checkpoint: str, dtype: str) -> Run:
    """The loop of its README over batches, with a network of the same sizes and random weights of its own."""
    import open_clip
    import torch
    from PIL import Image

    size = OPEN_CLIP_NAMES[Path(checkpoint).name.rpartition("-")[2]]
    model, _, preprocess = open_clip.create_model_and_transforms(size, precision=dtype.replace("float", "fp"))
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(open_clip.get_tokenizer(size)([f"a photo of a {label}." for label in LABELS]))
        texts /= texts.norm(dim=-1, keepdim=True)

    @torch.inference_mode()
    def run(paths: list[str]) -> object:
        scores = []
        for start in range(0, len(paths), BATCH):
            batch = torch.stack([preprocess(Image.open(path)) for path in paths[start : start + BATCH]])
            images = model.encode_image(batch)
            images /= images.norm(dim=-1, keepdim=True)
            scores.append((100 * images @ texts.T).softmax(dim=-1))
        return scores

    return run


def onnxruntime(checkpoint: str, dtype: str) -> Run:
    """The image tower in ONNX Runtime, images decoded and scaled one after the other as `transformers` does it."""
    import numpy as np
    from PIL import Image

    from clipcli.images.preprocess import Preprocessing
    from tests.bench.tower import onnx_session

    session, preprocessing = onnx_session(Path(checkpoint), dtype), Preprocessing()

    def run(paths: list[str]) -> object:
        features = []
        for start in range(0, len(paths), BATCH):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]
            pixels = preprocessing.normalize(np.stack([preprocessing.pixels(image) for image in images]))
            features.append(session(pixels))
        return features

    return run


CONTENDERS = {each.__name__: each for each in (clipcli, transformers, open_clip, onnxruntime)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=[*CONTENDERS])
    parser.add_argument("checkpoint")
    parser.add_argument("images", type=Path)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = sorted(str(path) for path in args.images.iterdir())
    begin = time.perf_counter()
    run = CONTENDERS[args.contender](args.checkpoint, args.dtype)
    run(paths[:BATCH])
    ready, ready_cpu = time.perf_counter(), time.process_time()
    run(paths)
    done, done_cpu = time.perf_counter(), time.process_time()
    result = {
        "images": len(paths),
        "ready_s": ready - begin,
        "images_per_s": len(paths) / (done - ready),
        "cpu_ms_per_image": (done_cpu - ready_cpu) / len(paths) * 1000,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
