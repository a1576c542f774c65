"""What lies in a model folder and in the hub's cache, read without a request.

The cache belongs to huggingface_hub; its documented layout (`refs/<revision>` names a commit,
`snapshots/<commit>` holds the files) is read here directly, because importing the client costs a sixth of a
second. Only `huggingface_hub.constants` is imported (10 ms), so that `HF_HOME`, `HF_HUB_CACHE` and
`XDG_CACHE_HOME` mean here what they mean everywhere.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from clipcli.checkpoints import open_clip
from clipcli.checkpoints.config import architectures
from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json

CONFIG = "config.json"
SENTENCE_TRANSFORMERS = ("modules.json", "0_CLIPModel")
"""A file that every model of sentence-transformers has, and the folder in it that holds the network of a CLIP."""
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # newer; the settings for images are a section of it
SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
_VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("sentencepiece.bpe.model",),
    ("spiece.model",),
)
A_MODEL_FOLDER = (
    "a model folder holds config.json, preprocessor_config.json or processor_config.json, weights and a tokenizer "
    f"({', or '.join(' + '.join(names) for names in _VOCABULARIES)})"
)
_WEIGHTS = ((SAFETENSORS, SAFETENSORS_INDEX), (PICKLE, PICKLE_INDEX))

# A number format or the like between name and ending, as `save_pretrained(variant="fp16")` writes it.
_VARIANT = re.compile(
    r"(model\.\w+\.safetensors|model\.safetensors\.index\.\w+\.json"
    r"|pytorch_model\.(?!bin\.)\w+\.bin|pytorch_model\.bin\.index\.\w+\.json)"
)

_COMMIT = re.compile(r"[0-9a-f]{40}")
# How the names of classes of one tower end.
_IMAGE_ONLY = ("ForImageClassification", "VisionModel", "VisionModelWithProjection")
_TEXT_ONLY = ("TextModel", "TextModelWithProjection")


def is_variant(name: str) -> bool:
    """Whether a file holds weights, or names those that do, under the name of a variant such as `fp16`."""
    return _VARIANT.fullmatch(name) is not None


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it downloads (`HF_HUB_CACHE`, else `hub` under `HF_HOME`)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repo_folder(hub_id: str) -> Path:
    """The cache folder of one model, whether it exists or not."""
    return cache_folder() / "--".join(["models", *hub_id.split("/")])


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, written in full."""
    return _COMMIT.fullmatch(revision) is not None


def network_folder(folder: Path) -> Path:
    """The folder in a model's folder that holds the network: the model's own, but for sentence-transformers."""
    marker, network = SENTENCE_TRANSFORMERS
    is_root = os.path.isfile(folder / marker) and os.path.isfile(folder / network / CONFIG)
    return folder / network if is_root else folder


def commit_of(network: Path) -> str:
    """The commit of a cached snapshot, by its network's folder."""
    return network.name if is_commit(network.name) else network.parent.name


def cached_commit(hub_id: str, revision: str) -> str | None:
    """The commit that a branch or tag meant when it was last fetched, or None if it never was."""
    if is_commit(revision):
        return revision
    try:
        return (repo_folder(hub_id) / "refs" / revision).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def snapshot_folder(hub_id: str, revision: str) -> Path | None:
    """Where the network of a revision is cached, complete or not, or None if it is not."""
    commit = cached_commit(hub_id, revision)
    if commit is None:
        return None
    folder = repo_folder(hub_id) / "snapshots" / commit
    return network_folder(folder) if folder.is_dir() else None


def best_snapshot(hub_id: str, revisions: Sequence[str]) -> tuple[Path | None, tuple[str, ...]]:
    """The first whole snapshot among revisions, else the first that is there; and what it lacks."""
    folders = (snapshot_folder(hub_id, revision) for revision in revisions)
    found = [(folder, missing_files(folder)) for folder in folders if folder is not None]
    return next((each for each in found if not each[1]), found[0] if found else (None, ()))


