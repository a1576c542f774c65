"""Checkpoints that are damaged or hostile by design.

Tiny checkpoints of every family, and files of other layouts, whose configs, tensors, tokenizers and files are changed.
What is held: each either works or is refused with status 4 or 2 in a sentence that names it; nothing else is raised, no
code in a file runs, no trial takes half a minute, and none takes a gigabyte of memory.
"""

import atexit
import functools
import json
import os
import pickle
import random
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import clipcli
from clipcli.errors import ClipError, ExitStatus
from tests.helpers.checkpoints import WRITERS
from tests.torture import campaign, hostile_json

FORMATS = Path(__file__).parent.parent / "data" / "formats"
OTHER_LAYOUTS = ("openai-vit.pt", "openai-rn.pt", "chinese-vit.pt", "open_clip-custom.pt")
OTHER_FOLDERS = ("open_clip", "open_clip-xlm-roberta", "open_clip-biomed", "open_clip-pe", "flax", "tensorflow")
OTHER_TOKENIZERS = {"open_clip-xlm-roberta": "unigram-tokenizer", "open_clip-biomed": "chinese-tokenizer"}
TEXTS = ["a photo of a cat", "猫 é ½ " * 40, "", "<|endoftext|> [MASK] </s>"]
DTYPES = [
    torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64,
    torch.float8_e4m3fn,
]  # fmt: skip
MOST_SECONDS = 30
MOST_BYTES = 10**9

Change = Callable[[random.Random, Path], None]


