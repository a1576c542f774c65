"""The numpy encoders: what they read, what they refuse, and that they are the torch networks. No torch inside them."""

import json
import math
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipcli.checkpoints.config import ModelConfig, read_config
from clipcli.checkpoints.sizes import ACTIVATIONS as NAMES
from clipcli.checkpoints.towers import ClipTextConfig, VisionConfig
from clipcli.compute.numpy_backend.activations import ACTIVATIONS
from clipcli.compute.numpy_backend.cores import _thread_count, on_all_cores, single_threaded_products
from clipcli.compute.numpy_backend.image_encoder import NumpyImageEncoder
from clipcli.compute.numpy_backend.mapped import MappedWeights, unreadable_format
from clipcli.compute.numpy_backend.shapes import expected_shapes
from clipcli.compute.numpy_backend.text_encoder import NumpyTextEncoder
from clipcli.errors import DamagedModelError
from clipcli.hub import weight_files
from clipcli.images.preprocess import Preprocessing
from clipcli.networks.activations import ACTIVATION_FUNCTIONS
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network, read_logits
from clipcli.scoring import Floats
from tests.helpers.checkpoints import write_clip

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
FAMILIES = ["clip_checkpoint", "chinese_clip_checkpoint", "altclip_checkpoint"]


def weights_of(folder: Path) -> MappedWeights:
    return MappedWeights.open(weight_files(folder), read_config(folder))


def image_encoder(folder: Path, **more: object) -> NumpyImageEncoder:
    vision = read_config(folder).vision
    assert isinstance(vision, VisionConfig)
    preprocessing = Preprocessing(size=vision.image_size, crop_size=(vision.image_size,) * 2)
    return NumpyImageEncoder(vision, weights_of(folder), preprocessing, **more)  # type: ignore[arg-type]


def texts_encoder(folder: Path, **sizes: int) -> NumpyTextEncoder:
    config = read_config(folder)
    assert config.text is not None
    return NumpyTextEncoder(config.text, config.projection_dim, weights_of(folder), **sizes)


