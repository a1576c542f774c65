"""Checkpoints of other layouts, written into folders in the hub's layout, so that all else knows only that one.

`resolve_model` is the seam: what a user names as the model becomes a folder of that layout, whatever it was. A
file is converted once and kept in the user's cache; `check_foreign` looks at it and writes nothing. Imports torch
only inside functions: a file that was converted before costs no more than a folder.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli import hub
from clipcli.checkpoints.config import ModelConfig, parse_config
from clipcli.errors import ClipError, ModelError, ModelNotFoundError, UsageError
from clipcli.files import FileStamp, cache_folder
from clipcli.foreign import openai_bpe
from clipcli.images.preprocess import Preprocessing
from clipcli.progress import Progress
from clipcli.text.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from clipcli.foreign.hub_layout import HubCheckpoint

_OPENAI_MERGES = "bpe_simple_vocab_16e6.txt.gz"
_PACKAGES = ("clip", "open_clip")  # carry it
_OLDER_WEIGHTS = ("flax_model.msgpack", "tf_model.h5")
_PUBLISHED = {"clip": "openai/clip-vit-base-patch32", "chinese_clip": "OFA-Sys/chinese-clip-vit-base-patch16"}
_LAYOUT = "1"  # counts up when what is written for the same file changes
_OURS = re.compile(r"\.?[0-9a-f]{20}-[0-9a-f]{20}(\.\d+\.tmp)?")


@dataclass(frozen=True, slots=True)
class KeptConversions:
    """The conversions that are kept in the user's cache, unfinished ones among them."""

    path: Path
    folders: tuple[Path, ...]
    size_bytes: int


def resolve_model(
    name: str,
    *,
    revision: str | None = None,
    offline: bool = False,
    on_progress: Progress | None = None,
) -> hub.ModelFiles:
    """Find a model as `hub.resolve_model` does, and take files and folders of other layouts too.

    Raises:
        UsageError: A foreign file does not say which activation its network has, or a revision is given for it.
        ModelError: As `hub.resolve_model`, or as `read_foreign`.
        ClipError: What is fetched or converted cannot be stored.
    """
    if not is_foreign(name):
        return hub.resolve_model(name, revision=revision, offline=offline, on_progress=on_progress)
    if revision is not None:
        raise UsageError(
            f"revision {revision} does not go with {name}: only hub models have revisions",
            parameter="revision",
            value=revision,
        )
    source = Path(os.path.expanduser(name))
    folder = _kept_folder(source)
    if not folder.is_dir():
        try:
            convert(source, folder)
        except ClipError:
            if not folder.is_dir():  # else another run was faster
                raise
        _forget_older(folder)
    return hub.ModelFiles(name, folder, None, "folder")


def is_foreign(name: str) -> bool:
    """Whether a name means a file, or a folder without weights in the hub's newer formats. Needs no torch to tell."""
    if name == hub.DEMO or not name or hub.find_checkpoint(name) is not None:
        return False
    source = Path(os.path.expanduser(name))
    if not os.path.exists(source / "config.json"):  # unlike Path's, false for what cannot be a path
        return os.path.isfile(source) or os.path.isfile(source / "open_clip_config.json")
    newer = any(source.glob("*.safetensors")) or any(source.glob("*.bin"))
    return not newer and any(os.path.isfile(source / older) for older in _OLDER_WEIGHTS)


def kept_conversion(name: str) -> Path | None:
    """The folder that a file of another layout was converted into when it was last run, or None if it never was.

    Raises:
        ClipError: The file cannot be looked at.
    """
    folder = _kept_folder(Path(os.path.expanduser(name)))
    return folder if folder.is_dir() else None


def foreign_config(name: str) -> ModelConfig:
    """Read what networks a checkpoint of another layout holds, writing nothing.

    Raises:
        UsageError: It does not say which activation its network has.
        ModelError: It is damaged or not supported.
    """
    return _read(Path(os.path.expanduser(name)))[1]