class Intruder:
    """Whoever unpickles this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def trial(rng: random.Random, folder: Path) -> str:
    """One checkpoint."""
    model = folder / "model"
    kind = rng.choice([*WRITERS, *OTHER_LAYOUTS, *OTHER_FOLDERS])
    _copy(kind, model)
    changes = [_config, _config, _json_text, _file, _tensors, _header, _bytes, _pickle, _vocabulary, _pipeline]
    change = rng.choice(changes)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        change(rng, model)
    name = model / kind if kind in OTHER_LAYOUTS else model
    with campaign.variables(CLIPCLI_CACHE_DIR=str(folder / "cache")), campaign.bounded(MOST_SECONDS, MOST_BYTES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = _use(name)
    if (folder / "intruder").exists():
        raise AssertionError("code of the file was run")
    return f"{change.__name__.strip('_')}: {outcome}"


def _use(name: Path) -> str:
    try:
        model = clipcli.load(name)
        for encode, inputs in ((model.encode_texts, TEXTS), (model.encode_images, [Image.new("RGB", (60, 40), "red")])):
            features = encode(inputs)
            if features.shape[0] != len(inputs) or not np.isfinite(features).all():
                raise AssertionError("features that are no numbers")
    except ClipError as error:
        if error.exit_status not in (ExitStatus.MODEL, ExitStatus.USAGE):
            raise AssertionError(f"status {error.exit_status}") from error
        if not str(error) or "\n" in str(error) or len(str(error)) > 6000:
            raise AssertionError(f"not a sentence: {str(error)[:300]!r}") from error
        return "unforeseen" if "hold what no such file should" in str(error) else "refused"
    return "works"


@functools.cache
def _seeds() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="torture-checkpoints-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _copy(kind: str, target: Path) -> None:
    if kind in WRITERS:
        seed = _seeds() / kind
        if not seed.exists():
            WRITERS[kind](seed)
        shutil.copytree(seed, target)
        return
    target.mkdir()
    if kind in OTHER_LAYOUTS:
        shutil.copy(FORMATS / kind, target)
    else:
        shutil.copytree(FORMATS / kind, target, dirs_exist_ok=True)
    usual = "chinese-tokenizer" if kind.startswith("chinese") else "clip-tokenizer"
    shutil.copytree(FORMATS / OTHER_TOKENIZERS.get(kind, usual), target, dirs_exist_ok=True)


def _some(rng: random.Random, folder: Path, *suffixes: str) -> Path | None:
    found = sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink() and p.suffix in suffixes)
    return rng.choice(found) if found else None


def _config(rng: random.Random, folder: Path) -> None:
    """A value in one of the settings."""
    paths = [p for p in sorted(folder.glob("*config*.json")) if p.is_file()]
    if not paths:
        return
    path = rng.choice(paths)
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return
    path.write_text(json.dumps(hostile_json.mutated(rng, content)))


def _json_text(rng: random.Random, folder: Path) -> None:
    """JSON that is none, or more than it seems."""
    path = _some(rng, folder, ".json")
    if path is None:
        return
    text = path.read_bytes()
    path.write_bytes(
        rng.choice(
            [
                text[: rng.randrange(len(text) + 1)],
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b"\xef\xbb\xbf" + text,
                b"\xff" + text,
                text.replace(b":", b"=", 1),
                text + b"{}",
                b"",
                b"null",
                b"[]",
                b'{"model_type": "clip"}',
                b"\xff\xfe" + text,
                text.replace(b"{", b'{"vision_config": 1, ', 1),
                b"9" * 10_000,
            ]
        )
    )


def _file(rng: random.Random, folder: Path) -> None:
    """A file that is something else."""
    path = rng.choice(sorted(folder.iterdir()))
    if path.is_dir() and not path.is_symlink():
        return
    path.unlink()
    way = rng.randrange(8)
    if way == 0:
        os.mkfifo(path)
    elif way == 1:
        path.symlink_to("/dev/zero")
    elif way == 2:
        path.mkdir()
    elif way == 3:
        path.touch()
    elif way == 4:
        with path.open("wb") as stream:
            stream.truncate(rng.choice([2**20, 2**30, 2**33, 2**37]))
    elif way == 5:
        path.symlink_to(path.name)
    elif way == 6:
        path.symlink_to("/proc/self/mem")


def _tensors(rng: random.Random, folder: Path) -> None:
    """Tensors of other names, shapes, types and numbers."""
    path = _some(rng, folder, ".safetensors")
    if path is None:
        return _bytes(rng, folder)
    try:
        tensors = load_file(path)
    except Exception:  # changed before
        return
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    with torch.no_grad():
        changed = rng.choice(
            [
                lambda: None,
                lambda: tensor.flatten(),
                lambda: tensor[None],
                lambda: tensor.to(rng.choice(DTYPES)),
                lambda: tensor * float("nan"),
                lambda: tensor * float("inf"),
                lambda: tensor * 1e30,
                lambda: tensor * 0,
                lambda: tensor[:0],
                lambda: tensor.repeat(2, *[1] * (tensor.ndim - 1)),
                lambda: torch.zeros(()),
                lambda: torch.zeros(1),
            ]
        )
        try:
            value = changed()
        except (RuntimeError, IndexError):
            value = None
    if value is None:
        del tensors[name]
    else:
        tensors[name if rng.random() < 0.8 else name + "x"] = value.contiguous()
    if rng.random() < 0.1:
        tensors = {rng.choice(["model.", "clip.", "module.", "\0", ""]) + key: value for key, value in tensors.items()}
    save_file({key: value.clone() for key, value in tensors.items()}, path, rng.choice([None, {"format": "tf"}]))


def _header(rng: random.Random, folder: Path) -> None:
    """A safetensors header that lies."""
    path = _some(rng, folder, ".safetensors")
    if path is None:
        return _bytes(rng, folder)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        return
    text = json.dumps(hostile_json.mutated(rng, header)).encode()
    claimed = rng.choice([len(text)] * 5 + [0, 2**40, 2**64 - 1])
    path.write_bytes(claimed.to_bytes(8, "little") + text + data[8 + length :])


def _bytes(rng: random.Random, folder: Path) -> None:
    """Bytes of any file."""
    path = rng.choice(sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink()))
    data = bytearray(path.read_bytes()[: 2**24])
    if not data:
        return
    for _ in range(rng.choice([1, 3, 30])):
        data[rng.randrange(rng.choice([min(200, len(data)), len(data)]))] = rng.randrange(256)
    path.write_bytes(data[: rng.choice([len(data)] * 3 + [rng.randrange(len(data))])])


def _pickle(rng: random.Random, folder: Path) -> None:
    """A pickle in place of the weights: claims, code, archives that grow, and things that are no tensors."""
    path = next((folder / name for name in OTHER_LAYOUTS if (folder / name).is_file()), folder / "pytorch_model.bin")
    tensors = {"x": torch.zeros(3)}
    whole = folder / "model.safetensors"
    if whole.is_file() and not whole.is_symlink():
        try:
            tensors = load_file(whole)
        except Exception:  # changed before
            tensors = {"x": torch.zeros(3)}
        whole.unlink()
    name = rng.choice(sorted(tensors))
    loop: dict[str, Any] = {}
    loop["state_dict"] = loop
    content: Any = rng.choice(
        [
            tensors,
            {**tensors, name: torch.zeros(1).expand(2**20, 2**20)},
            {**tensors, name: torch.zeros(2, device="meta")},
            {key: torch.zeros(()).expand(value.shape) for key, value in tensors.items()},
            {**tensors, name: Intruder(folder.parent / "intruder")},
            {**tensors, name: tensors[name].to_sparse()},
            {**tensors, name: tensors[name].to(torch.complex64)},
            [tensors],
            tensors[name],
            {"state_dict": tensors},
            {"model": {f"module.{key}": value for key, value in tensors.items()}},
            {1: tensors[name]},
            loop,
            {},
            None,
            {**tensors, name: "text"},
            {**tensors, name: bytearray(2**20)},
            Intruder(folder.parent / "intruder"),
        ]
    )
    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7, pickle_protocol=rng.choice([2, 4]))
    if rng.random() < 0.1 and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(
                rng.choice([f"{path.stem}/data/77", "../out", "/abs", f"{path.stem}/constants.pkl"]), bytes(2**26)
            )
    if rng.random() < 0.1:
        path.write_bytes(
            rng.choice([pickle.dumps(Intruder(folder.parent / "intruder")), b"\x80\x02" + b"(" * 10**6, b"\x80\x02."])
        )
    if rng.random() < 0.1:
        _bytes(rng, folder)


def _vocabulary(rng: random.Random, folder: Path) -> None:
    """Tokens, ids and merges."""
    path = _some(rng, folder, ".txt", ".model") if rng.random() < 0.5 else None
    if path is not None:
        lines = path.read_bytes().split(b"\n")
        at = rng.randrange(len(lines))
        lines[at : at + 1] = rng.choice(
            [
                [],
                [b""],
                [b" "],
                [lines[0]],
                [b"\xff\xfe"],
                [b"a" * 10**6],
                [lines[at]] * 3,
                [b"x y z"],
                [b"\0"],
                [b"[UNK]"],
                [b"<|endoftext|> x"],
                [b"q q"] * 10_000,
            ]
        )
        path.write_bytes(b"\n".join(lines))
        return
    paths = [folder / name for name in ("vocab.json", "tokenizer.json", "tokenizer_config.json")]
    found = [path for path in paths if path.is_file() and not path.is_symlink()]
    if not found:
        return
    path = rng.choice(found)
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return
    path.write_text(json.dumps(hostile_json.mutated(rng, content)))


def _pipeline(rng: random.Random, folder: Path) -> None:
    """A `tokenizer.json` that says itself what is done to a text, and does too much."""
    path = folder / "tokenizer.json"
    endless = {"max_length": 10**9, "strategy": "LongestFirst", "stride": 5, "direction": "Left"}
    filled = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
    special = {"id": "x", "ids": [0] * rng.choice([1, 10**5]), "tokens": ["x"] * 1}
    multiply = {
        "type": "Replace",
        "pattern": {"String": rng.choice(["a", " ", ""])},
        "content": "a " * rng.choice([5, 10**6]),
    }
    again = {
        "type": "Replace",
        "pattern": {"Regex": rng.choice([".", "", "(a+)+b", "("])},
        "content": "aa" * rng.choice([1, 40]),
    }
    content = {
        "version": "1.0",
        "truncation": rng.choice([None, endless]),
        "padding": rng.choice([None, {**filled, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}]),
        "added_tokens": rng.choice(
            [
                [],
                [
                    {
                        "id": 0,
                        "content": "x",
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": True,
                        "special": True,
                    }
                ],
            ]
        ),
        "normalizer": rng.choice(
            [
                None,
                multiply,
                {"type": "Sequence", "normalizers": [again] * rng.choice([2, 40])},
                {"type": "Prepend", "prepend": "a" * 10**6},
            ]
        ),
        "pre_tokenizer": rng.choice([None, {"type": "Whitespace"}, {"type": "Nothing"}]),
        "post_processor": rng.choice(
            [
                None,
                {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * rng.choice([1, 500]),
                    "pair": [],
                    "special_tokens": {"x": special},
                },
            ]
        ),
        "decoder": None,
        "model": rng.choice(
            [
                {"type": "WordLevel", "vocab": {"x": 0, "a": 1}, "unk_token": "x"},
                {"type": "BPE", "vocab": {"x": 0, "a": 10**9}, "merges": []},
                {"type": "Unigram", "vocab": [["x", 0.0], ["a", float("nan")]], "unk_id": rng.choice([0, 9])},
                {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]},
            ]
        ),
    }
    path.write_text(json.dumps(content))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "x"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = folder / "config.json"
    try:
        described = json.loads(config.read_text()) if config.is_file() and rng.random() < 0.7 else None
    except ValueError:
        return
    if isinstance(described, dict) and isinstance(described.get("text_config", {}), dict):
        described.setdefault("text_config", {})["vocab_size"] = rng.choice([1, 2])
        config.write_text(json.dumps(described))
