"""The image tower alone, from tensors: this project's, the plain network, and ONNX Runtime, alternating in one process.

    python -m tests.bench.tower CHECKPOINT [--batch 16] [--rounds 9] [--threads N]

Prints medians and ratios to ONNX Runtime, by the clock and by processor time (which other programs disturb less).
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clipcli.checkpoints.config import read_config
from clipcli.compute.torch_backend.fused import FusedImageTower
from clipcli.compute.torch_backend.image_encoder import pixel_scale_and_shift
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network

CPU = torch.device("cpu")


def load(checkpoint: Path) -> DualEncoder:
    return load_network(read_config(checkpoint), [checkpoint / "model.safetensors"], text=False)


def onnx_session(checkpoint: Path, dtype: str, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Export the plain tower (kept beside the checkpoint) and open it; int8 by `quantize_dynamic`."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exported, quantized = checkpoint / "image.onnx", checkpoint / "image-int8.onnx"
    if not exported.exists():
        export_image_tower(checkpoint, exported)
    if dtype == "int8" and not quantized.exists():
        quantize_dynamic(exported, quantized, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = quantized if dtype == "int8" else exported
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"input": pixels})[0]


def export_image_tower(checkpoint: Path, path: Path) -> None:
    network = load(checkpoint)
    assert network.config.vision is not None
    size = network.config.vision.image_size
    _export(_Function(network, network.get_image_features), torch.zeros(2, 3, size, size), path)


def export_text_tower(checkpoint: Path, path: Path) -> None:
    """For ids of 77 tokens."""
    network = load_network(read_config(checkpoint), [checkpoint / "model.safetensors"])
    _export(_Function(network, network.get_text_features), torch.zeros(2, 77, dtype=torch.int64), path)


def _export(tower: torch.nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        tower, (example,), str(path), dynamo=False, opset_version=17, input_names=["input"], output_names=["output"],
        dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
    )  # fmt: skip


class _Function(torch.nn.Module):
    """One function of a network, as the module that an exporter wants."""

    def __init__(self, network: DualEncoder, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(inputs)


def contenders(checkpoint: Path, batch: int, threads: int) -> dict[str, Callable[[], object]]:
    preprocessing = Preprocessing()
    scale, shift = pixel_scale_and_shift(preprocessing)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    normalized = preprocessing.normalize(pixels)
    plain, bytes_in, tensors = load(checkpoint), torch.from_numpy(pixels), torch.from_numpy(normalized)
    found: dict[str, Callable[[], object]] = {"plain float32": lambda: plain.get_image_features(tensors)}
    for dtype in (torch.float32, torch.int8, torch.bfloat16):
        tower = FusedImageTower(load(checkpoint), scale, shift, device=CPU, dtype=dtype)
        name = f"clipcli {str(dtype).removeprefix('torch.')}"
        found[name] = lambda tower=tower: tower(bytes_in)  # type: ignore[misc]
    for dtype_name in ("float32", "int8"):
        session = onnx_session(checkpoint, dtype_name, threads)
        found[f"onnxruntime {dtype_name}"] = lambda session=session: session(normalized)  # type: ignore[misc]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    timings: dict[str, list[tuple[float, float]]] = {}
    with torch.inference_mode():
        runs = contenders(args.checkpoint, args.batch, args.threads)
        for round_ in range(args.rounds + 1):
            for name, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                if round_:  # the first warms up
                    timings.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {
        name: [args.batch / statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in timings.items()
    }
    for name, (wall, cpu) in medians.items():
        peer = medians["onnxruntime int8" if name.endswith("int8") else "onnxruntime float32"]
        print(
            f"{name:20} {wall:7.1f} images/s (x{wall / peer[0]:.2f})   {cpu:7.1f} a cpu second (x{cpu / peer[1]:.2f})"
        )


if __name__ == "__main__":
    main()