def whole_revisions(hub_id: str) -> dict[str, Path]:
    """The snapshots of a model that can be run, newest first, by what a `revision` may call them.

    That is a branch or tag that means the snapshot, else its commit.
    """
    refs = repo_folder(hub_id) / "refs"
    names = [path.relative_to(refs).as_posix() for path in refs.rglob("*") if path.is_file()]
    by_commit = {cached_commit(hub_id, name): name for name in sorted(names, key=len, reverse=True)}
    snapshots = [path for path in (repo_folder(hub_id) / "snapshots").glob("*") if is_commit(path.name)]
    snapshots.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    networks = {by_commit.get(path.name, path.name): network_folder(path) for path in snapshots}
    return {name: network for name, network in networks.items() if not missing_files(network)}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a checkpoint's weights: safetensors before `.bin`, whole before sharded.

    Returns:
        One path, or every shard that the index names, in name order; existing files only.

    Raises:
        UnsupportedModelError: There are several variants, and none without a name.
        DamagedModelError: There are no weights, a shard is missing, or the index cannot be read.
    """
    for whole, index in _WEIGHTS:
        if (folder / whole).is_file():
            return (folder / whole,)
        if (folder / index).is_file():
            return _shards(folder, index)
    variants = sorted(path.name for path in folder.glob("*") if is_variant(path.name) and path.is_file())
    if len(variants) > 1:
        raise UnsupportedModelError(
            f"{folder} holds several variants of its weights: {', '.join(variants)}",
            hint=f"copy the one that you want to {SAFETENSORS}",
        )
    if variants:
        return _shards(folder, variants[0]) if variants[0].endswith(".json") else (folder / variants[0],)
    raise DamagedModelError(
        f"{folder} holds no weights: expected {SAFETENSORS}, {SAFETENSORS_INDEX} or {PICKLE}",
        hint=A_MODEL_FOLDER,
    )


def missing_files(folder: Path) -> tuple[str, ...]:
    """Names of what a model folder lacks to be run.

    A dangling link, an empty file and a config or index that is cut off count as missing: older tools leave such
    snapshots behind. A checkpoint of one tower needs nothing for the other one.
    """
    if open_clip.is_open_clip(folder):
        return () if any(_is_there(folder / name) for name in open_clip.WEIGHTS) else open_clip.WEIGHTS[:1]
    classes = _architectures(folder / CONFIG)
    if classes is None:
        return (CONFIG,)
    missing = []
    if not any(name.endswith(_TEXT_ONLY) for name in classes) and not _has_preprocessing(folder):
        missing.append(PREPROCESSOR)
    if not any(name.endswith(_IMAGE_ONLY) for name in classes) and not _has_tokenizer(folder):
        missing.append("tokenizer.json")
    return (*missing, *_missing_weights(folder))


def shard_names(index: Path) -> tuple[str, ...]:
    """Names of the weight files that an index lists.

    Raises:
        DamagedModelError: The index cannot be read, or names a file outside its own folder.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DamagedModelError(f'{index} lists no weights under "weight_map"')
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise DamagedModelError(f"{index} names a file outside its folder: {name}")
    return tuple(names)


def _shards(folder: Path, index: str) -> tuple[Path, ...]:
    shards = tuple(folder / name for name in shard_names(folder / index))
    absent = [shard.name for shard in shards if not shard.is_file()]
    if absent:
        raise DamagedModelError(f"{folder} lacks {', '.join(absent)}, named in {index}")
    return shards


def _missing_weights(folder: Path) -> tuple[str, ...]:
    for whole, index in _WEIGHTS:
        if _is_there(folder / whole):
            return ()
        if _is_there(folder / index):
            try:
                return tuple(name for name in shard_names(folder / index) if not _is_there(folder / name))
            except DamagedModelError:
                return (index,)
    return () if any(is_variant(path.name) and _is_there(path) for path in folder.glob("*")) else (SAFETENSORS,)


def _architectures(config: Path) -> list[str] | None:
    try:
        return architectures(read_json(config))
    except (DamagedModelError, OSError):
        return None


def _has_preprocessing(folder: Path) -> bool:
    try:
        return _is_there(folder / PREPROCESSOR) or read_json(folder / PROCESSOR).get("image_processor") is not None
    except (DamagedModelError, OSError):
        return False


def _has_tokenizer(folder: Path) -> bool:
    return any(all(_is_there(folder / name) for name in names) for names in _VOCABULARIES)


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