def check_foreign(name: str) -> None:
    """Check all that a run needs of a checkpoint of another layout, its tokenizer too, writing nothing.

    Raises:
        UsageError: It does not say which activation its network has.
        ModelError: As `convert`.
    """
    source = Path(os.path.expanduser(name))
    _find_tokenizer(_read(source)[0], source, None)


def verify_foreign(name: str) -> tuple[hub.FileCheck, ...]:
    """Check the files of a checkpoint of another layout. No hashes of them are known, so all is read and compared.

    Raises:
        ModelError: Each file is whole, but together they are no checkpoint that this program runs.
    """
    source = Path(os.path.expanduser(name))
    files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    checks = tuple(hub.check_file(path) for path in files)
    if not any(check.status == "damaged" for check in checks):
        with suppress(UsageError):  # whole, though it does not say which activation its network has
            _read(source)
    return checks


def convert(source: Path, target: Path, *, activation: str | None = None, tokenizer: Path | None = None) -> None:
    """Write a checkpoint of another layout as a folder in the hub's layout, weights as safetensors.

    The weights keep their number format; the config says float32, which is what they are computed in.

    Args:
        source: A file, a folder of open_clip's, or a hub folder with Flax's or TensorFlow's weights only.
        target: A folder that does not exist yet, or is empty.
        activation: `gelu` or `quick_gelu`, where the file does not say.
        tokenizer: A folder with the tokenizer's files, or the `bpe_simple_vocab_16e6.txt.gz` of OpenAI's package and
            open_clip. Without it the source's own folder, the hub's cache and those packages are searched for one of
            the family with as many tokens as the text tower knows.

    Raises:
        UsageError: The activation must be given, or the target is taken.
        ModelError: The source is damaged or not supported, or there is no tokenizer for it.
        ClipError: The target cannot be written.
    """
    target = Path(os.path.abspath(target))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already", hint="name a new folder")
    if not source.exists():
        raise ModelNotFoundError(f"no such file or folder: {source}")
    if source.is_dir() and not hub.missing_files(source):
        raise UsageError(f"{source} is in the hub's layout already", hint="use it as it is")
    checkpoint, _ = _read(source, activation)
    vocabulary = _find_tokenizer(checkpoint, source, tokenizer)
    with _new_folder(target) as folder:
        if vocabulary.is_file():
            openai_bpe.write_tokenizer(vocabulary, folder, checkpoint.vocab_size)
        for name in hub.TOKENIZER_FILES:
            if (vocabulary / name).is_file():
                shutil.copyfile(vocabulary / name, folder / name)
        _write(checkpoint, folder)


