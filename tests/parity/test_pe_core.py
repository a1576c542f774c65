"""PE-core, stage by stage against what open_clip itself computes, and the tower made for speed against that.

`tests/data/formats/make.py` wrote the checkpoint and what is expected of it, with its class token and without.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import clipcli
from clipcli.checkpoints.config import parse_config, read_config
from clipcli.checkpoints.pe_core import PeVisionConfig
from clipcli.compute.torch_backend.image_encoder import ImageEncoder
from clipcli.errors import DamagedModelError, ModelError, UnsupportedModelError, UsageError
from clipcli.foreign.convert import convert
from clipcli.hub import weight_files
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.networks.located import located_features
from clipcli.networks.pe_core import rotations

DATA = Path(__file__).parent.parent / "data" / "formats"
SOURCE, TOKENIZER = DATA / "open_clip-pe", DATA / "clip-tokenizer"
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
TOLERANCE = 1e-5
CPU = torch.device("cpu")
CLASS_TOKEN, POSITIONS = "visual.trunk.cls_token", "visual.trunk.pos_embed"


def write_source(folder: Path, **changed: Tensor | None) -> Path:
    """The fixture with some of its tensors changed, or left out where None; dots of names are written __."""
    shutil.copytree(SOURCE, folder, copy_function=shutil.copyfile)
    tensors = load_file(SOURCE / WEIGHTS)
    for key, value in changed.items():
        del tensors[key.replace("__", ".")]
        if value is not None:
            tensors[key.replace("__", ".")] = value.contiguous()
    save_file(tensors, folder / WEIGHTS)
    return folder


def without_class_token(folder: Path) -> Path:
    positions = load_file(SOURCE / WEIGHTS)[POSITIONS]
    return write_source(folder, visual__trunk__cls_token=None, visual__trunk__pos_embed=positions[:, 1:])


@pytest.fixture(scope="module", params=["open_clip-pe", "open_clip-pe-bare"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("pe")
    source = SOURCE if name == "open_clip-pe" else without_class_token(work / "source")
    convert(source, work / "hub", tokenizer=TOKENIZER)
    return work / "hub"


@pytest.fixture(scope="module")
def expected(name: str) -> dict[str, Tensor]:
    return load_file(DATA / f"{name}.expected.safetensors")


def load(folder: Path) -> DualEncoder:
    return load_network(read_config(folder), weight_files(folder))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


@torch.inference_mode()
def test_every_stage(folder: Path, expected: dict[str, Tensor]) -> None:
    network, pixels = load(folder), expected["pixel_values"]
    output = network._image_tower()(pixels, output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 3 and len(output.attentions) == 2
    for i, state in enumerate(output.hidden_states):
        assert_close(state, expected[f"image_states.{i}"])
    assert_close(output.last_hidden_state, expected["image_states.last"])
    assert_close(output.pooler_output, expected["image_pooled"])
    assert_close(network.get_image_features(pixels), expected["image_features"])
    assert_close(network.get_text_features(expected["input_ids"]), expected["text_features"])


@torch.inference_mode()
def test_the_rearranged_tower(folder: Path) -> None:
    model = clipcli.load(folder, cache=False)
    preprocessing, config = model.checkpoint.preprocessing, model.checkpoint.config
    pixels = np.random.default_rng(5).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    network = load(folder)
    found = network.get_image_features(torch.from_numpy(preprocessing.normalize(pixels)))
    reference = torch.nn.functional.normalize(found, dim=-1).numpy()
    least = {torch.float32: 1 - 1e-6, torch.bfloat16: 0.999, torch.int8: 0.99}
    for dtype, cosine in least.items():
        encoder = ImageEncoder(config, lambda: load(folder), preprocessing, CPU, dtype)
        assert (encoder.encode(pixels) * reference).sum(axis=1).min() > cosine
    encoder = ImageEncoder(config, lambda: load(folder), preprocessing, CPU, torch.float32)
    for count in (1, 9):  # before the weights are rearranged, and after
        np.testing.assert_allclose(encoder.encode(pixels[:count]), reference[:count], atol=TOLERANCE)


def test_images_are_squashed_by_the_bilinear_filter(folder: Path) -> None:
    preprocessing = clipcli.load(folder, cache=False, exact_decode=True).checkpoint.preprocessing
    image = Image.effect_noise((120, 47), 90).convert("RGB")
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32)
    expected = (pixels.transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5
    np.testing.assert_allclose(preprocessing.normalize(preprocessing.pixels(image)[None]), expected, atol=1e-6)


def test_texts_in_a_tree_and_alone(folder: Path, expected: dict[str, Tensor]) -> None:
    texts = [f"a photo of {i} cats" for i in range(40)]
    together = clipcli.load(folder, cache=False).encode_texts(texts)
    alone = clipcli.load(folder, cache=False)
    np.testing.assert_allclose([alone.encode_texts([text])[0] for text in texts], together, atol=TOLERANCE)


def test_the_angles_count_from_one_beside_a_class_token() -> None:
    """A column turns the first half of the pairs, a row the second, each pair slower than the one before."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    with_token, bare = PeVisionConfig(**sizes, class_tokens=1), PeVisionConfig(**sizes)
    found = rotations(with_token, 4, 4)
    assert found.shape == (17, 4) and found[0].tolist() == [1, 1, 1, 1]
    angles = found[1:].angle().unflatten(0, (4, 4))
    torch.testing.assert_close(angles[2, 1], torch.tensor([2.0, 0.02, 3.0, 0.03]))
    torch.testing.assert_close(rotations(bare, 4, 4).angle()[9], torch.tensor([1.0, 0.01, 2.0, 0.02]))
    scaled = rotations(bare, 8, 2).angle().unflatten(0, (8, 2))
    torch.testing.assert_close(scaled[3, 1], torch.tensor([2.0, 0.02, 1.5, 0.015]))


