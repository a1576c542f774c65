import copy
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from clipcli.checkpoints.config import read_config
from clipcli.compute.torch_backend.fused_text import FusedTextTower
from clipcli.compute.torch_backend.text_encoder import TorchTextEncoder
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.progress import Progress, unobserved
from tests.helpers.checkpoints import write_clip


def network(folder: Path, dtype: torch.dtype = torch.float32) -> DualEncoder:
    return load_network(read_config(folder), [folder / "model.safetensors"], image=False, dtype=dtype)


def encode_ids(
    model: DualEncoder, ids: list[tuple[int, ...]], pad: int, on_progress: Progress = unobserved, **sizes: int
) -> np.ndarray:
    return TorchTextEncoder(copy.deepcopy(model), pad, worth_fusing=0, **sizes).encode(ids, on_progress)


@torch.inference_mode()
def one_at_a_time(model: DualEncoder, ids: list[tuple[int, ...]]) -> np.ndarray:
    rows = [model.get_text_features(torch.tensor([s]), torch.ones(1, len(s), dtype=torch.long))[0].float() for s in ids]
    return torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()


def prompts(model: DualEncoder, count: int = 200, seed: int = 0, longest: int = 20) -> list[tuple[int, ...]]:
    """Sequences with many shared beginnings, as templates and labels have, an end token last."""
    rng = random.Random(seed)
    config = model.config.text
    assert config is not None
    last = getattr(config, "eos_token_id", 2)
    last = config.vocab_size - 1 if last == 2 else last
    beginnings = [tuple(rng.randrange(5, 40) for _ in range(rng.randrange(longest // 2))) for _ in range(8)]
    return [
        (4, *rng.choice(beginnings), *(rng.randrange(5, 40) for _ in range(rng.randrange(longest // 2))), last)
        for _ in range(count)
    ]


@pytest.fixture(scope="module", params=["clip_checkpoint", "chinese_clip_checkpoint", "altclip_checkpoint"])
def model(request: pytest.FixtureRequest) -> DualEncoder:
    return network(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def clip(clip_checkpoint: Path) -> DualEncoder:
    return network(clip_checkpoint)


def test_features_are_those_of_one_text_at_a_time(model: DualEncoder) -> None:
    ids = prompts(model)
    got = encode_ids(model, ids, 1)
    assert got.dtype == np.float32 and got.shape == (len(ids), model.config.projection_dim)
    np.testing.assert_allclose(got, one_at_a_time(model, ids), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("tokens", "block"), [(8, 1), (33, 2), (64, 32), (512, 32), (100_000, 64)])
def test_packs_and_batches_of_any_size(model: DualEncoder, tokens: int, block: int) -> None:
    ids = prompts(model, seed=1)
    got = encode_ids(model, ids, 1, tokens_at_once=tokens, block=block)
    np.testing.assert_allclose(got, one_at_a_time(model, ids), atol=1e-5)


def test_order_and_repetition_move_nothing(model: DualEncoder) -> None:
    ids = prompts(model, 50)
    features = encode_ids(model, ids, 1)
    order = random.Random(0).sample(range(50), 50)
    shuffled = encode_ids(model, [ids[i] for i in order] + [ids[3], ids[3]], 1)
    np.testing.assert_allclose(shuffled, features[[*order, 3, 3]], atol=1e-5)
    assert (shuffled[-1] == shuffled[-2]).all()


def test_equal_texts_are_computed_once(model: DualEncoder) -> None:
    ids = prompts(model, 10)
    seen: list[tuple[int, int]] = []
    encode_ids(model, ids * 7, 1, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(set(ids)), len(set(ids)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_tree_computes_each_prefix_once(clip: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [(4, 5, 6, 7, 8, i, clip.config.text.eos_token_id) for i in range(10, 30)]
    widths = []
    original = FusedTextTower.__call__
    monkeypatch.setattr(
        FusedTextTower,
        "__call__",
        lambda self, tokens, *rest: (widths.append(len(tokens)), original(self, tokens, *rest))[1],
    )
    encode_ids(clip, ids, 1)
    assert widths == [64]  # 5 + 20 * 2 nodes, in blocks of 32
    widths.clear()
    encode_ids(clip, ids, 1, tokens_at_once=32)
    assert widths == [32, 32]


def test_few_texts_need_no_rearranged_tower(clip: DualEncoder) -> None:
    encoder = TorchTextEncoder(copy.deepcopy(clip), 1, worth_fusing=30)
    ids = list(dict.fromkeys(prompts(clip, 100)))
    few = encoder.encode(ids[:29])
    assert "_tower" not in vars(encoder)
    many = encoder.encode(ids)
    assert "_tower" in vars(encoder)
    np.testing.assert_allclose(few, many[:29], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(ids[:29]), few, atol=1e-5)


def test_memory_is_bounded_whatever_the_number_of_texts(model: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    normalize = torch.nn.functional.normalize
    monkeypatch.setattr(
        torch.nn.functional, "normalize", lambda x, dim: (sizes.append(len(x)), normalize(x, dim=dim))[1]
    )

    def watch(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def watched(self: object, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
            sizes.append(tokens.numel())
            return original(self, tokens, *rest)

        monkeypatch.setattr(owner, name, watched)

    watch(FusedTextTower, "__call__")
    watch(DualEncoder, "get_text_features")
    encode_ids(model, list(dict.fromkeys(prompts(model, 3000))), 1)
    assert len(sizes) > 10 and max(sizes) <= 512


def test_what_follows_the_end_token_is_not_read(clip: DualEncoder) -> None:
    end = clip.config.text.eos_token_id
    plain = encode_ids(clip, [(4, 9, 10, end), (4, 9, end)], 1)
    padded = encode_ids(clip, [(4, 9, 10, end, end, 7), (4, 9, end, 1)], 1)
    assert (plain == padded).all()


def test_a_config_that_says_2_reads_at_the_highest_id(tmp_path: Path) -> None:
    model = network(write_clip(tmp_path, text={"eos_token_id": 2}))
    highest = model.config.text.vocab_size - 1
    ids = [(4, 2, 7, highest), (4, 7, 2, 8, highest), (4, 2, highest, 1, 1)]
    np.testing.assert_allclose(encode_ids(model, ids, 1), one_at_a_time(model, ids), atol=1e-5)
    other = encode_ids(model, [(4, 2, 9, highest)], 1)
    assert np.abs(other - encode_ids(model, ids[:1], 1)).max() > 1e-3


def test_texts_as_long_as_the_context(clip: DualEncoder) -> None:
    length, end = clip.config.text.context_length, clip.config.text.eos_token_id
    ids = [(4, *[5 + i % 30 for i in range(length - 2)], end), (4, *[5] * (length - 2), end), (4, 5, end)]
    np.testing.assert_allclose(encode_ids(clip, ids, 1), one_at_a_time(clip, ids), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(clip_checkpoint: Path, clip: DualEncoder, dtype: torch.dtype) -> None:
    ids = prompts(clip, 40)
    half = encode_ids(network(clip_checkpoint, dtype), ids, 1)
    assert half.dtype == np.float32
    exact = one_at_a_time(clip, ids)
    assert (half * exact).sum(axis=1).min() > 0.999
    assert np.abs(half - exact).max() > 1e-6


def test_every_position_and_ancestor_matters(clip: DualEncoder) -> None:
    """What a wrong mask or wrong positions would leave unchanged: the order of tokens and each token before the end."""
    end = clip.config.text.eos_token_id
    features = encode_ids(clip, [(4, *order, end) for order in itertools.permutations((7, 8, 9))], 1)
    assert (np.abs(features[:, None] - features[None]).max(axis=-1) + np.eye(6) > 1e-3).all()


def test_no_texts(model: DualEncoder) -> None:
    assert encode_ids(model, [], 1).shape == (0, model.config.projection_dim)
