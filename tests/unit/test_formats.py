"""Reading foreign files: what each says of itself, and what none may do."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipcli.errors import ClipError, DamagedModelError, UnsupportedModelError, UsageError
from clipcli.foreign.hub_layout import heads_of, renamed
from clipcli.foreign.openai import VIT_RULES
from clipcli.foreign.recognise import read_foreign
from clipcli.foreign.state_dict import read_state_dict

DATA = Path(__file__).parent.parent / "data" / "formats"
VIT = DATA / "openai-vit.pt"
DEPRECATED = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
MARKS = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """A state dict of OpenAI's names that says nothing of its activation."""
    return {name: value for name, value in read_state_dict(VIT)[0].items() if name not in MARKS}


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def activation_of(path: Path, asked: str | None = None) -> str:
    activation: str = read_foreign(path, asked).config["text_config"]["hidden_act"]
    return activation


# TorchScript archives


@DEPRECATED
def test_an_archive_is_read_as_torch_reads_it() -> None:
    theirs = torch.jit.load(VIT).state_dict()
    ours, activation = read_state_dict(VIT)
    assert activation == "quick_gelu"
    assert {*ours} == {*theirs}
    for name, value in theirs.items():
        assert ours[name].dtype is value.dtype
        assert torch.equal(ours[name], value), name