@torch.inference_mode()
@pytest.mark.parametrize("method", ["keys", "values", "parts"])
def test_places_can_be_explained(folder: Path, method: str) -> None:
    network = load(folder)
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = located_features(network, pixels, method)
    assert found.shape == (1, 4, 4, 16) and found.isfinite().all()
    assert located_features(network, torch.randn(1, 3, 48, 32), method).shape == (1, 6, 4, 16)


@torch.inference_mode()
def test_parts_sum_to_the_feature(folder: Path) -> None:
    """With what does not come from patches: the class token, the pool's own bias and perceptron, the projection's."""
    network = load(folder)
    tower, pixels = network._image_tower(), torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = tower(pixels).last_hidden_state
    pool, attention = tower.head, tower.head.attention
    query, key, value = attention.heads_of(pool.probe.expand(len(x), -1, -1), x)
    weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(dim=-1).mT
    added = (weights * value).transpose(1, 2).flatten(2) @ attention.out_proj.weight.T  # (1, L, D)
    gathered = added.sum(dim=1) + attention.out_proj.bias
    elsewhere = added[:, :-16].sum(dim=1) + attention.out_proj.bias + pool.mlp(pool.layernorm(gathered))
    feature = network.get_image_features(pixels)
    parts = located_features(network, pixels, "parts").sum(dim=(1, 2))
    torch.testing.assert_close(parts + network.visual_projection(elsewhere) / feature.norm(), feature / feature.norm())


def test_without_its_config_nothing_says_how_the_tower_is_read(tmp_path: Path) -> None:
    shutil.copy(SOURCE / WEIGHTS, tmp_path)
    with pytest.raises(UsageError, match="how it is read") as caught:
        convert(tmp_path / WEIGHTS, tmp_path / "hub", activation="gelu")
    assert CONFIG in str(caught.value.hint)


BAD = {
    "no probe": {"visual__trunk__attn_pool__latent": None},
    "no positions": {"visual__trunk__pos_embed": None},
    "half a pool": {"visual__trunk__attn_pool__kv__bias": None},
    "another pool": {"visual__trunk__attn_pool__q__weight": torch.zeros(128, 64)},
    "flat positions": {"visual__trunk__pos_embed": torch.zeros(17, 128)},
    "positions of a batch": {"visual__trunk__pos_embed": torch.zeros(2, 17, 128)},
    "two class tokens": {"visual__trunk__cls_token": torch.zeros(1, 2, 128)},
    "positions of another grid": {"visual__trunk__pos_embed": torch.zeros(1, 26, 128)},
    "no first norm": {"visual__trunk__norm_pre__weight": None},
    "no width": {"visual__trunk__pos_embed": torch.zeros(1, 0, 0)},
    "a scalar": {"visual__trunk__cls_token": torch.zeros(())},
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_weights_are_named(kind: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", **BAD[kind])
    with pytest.raises((DamagedModelError, UnsupportedModelError), match="source"):
        convert(source, tmp_path / "hub", tokenizer=TOKENIZER)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"class_tokens": 2}, "class_tokens is 2"),
        ({"class_tokens": True}, "class_tokens is True"),
        ({"hidden_size": 36, "num_attention_heads": 9}, "not a multiple of 8"),
        ({"hidden_size": 24, "num_attention_heads": 4}, "4 times num_attention_heads 4"),
        ({"patch_size": 512 // 4 * 2}, "patch_size 256 is more than image_size"),
        ({"num_channels": 1}, "num_channels is 1"),
    ],
)
def test_a_config_that_cannot_be(section: dict[str, object], part: str) -> None:
    with pytest.raises(ModelError, match=part):
        parse_config({"model_type": "pe_core", "vision_config": section}, Path("config.json"))


def test_the_published_sizes_build() -> None:
    """Those of timm's names for them; the largest has no class token and wider heads."""
    for width, heads, inner, patch, size, tokens in (
        (384, 6, 1536, 16, 384, 1),
        (768, 12, 3072, 16, 224, 1),
        (1024, 16, 4096, 14, 336, 1),
        (1536, 16, 8960, 14, 448, 0),
    ):
        vision = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner, "patch_size": patch}
        vision |= {"image_size": size, "num_hidden_layers": 1} | ({"class_tokens": 1} if tokens else {})
        config = parse_config({"model_type": "pe_core", "vision_config": vision}, Path("config.json"))
        with torch.device("meta"):
            network = DualEncoder(config)
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        positions = (size // patch) ** 2 + tokens
        assert shapes["vision_model.embeddings.position_embedding.weight"] == (positions, width)
        assert ("vision_model.embeddings.class_embedding" in shapes) == bool(tokens)
        assert shapes["vision_model.head.mlp.fc1.weight"] == (4 * width, width)
        assert shapes["visual_projection.bias"] == (1024,)


def test_heads_follow_from_the_width(tmp_path: Path) -> None:
    convert(SOURCE, tmp_path / "hub", tokenizer=TOKENIZER)
    vision = json.loads((tmp_path / "hub" / "config.json").read_text())["vision_config"]
    assert (vision["num_attention_heads"], vision["class_tokens"], vision["hidden_act"]) == (2, 1, "gelu")