def kept_conversions() -> KeptConversions:
    """What files of other layouts were converted into: a folder each in the user's cache, which need not exist."""
    path = _kept_in()
    folders = tuple(sorted(folder for folder in path.glob("*") if _OURS.fullmatch(folder.name) and folder.is_dir()))
    sizes = (file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    return KeptConversions(path, folders, sum(sizes))


def forget_conversions() -> int:
    """Remove all conversions that are kept, and return how many there were; each is made again when it is needed.

    Raises:
        ClipError: One cannot be removed.
    """
    kept = kept_conversions()
    for folder in kept.folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise ClipError(f"{error.filename or folder} cannot be removed: {error.strerror}") from error
    return len(kept.folders)


def _read(source: Path, activation: str | None = None) -> "tuple[HubCheckpoint, ModelConfig]":
    """Read a checkpoint and check that its weights, its config and its preprocessing fit this program and each other.

    Raises:
        UsageError: As `convert`.
        ModelError: As `convert`.
    """
    from clipcli.foreign.recognise import read_foreign
    from clipcli.networks.loading import CheckpointWeights, check_fit

    checkpoint = read_foreign(source, activation)
    config = parse_config(checkpoint.config, source)
    check_fit(config, CheckpointWeights.of(checkpoint.tensors, f"{source}, converted,"))
    preprocessing = Preprocessing.from_config(checkpoint.preprocessing, str(source))
    if config.vision is not None:
        preprocessing.check_output_size(config.vision.image_size, str(source), str(source))
    return checkpoint, config


def _kept_in() -> Path:
    return cache_folder() / "converted"


def _kept_folder(source: Path) -> Path:
    """Where a file as it is now is converted into: named by its path, and by the state of all that is read."""
    beside = (source.parent / name for name in ("open_clip_config.json", *hub.TOKENIZER_FILES))
    files = sorted(source.iterdir()) if source.is_dir() else [source, *beside]
    try:
        stamps = [(path.name, FileStamp.of(path)) for path in files if path.is_file()]
    except OSError as error:
        raise ClipError(f"{error.filename} cannot be read: {error.strerror}") from error
    names = (str(source.resolve()), repr((_LAYOUT, stamps)))
    return _kept_in() / "-".join(hashlib.sha256(os.fsencode(name)).hexdigest()[:20] for name in names)


def _forget_older(folder: Path) -> None:
    """Remove the conversions of the same path in an older state."""
    for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _find_tokenizer(checkpoint: "HubCheckpoint", source: Path, given: Path | None) -> Path:
    """A folder whose tokenizer fits the text tower, or OpenAI's list of merges.

    Raises:
        UsageError: The one that was given does not.
        ModelError: It is damaged, or none was found.
    """
    if given is not None:
        tokens = _tokens(given, checkpoint)
        if tokens != checkpoint.vocab_size:
            raise UsageError(
                f"tokenizer {given} has {tokens} tokens, but the text tower of {source} has {checkpoint.vocab_size}",
                parameter="tokenizer",
                value=given,
            )
        return given
    for candidate in _candidates(checkpoint.family, source):
        try:
            if _tokens(candidate, checkpoint) == checkpoint.vocab_size:
                return candidate
        except (ModelError, UsageError):
            continue  # a tokenizer of another family
    published = _PUBLISHED[checkpoint.family]
    raise ModelNotFoundError(
        f"{source} carries no tokenizer, and neither its folder nor the hub's cache has one with "
        f"{checkpoint.vocab_size} tokens",
        hint=f"`clip models pull {published}` fetches one; or name a folder that has one: "
        f"`clip models convert {source} DIR` with `tokenizer=FOLDER`",
    )


def _candidates(family: str, source: Path) -> Iterator[Path]:
    """Places where a tokenizer of a family may be."""
    folders = [source if source.is_dir() else source.parent]
    folders += [model.folder for model in hub.stored_models() if model.family == family]
    for folder in folders:
        if any((folder / name).is_file() for name in hub.TOKENIZER_FILES if "config" not in name):
            yield folder
    for package in _PACKAGES if family == "clip" else ():
        spec = importlib.util.find_spec(package)  # finds it without importing it
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / _OPENAI_MERGES).is_file():
                yield Path(place) / _OPENAI_MERGES


def _tokens(tokenizer: Path, checkpoint: "HubCheckpoint") -> int:
    """How many tokens a tokenizer has; of OpenAI's merges as many are taken as are needed, if there are enough."""
    if not tokenizer.is_file():
        return load_tokenizer(tokenizer, checkpoint.family, context_length=2).vocab_size
    if checkpoint.family != "clip":
        raise UsageError(
            f"tokenizer {tokenizer} is a file of CLIP's, but the text tower is {checkpoint.family}'s",
            parameter="tokenizer",
            value=tokenizer,
        )
    return min(openai_bpe.most_tokens(tokenizer), checkpoint.vocab_size)


def _write(checkpoint: "HubCheckpoint", folder: Path) -> None:
    from safetensors.torch import save_file

    for name, content in (("config.json", checkpoint.config), ("preprocessor_config.json", checkpoint.preprocessing)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    weights = folder / "model.safetensors"
    save_file(checkpoint.tensors, weights, {"format": "pt"})
    shutil.copymode(folder / "config.json", weights)  # safetensors lets nobody else read what it writes


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder under a temporary name, which gets its own once it is whole and is removed if it is not."""
    from safetensors import SafetensorError

    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        kept = target.parent == _kept_in()
        raise ClipError(
            f"{target} cannot be written: {reason}",
            hint=f"{'set CLIPCLI_CACHE_DIR to' if kept else 'name'} a folder of your own, on a disk with room",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