class Quick(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


@pytest.mark.parametrize(
    ("layers", "activation"),
    [
        ([nn.GELU()], "gelu"),
        ([Quick()], "quick_gelu"),
        ([Quick(), nn.GELU()], None),
        ([Swish()], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("how", ["script", "trace"])
@DEPRECATED
def test_the_activation_is_looked_up_in_the_code(
    layers: list[nn.Module], activation: str | None, how: str, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Linear(2, 2), *layers)
    compiled = torch.jit.script(module) if how == "script" else torch.jit.trace(module, torch.zeros(1, 2))
    compiled.save(tmp_path / "archive.pt")
    assert read_state_dict(tmp_path / "archive.pt")[1] == activation


def archive(path: Path, data: bytes, members: dict[str, bytes] | None = None, **options: Any) -> Path:
    """A TorchScript archive with a pickle of our own."""
    with zipfile.ZipFile(path, "w", **options) as writer:
        writer.writestr("a/data.pkl", data)
        writer.writestr("a/constants.pkl", pickle.dumps(()))
        for name, content in (members or {}).items():
            writer.writestr(name, content)
    return path


MODULE = b"c__torch__\nM\n)\x81}"  # an empty module with an empty dict on top of it


def module_with(value: bytes) -> bytes:
    return b"\x80\x02" + MODULE + b"X\x01\x00\x00\x00x" + value + b"sb."


class Intruder:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_code_in_an_archive_is_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = archive(tmp_path / "a.pt", pickle.dumps(Intruder(trace), protocol))
    with pytest.raises(UnsupportedModelError, match=r"a\.pt") as caught:
        read_foreign(path)
    assert "code" in str(caught.value.hint)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\neval", "torch\nload", "torch.jit\nload", "torch.utils\ndata", "__torch__evil\nX"]
)
def test_nothing_off_the_list_is_named(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", module_with(f"c{name}\n".encode()))
    with pytest.raises(UnsupportedModelError, match=name.replace("\n", ".")):
        read_foreign(path)


def storage(key: str, length: int, dtype: str = "FloatStorage") -> bytes:
    """The opcodes that name a storage."""
    key_bytes = key.encode()
    return (
        b"(X\x07\x00\x00\x00storage"
        + f"ctorch\n{dtype}\n".encode()
        + b"X"
        + len(key_bytes).to_bytes(4, "little")
        + key_bytes
        + b"X\x03\x00\x00\x00cpu"
        + f"I{length}\n".encode()
        + b"tQ"
    )


def tensor(inside: bytes, offset: int, size: int, stride: int) -> bytes:
    arguments = inside + f"I{offset}\n".encode() + f"(I{size}\nt".encode() + f"(I{stride}\nt".encode() + b"I00\n}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def test_a_tensor_of_our_own_making_is_read(tmp_path: Path) -> None:
    content = torch.arange(4, dtype=torch.float32).numpy().tobytes()
    path = archive(tmp_path / "a.pt", module_with(tensor(storage("0", 4), 1, 2, 2)), {"a/data/0": content})
    assert read_state_dict(path)[0]["x"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (module_with(tensor(storage("../../0", 4), 0, 4, 1)), "no storage"),
        (module_with(tensor(storage("1", 4), 0, 4, 1)), "data/1"),
        (module_with(tensor(storage("0", 2**40), 0, 4, 1)), "holds 16 bytes"),
        (module_with(tensor(storage("0", 2), 0, 2, 1)), "holds 16 bytes"),
        (module_with(tensor(storage("0", 4), 2, 4, 1)), "bounds"),
        (module_with(tensor(storage("0", 4), 0, 2, 4)), "bounds"),
        (module_with(tensor(storage("0", 4), -1, 2, 1)), "damaged"),
        (module_with(tensor(storage("0", 4), 0, 2, -1)), "damaged"),
        (module_with(tensor(storage("0", 4), 0, 10**12, 0)), "tensor"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00xI1\nsb.", "change"),
        (b"\x80\x02c__torch__\nM\n}X\x01\x00\x00\x00xI1\nsb.", "damaged"),
        (b"\x80\x02" + MODULE + b"0]b.", "no dict"),
        (b"\x80\x02}.", "module"),
        (b"\x80\x02", "damaged"),
        (b"", "damaged"),
        (b"\x80\x02\x8a\xff", "damaged"),
        (b"\x80\x02j\x05\x00\x00\x00.", "damaged"),
    ],
)
def test_damaged_and_malicious_archives(data: bytes, message: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", data, {"a/data/0": bytes(16)})
    with pytest.raises(DamagedModelError, match=message):
        read_foreign(path)


def test_a_pickle_cannot_change_what_it_calls(tmp_path: Path) -> None:
    """`BUILD` sets attributes; on a function of ours that would outlast the file."""
    change = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b."
    with pytest.raises(DamagedModelError, match="change"):
        read_foreign(archive(tmp_path / "a.pt", change))


def test_modules_that_hold_themselves_or_each_other(tmp_path: Path) -> None:
    itself = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00xh\x00sb."
    with pytest.raises(UnsupportedModelError, match="tensors"):
        read_foreign(archive(tmp_path / "a.pt", itself))
    deep = b"\x80\x02c__torch__\nM\n)\x81}b"
    for _ in range(64):  # each holds the last one twice: 2^64 paths
        deep += b"q\x000c__torch__\nM\n)\x81}X\x01\x00\x00\x00xh\x00sX\x01\x00\x00\x00yh\x00sb"
    with pytest.raises(UnsupportedModelError, match="tensors"):
        read_foreign(archive(tmp_path / "b.pt", deep + b"."))


def test_members_that_grow_when_unpacked(tmp_path: Path) -> None:
    bomb = {"a/data/0": bytes(2**25)}
    data = module_with(tensor(storage("0", 2**23), 0, 2**23, 1))
    path = archive(tmp_path / "a.pt", data, bomb, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedModelError, match="33554432"):
        read_foreign(path)
    code = {f"a/code/{i}.py": bytes(2**22) for i in range(5)}
    path = archive(tmp_path / "b.pt", module_with(b"N"), code, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedModelError, match="source"):
        read_foreign(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b", "a/data/../../../b"])
def test_a_path_that_climbs_out(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", module_with(b"N"), {name: b"x"})
    with pytest.raises(DamagedModelError, match="climbs"):
        read_foreign(path)


def test_a_zip_that_is_none_of_torchs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as writer:
        writer.writestr("one/a.jpg", b"x")
        writer.writestr("two/b.jpg", b"x")
    with pytest.raises(DamagedModelError, match=r"photos\.zip"):
        read_foreign(tmp_path / "photos.zip")


@pytest.fixture(scope="module")
def small_archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("small")
    module = nn.Sequential(nn.Linear(3, 3), nn.GELU())
    torch.jit.script(module).save(folder / "script.pt")
    torch.save(module.state_dict(), folder / "zip.pt")
    torch.save(module.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(module.state_dict(), folder / "file.safetensors")
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@DEPRECATED
@pytest.mark.parametrize("index", range(4))
def test_files_that_are_cut_off_or_changed_never_crash(index: int, small_archives: list[Path], tmp_path: Path) -> None:
    content = small_archives[index].read_bytes()
    path = tmp_path / "damaged"
    generator = torch.Generator().manual_seed(index)
    places = torch.randint(0, len(content), (150,), generator=generator).tolist()
    for i, place in enumerate(places):
        damaged = bytearray(content)
        if i % 3 == 0:
            damaged = damaged[:place]
        else:
            damaged[place] ^= 1 << (i % 8)
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except ClipError as error:
            assert str(path) in str(error)


# State dicts


def test_a_file_that_does_not_say_asks(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tensors, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"weights\.pt") as caught:
        read_foreign(path)
    assert "activation" in str(caught.value.hint)
    assert activation_of(path, "gelu") == "gelu"
    assert activation_of(path, "quick_gelu") == "quick_gelu"


def test_the_marks_of_openais_release_say(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tensors | MARKS, tmp_path / "weights.pt")
    assert activation_of(path) == "quick_gelu"
    with pytest.raises(UsageError, match="quick_gelu"):
        read_foreign(path, "gelu")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"epoch": 3, "name": "run", "state_dict": t, "optimizer": {"state": {}, "param_groups": []}},
        lambda t: {"model": t},
        lambda t: {f"module.{name}": value for name, value in t.items()},
        lambda t: {"state_dict": {f"module._orig_mod.{name}": value for name, value in t.items()}},
        lambda t: {name: nn.Parameter(value, requires_grad=False) for name, value in t.items()},
        lambda t: {f"text.{n}" if not n.startswith(("visual", "logit")) else n: value for n, value in t.items()},
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_wrapping_makes_no_difference(
    wrap: Callable[[dict[str, Tensor]], Any], new: bool, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    expected = read_foreign(saved(tensors, tmp_path / "plain"), "gelu")
    found = read_foreign(saved(wrap(tensors), tmp_path / "wrapped", _use_new_zipfile_serialization=new), "gelu")
    assert found.config == expected.config
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())


def test_no_code_in_a_pickle_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for new in (True, False):
        path = saved({"x": Intruder(trace)}, tmp_path / "evil.pt", _use_new_zipfile_serialization=new)
        with pytest.raises(UnsupportedModelError, match=r"\S+mkdir") as caught:
            read_foreign(path)
        assert "\n" not in str(caught.value)  # torch's advice to run it all the same
    assert not trace.exists()


def test_a_whole_model_instead_of_its_state(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"torch\.nn\.modules") as caught:
        read_foreign(saved(nn.Linear(2, 2), tmp_path / "model.pt"))
    assert "state" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "list"),
        ({"epoch": 3}, "tensors"),
        ({"encoder.weight": torch.zeros(1)}, "encoder.weight"),
        ({"vision_model.post_layernorm.weight": torch.zeros(1)}, "post_layernorm"),
        ({"token_embedding.weight": torch.zeros(2, 2).to_sparse()}, "quantized"),
    ],
)
def test_files_that_are_no_checkpoints(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read_foreign(saved(content, tmp_path / "file.pt"), "gelu")


def test_the_hubs_own_names_get_the_hint_to_give_the_folder(tmp_path: Path) -> None:
    path = saved({"logit_scale": torch.zeros(())}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError) as caught:
        read_foreign(path)
    assert "folder" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"version https://git-lfs.github.com/spec/v1\n"])
def test_files_of_another_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"file\.pt"):
        read_foreign(tmp_path / "file.pt")


def test_a_safetensors_header_that_claims_ten_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes((10 * 2**30).to_bytes(8, "little") + b'{"x": 1}')
    with pytest.raises(DamagedModelError, match=r"file\.pt"):
        read_foreign(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda t: t.pop("visual.conv1.weight"), DamagedModelError, "vision_model.embeddings.patch_embedding"),
        (lambda t: t.pop("text_projection"), DamagedModelError, "text_projection"),
        (lambda t: t.update({"positional_embedding": torch.zeros(3)}), DamagedModelError, r"\[3\]"),
        (lambda t: t.update({"logit_bias": torch.zeros(())}), UnsupportedModelError, "logit_bias"),
        (lambda t: t.update({"visual.attn_pool.q": torch.zeros(1)}), UnsupportedModelError, "visual.attn_pool.q"),
        (lambda t: t.update({"text.ln_final.bias": t["ln_final.bias"]}), DamagedModelError, "second"),
        (lambda t: t.update({"visual.conv1.weight": torch.zeros(130, 3, 16, 16)}), UnsupportedModelError, "130"),
    ],
)
def test_networks_that_are_not_whole_or_not_ours(
    edit: Callable[[dict[str, Tensor]], Any],
    error: type[ClipError],
    message: str,
    tensors: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    edit(tensors)
    with pytest.raises(error, match=message):
        read_foreign(saved(tensors, tmp_path / "weights.pt"), "gelu")


def test_fused_attention_is_split_in_order() -> None:
    fused = torch.arange(12.0).view(6, 2)
    name = "visual.transformer.resblocks.3.attn.in_proj_weight"
    parts = renamed({name: fused}, VIT_RULES, "x")
    layer = "vision_model.encoder.layers.3.self_attn"
    assert {key: value.tolist() for key, value in parts.items()} == {
        f"{layer}.q_proj.weight": [[0, 1], [2, 3]],
        f"{layer}.k_proj.weight": [[4, 5], [6, 7]],
        f"{layer}.v_proj.weight": [[8, 9], [10, 11]],
    }


# Published towers: width and heads, from the configs of open_clip and Chinese-CLIP.
@pytest.mark.parametrize(
    ("width", "heads"), [(768, 12), (1024, 16), (1280, 16), (1408, 16), (1664, 16), (512, 8), (2048, 32)]
)
def test_heads_of_published_image_towers(width: int, heads: int) -> None:
    assert heads_of(width, "x", vit=True) == heads


@pytest.mark.parametrize(("width", "heads"), [(512, 8), (640, 10), (768, 12), (1024, 16), (1280, 20)])
def test_heads_of_published_text_towers(width: int, heads: int) -> None:
    assert heads_of(width, "x") == heads


def test_end_of_text_is_the_highest_id() -> None:
    text = read_foreign(VIT).config["text_config"]
    assert (text["vocab_size"], text["eos_token_id"], text["max_position_embeddings"]) == (514, 513, 16)


# open_clip's config


@pytest.fixture
def open_clip(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "open_clip", tmp_path / "open_clip"))