def network(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


def sequences(config: ModelConfig, count: int = 60, longest: int = 20) -> list[tuple[int, ...]]:
    """Token ids with shared beginnings, an end token last."""
    draw, text = random.Random(0), config.text
    assert text is not None
    end = text.vocab_size - 1
    beginnings = [tuple(draw.randrange(5, 40) for _ in range(draw.randrange(longest // 2))) for _ in range(5)]
    ids = [
        (4, *draw.choice(beginnings), *(draw.randrange(5, 40) for _ in range(draw.randrange(9)))) for _ in range(count)
    ]
    return [(*sequence, end) for sequence in ids]


@torch.inference_mode()
def expected_images(folder: Path, pixels: np.ndarray) -> Floats:
    size = pixels.shape[1]
    normalized = Preprocessing(size=size, crop_size=(size, size)).normalize(pixels)
    features = network(folder).get_image_features(torch.from_numpy(normalized))
    return torch.nn.functional.normalize(features, dim=-1).numpy()


@cache
@torch.inference_mode()
def expected_texts(folder: Path, ids: tuple[tuple[int, ...], ...]) -> Floats:
    model = network(folder)
    features = [model.get_text_features(torch.tensor([s]), torch.ones(1, len(s), dtype=torch.long))[0] for s in ids]
    return torch.nn.functional.normalize(torch.stack(features), dim=-1).numpy()


def assert_same(ours: Floats, theirs: Floats) -> None:
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    assert abs(ours - theirs).max() <= 1e-5 * abs(theirs).max()
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    assert (abs(cosines - 1) < 2e-6).all()


@pytest.fixture(params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest) -> Path:
    folder = request.getfixturevalue(request.param)
    assert isinstance(folder, Path)
    return folder


@pytest.fixture
def folder(clip_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(clip_checkpoint, tmp_path / "checkpoint")


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_image_features_are_the_networks(checkpoint: Path) -> None:
    expected = expected_images(checkpoint, PIXELS)
    encoder = image_encoder(checkpoint)
    for count in (1, 2, 9):
        for alone in (True, False):
            assert_same(encoder.encode(PIXELS[:count], alone=alone), expected[:count])


def test_text_features_are_the_networks(checkpoint: Path) -> None:
    ids = sequences(read_config(checkpoint))
    assert_same(texts_encoder(checkpoint).encode(ids), expected_texts(checkpoint, tuple(ids)))


@pytest.mark.parametrize("tokens", [1, 32, 100_000])
def test_packs_and_batches_of_any_size(checkpoint: Path, tokens: int) -> None:
    ids = sequences(read_config(checkpoint))
    assert_same(texts_encoder(checkpoint, tokens_at_once=tokens).encode(ids), expected_texts(checkpoint, tuple(ids)))


def test_equal_texts_are_encoded_once_and_in_the_order_given(checkpoint: Path) -> None:
    ids = list(dict.fromkeys(sequences(read_config(checkpoint), 10)))
    seen: list[tuple[int, int]] = []
    features = texts_encoder(checkpoint).encode([*ids, *ids[::-1]], lambda done, total: seen.append((done, total)))
    assert (features[: len(ids)] == features[len(ids) :][::-1]).all()
    assert seen[-1] == (len(ids), len(ids))


def test_no_texts_have_no_features(checkpoint: Path) -> None:
    assert texts_encoder(checkpoint).encode([]).shape == (0, read_config(checkpoint).projection_dim)


VARIANTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    **{name: ({"hidden_act": name}, {"hidden_act": name}) for name in NAMES},
    "eps": ({"layer_norm_eps": 1e-2}, {"layer_norm_eps": 3e-2}),
    "patch": ({"patch_size": 16, "image_size": 48}, {}),
    "uneven_patch": ({"patch_size": 7}, {}),
    "eos_2": ({}, {"eos_token_id": 2}),
    "one_layer": ({"num_hidden_layers": 1, "num_attention_heads": 2}, {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_the_config_says_is_what_runs(name: str, tmp_path: Path) -> None:
    vision, text = VARIANTS[name]
    folder = write_clip(tmp_path, vision=vision, text=text)
    config = read_config(folder)
    assert config.vision is not None
    size = config.vision.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    assert_same(image_encoder(folder).encode(pixels), expected_images(folder, pixels))
    ids = sequences(config, 20)
    assert_same(texts_encoder(folder).encode(ids), expected_texts(folder, tuple(ids)))


def test_every_activation_is_torchs() -> None:
    x = np.concatenate([np.linspace(-30, 30, 400_001), [-1e4, 1e4, -0.0, 0.0]]).astype(np.float32)
    assert set(ACTIVATIONS) == set(NAMES) == set(ACTIVATION_FUNCTIONS)
    for name, activate in ACTIVATIONS.items():
        expected = ACTIVATION_FUNCTIONS[name](torch.from_numpy(x)).numpy()
        ours = activate(x.copy())
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6, err_msg=name)


def test_the_error_of_gelu() -> None:
    """Against Python's own erfc, in double precision: 2e-7 of x where x is large, 2e-7 in absolute terms elsewhere."""
    x = np.linspace(-12, 12, 400_001).astype(np.float32)
    exact = np.array([value / 2 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()])
    error = abs(ACTIVATIONS["gelu"](x.copy()) - exact)
    assert (error <= 2e-7 * np.maximum(1, abs(x))).all()
    assert error[abs(x) < 1].max() < 1.5e-7


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_formats_are_converted_exactly(dtype: str, tmp_path: Path) -> None:
    folder = write_clip(tmp_path)
    change(folder, lambda w: w.update({name: tensor.to(getattr(torch, dtype)) for name, tensor in w.items()}))
    weights, state = weights_of(folder), network(folder).state_dict()
    for name, tensor in state.items():
        assert (weights[name] == tensor.numpy()).all() and weights[name].dtype == np.float32
    table = "text_model.embeddings.token_embedding.weight"
    assert (weights.rows(table, np.array([3, 1, 3])) == state[table][[3, 1, 3]].numpy()).all()
    assert_same(image_encoder(folder).encode(PIXELS), expected_images(folder, PIXELS))


def test_float32_is_not_copied(checkpoint: Path) -> None:
    weights = weights_of(checkpoint)
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    assert np.shares_memory(weights[name], weights[name])
    assert not weights[name].flags.owndata and not weights[name].flags.writeable


def test_data_that_is_not_aligned(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip(b" ")
    header += b" " * ((1 - len(header)) % 4)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert_same(image_encoder(folder).encode(PIXELS), expected_images(folder, PIXELS))


def test_shards_equal_one_file(folder: Path) -> None:
    whole = image_encoder(folder).encode(PIXELS)
    tensors = load_file(folder / "model.safetensors")
    halves = (list(tensors)[::2], list(tensors)[1::2])
    index = {}
    for number, names in enumerate(halves):
        shard = f"model-{number}.safetensors"
        save_file({name: tensors[name] for name in names}, folder / shard)
        index |= dict.fromkeys(names, shard)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert (image_encoder(folder).encode(PIXELS) == whole).all()
    shutil.copy(folder / "model-0.safetensors", folder / "model-1.safetensors")
    both_paths_refuse(folder, "model-1.safetensors")


def both_paths_refuse(folder: Path, words: str) -> None:
    """With the same error, whatever computes."""
    messages = []
    for read in (weights_of, network):
        with pytest.raises(DamagedModelError) as caught:
            read(folder)
        messages.append((str(caught.value), caught.value.hint))
    assert messages[0] == messages[1]
    assert words in messages[0][0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda w: w.pop("logit_scale"), "logit_scale is missing"),
        (lambda w: w.pop("text_projection.weight"), "text_projection.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra"),
        (lambda w: w.update({"visual_projection.weight": torch.zeros(3, 5)}), "[3, 5]"),
        (lambda w: (w.pop("logit_scale"), w.update(extra=torch.zeros(1))), "1 more"),
        (lambda w: w.update(logit_scale=torch.tensor(200.0)), "200.0"),
        (lambda w: w.update(logit_scale=torch.tensor(math.nan)), "nan"),
        (
            lambda w: w.update({"text_model.embeddings.token_embedding.weight": torch.zeros(7, 32)}),
            "[7, 32]",
        ),
    ],
)
def test_weights_that_do_not_fit(folder: Path, edit: Callable[[dict[str, Tensor]], object], words: str) -> None:
    change(folder, edit)
    both_paths_refuse(folder, words)


@pytest.mark.parametrize("keep", [0, 4, 200, -1000, -1])
def test_truncated_files(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    both_paths_refuse(folder, "model.safetensors")


def rewritten(header: dict[str, dict[str, object]], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        (10 * 2**30).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}" + b"\0" * 8,
        (2**63).to_bytes(8, "little"),
        rewritten({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        rewritten({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        rewritten({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 3),
        rewritten({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 5),
        rewritten({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        rewritten({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}, b"\0" * 4),
        rewritten({"a": {"dtype": "X32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        b"\x10\0\0\0\0\0\0\0not json at all!",
    ],
)
def test_headers_that_lie(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    both_paths_refuse(folder, "model.safetensors")


def test_a_format_that_numpy_lacks(folder: Path) -> None:
    assert unreadable_format(weight_files(folder)) is None
    change(folder, lambda w: w.update({"text_projection.weight": w["text_projection.weight"].to(torch.float8_e4m3fn)}))
    assert unreadable_format(weight_files(folder)) == "the number format F8_E4M3"


def test_constants_of_older_files_are_dropped_and_newer_names_are_read(folder: Path) -> None:
    before = image_encoder(folder).encode(PIXELS)

    def edit(tensors: dict[str, Tensor]) -> None:
        tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        for name in [name for name in tensors if name.startswith("vision_model.encoder.layers.")]:
            tensors[name.replace(".layers.", ".layer.")] = tensors.pop(name)

    change(folder, edit)
    assert (image_encoder(folder).encode(PIXELS) == before).all()


def test_the_scale_is_the_networks(checkpoint: Path) -> None:
    assert weights_of(checkpoint).logits() == read_logits(weight_files(checkpoint))


def test_shapes_are_those_of_the_networks(checkpoint: Path) -> None:
    """Towers alone, too."""
    config = read_config(checkpoint)
    for vision, text in ((config.vision, config.text), (config.vision, None), (None, config.text)):
        part = ModelConfig(config.family, vision, text, config.projection_dim)
        state = DualEncoder(part).state_dict()
        assert expected_shapes(part) == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_features_are_checked(checkpoint: Path) -> None:
    def refuse(features: Floats) -> Floats:
        raise ArithmeticError

    for alone in (True, False):
        with pytest.raises(ArithmeticError):
            image_encoder(checkpoint, check=refuse).encode(PIXELS, alone=alone)


def test_features_do_not_depend_on_threads(checkpoint: Path) -> None:
    encoder = image_encoder(checkpoint)
    expected = encoder.encode(PIXELS[:1])
    with ThreadPoolExecutor(8) as pool:
        for features in pool.map(lambda alone: encoder.encode(PIXELS[:1], alone=alone), [True, False] * 20):
            assert (features == expected).all()


def test_matrix_products_may_use_all_cores_again_when_the_last_has_left() -> None:
    threads = _thread_count()[0]
    before = threads()
    entered, leave = threading.Barrier(2), threading.Event()

    def other() -> None:
        with single_threaded_products():
            entered.wait()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    with single_threaded_products():
        entered.wait()
        assert threads() == 1
    assert threads() == 1
    leave.set()
    thread.join()
    assert threads() == before


def test_results_come_in_order_and_errors_come_through() -> None:
    assert list(on_all_cores(lambda n: n * n, range(50))) == [n * n for n in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(on_all_cores(lambda n: 1 // n, [1, 0]))


def test_the_end_of_a_text() -> None:
    by_id, by_height = ClipTextConfig(eos_token_id=9), ClipTextConfig(eos_token_id=2)
    assert by_id.end_position([1, 20, 9, 9, 3]) == 2
    assert by_id.end_position([1, 2, 3]) == 0
    assert by_height.end_position([1, 20, 9, 20]) == 1


def test_no_torch(clip_checkpoint: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from clipcli.checkpoints.config import read_config
from clipcli.compute.numpy_backend.image_encoder import NumpyImageEncoder
from clipcli.compute.numpy_backend.mapped import MappedWeights, unreadable_format
from clipcli.compute.numpy_backend.text_encoder import NumpyTextEncoder
from clipcli.hub import weight_files
from clipcli.images.preprocess import Preprocessing
folder = Path({str(clip_checkpoint)!r})
config = read_config(folder)
weights = MappedWeights.open(weight_files(folder), config)
NumpyImageEncoder(config.vision, weights, Preprocessing()).encode(np.zeros((1, 32, 32, 3), np.uint8))
NumpyTextEncoder(config.text, config.projection_dim, weights).encode([(1, 2, 3)])
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