def edit_open_clip(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_the_config_decides_what_shapes_cannot(open_clip: Path) -> None:
    checkpoint = read_foreign(open_clip)
    vision, text = checkpoint.config["vision_config"], checkpoint.config["text_config"]
    assert (vision["num_attention_heads"], text["num_attention_heads"]) == (2, 2)
    assert (vision["hidden_act"], text["hidden_act"]) == ("gelu", "gelu")
    assert (vision["intermediate_size"], text["intermediate_size"]) == (96, 128)
    assert checkpoint.preprocessing["size"] == {"height": 32, "width": 32}
    assert checkpoint.preprocessing["do_center_crop"] is False
    assert checkpoint.preprocessing["image_std"] == [0.5, 0.25, 0.5]
    edit_open_clip(open_clip, lambda c: c["model_cfg"].update(quick_gelu=True))
    edit_open_clip(open_clip, lambda c: c["preprocess_cfg"].update(resize_mode="shortest", interpolation="bilinear"))
    checkpoint = read_foreign(open_clip)
    assert checkpoint.config["vision_config"]["hidden_act"] == "quick_gelu"
    assert checkpoint.preprocessing["size"] == {"shortest_edge": 32}
    assert (checkpoint.preprocessing["do_center_crop"], checkpoint.preprocessing["resample"]) == (True, 2)
    with pytest.raises(UsageError, match="gelu"):
        read_foreign(open_clip, "gelu")


def test_the_config_beside_a_file_is_used(open_clip: Path) -> None:
    expected = read_foreign(open_clip)
    assert read_foreign(open_clip / "open_clip_model.safetensors").config == expected.config


def test_safetensors_go_before_their_pickled_twin(open_clip: Path) -> None:
    (open_clip / "open_clip_pytorch_model.bin").write_bytes(b"not read")
    read_foreign(open_clip)
    state = load_file(open_clip / "open_clip_model.safetensors")
    (open_clip / "open_clip_model.safetensors").unlink()
    saved(state, open_clip / "open_clip_pytorch_model.bin")
    assert read_foreign(open_clip).family == "clip"
    saved(state, open_clip / "another.pt")
    with pytest.raises(UsageError, match=r"another\.pt, open_clip_pytorch_model\.bin"):
        read_foreign(open_clip)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model_cfg"]["vision_cfg"].update(pool_type="avg"), "vision_cfg: pool_type.*'avg'"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(ls_init_value=0.1), "ls_init_value"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(no_ln_pre=True), "no_ln_pre"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="vit"), "timm_model_name"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(norm_kwargs={"eps": 1e-6}), "norm_kwargs"),
        (lambda c: c["model_cfg"]["text_cfg"].update(act_kwargs={"approximate": "tanh"}), "act_kwargs"),
        (lambda c: c["model_cfg"]["text_cfg"].update(no_causal_mask=True), "no_causal_mask"),
        (lambda c: c["model_cfg"]["text_cfg"].update(pool_type="last"), "text_cfg: pool_type.*'last'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="roberta"), "hf_model_name"),
        (lambda c: c["model_cfg"].update(multimodal_cfg={"width": 1}), "multimodal_cfg"),
        (lambda c: c["preprocess_cfg"].update(resize_mode="longest"), "resize_mode.*'longest'"),
        (lambda c: c["preprocess_cfg"].update(interpolation="random"), "interpolation.*'random'"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, open_clip: Path
) -> None:
    edit_open_clip(open_clip, change)
    with pytest.raises(UnsupportedModelError, match=message):
        read_foreign(open_clip)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(model_cfg=[]),
        lambda c: c["model_cfg"].pop("vision_cfg"),
        lambda c: c["model_cfg"]["vision_cfg"].update(width="wide"),
        lambda c: c["model_cfg"]["vision_cfg"].update(head_width=0),
        lambda c: c["model_cfg"]["text_cfg"].update(heads=None),
    ],
)
def test_configs_that_are_none(change: Callable[[dict[str, Any]], Any], open_clip: Path) -> None:
    edit_open_clip(open_clip, change)
    with pytest.raises(DamagedModelError, match=r"open_clip_config\.json"):
        read_foreign(open_clip)


def test_training_settings_and_what_is_switched_off_are_let_through(open_clip: Path) -> None:
    edit_open_clip(open_clip, lambda c: c["model_cfg"]["vision_cfg"].update(patch_dropout=0.5, no_ln_pre=False))
    edit_open_clip(open_clip, lambda c: c["model_cfg"]["text_cfg"].update(act_kwargs=None, hf_model_name=None))
    assert read_foreign(open_clip).family == "clip"


# Chinese-CLIP


def test_chinese_clip_says_what_it_is() -> None:
    checkpoint = read_foreign(DATA / "chinese-vit.pt")
    vision, text = checkpoint.config["vision_config"], checkpoint.config["text_config"]
    assert checkpoint.family == "chinese_clip"
    assert (vision["hidden_act"], text["hidden_act"]) == ("quick_gelu", "gelu")
    assert (text["num_attention_heads"], text["intermediate_size"], text["layer_norm_eps"]) == (2, 96, 1e-12)
    assert checkpoint.preprocessing["size"] == {"height": 32, "width": 32}
    assert not any("pooler" in name for name in checkpoint.tensors)
    with pytest.raises(UsageError, match="gelu"):
        read_foreign(DATA / "chinese-vit.pt", "gelu")


def test_resnets_lose_their_counts_of_batches() -> None:
    stored = torch.load(DATA / "chinese-rn.pt", weights_only=True)["state_dict"]
    assert any(name.endswith("num_batches_tracked") for name in stored)
    checkpoint = read_foreign(DATA / "chinese-rn.pt")
    assert checkpoint.config["vision_config"]["num_hidden_layers"] == [1, 1, 2, 1]
    assert not any(name.endswith("num_batches_tracked") for name in checkpoint.tensors)


def test_reading_leaves_the_file_alone(tmp_path: Path) -> None:
    path = Path(shutil.copy(VIT, tmp_path / "vit.pt"))
    before = path.read_bytes()
    for value in read_foreign(path).tensors.values():
        value.zero_()
    assert path.read_bytes() == before
    assert io.BytesIO(before).read(4) == b"PK\x03\x04"
