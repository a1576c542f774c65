"""Writes checkpoints of other layouts as folders in the hub's layout, so that all else reads only that one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli import hub
from clipcli.checkpoints.open_clip import is_open_clip
from clipcli.errors import ClipError, ModelNotFoundError, UsageError
from clipcli.foreign import openai_bpe
from clipcli.foreign.check import read_checked
from clipcli.foreign.kept import kept_in
from clipcli.foreign.tokenizers import find_tokenizer
from clipcli.text.tokenizer import CLEANING_KEY
from clipcli.text.vocabulary import CONFIG_FILE, read_json_if_there

if TYPE_CHECKING:
    from clipcli.foreign.hub_layout import HubCheckpoint


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
    if os.path.exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already", hint="name a new folder")
    if not os.path.exists(source):
        raise ModelNotFoundError(f"no such file or folder: {source}")
    if source.is_dir() and not is_open_clip(source) and not hub.missing_files(source):
        raise UsageError(f"{source} is in the hub's layout already", hint="use it as it is")
    checkpoint, config = read_checked(source, activation)
    vocabulary = find_tokenizer(config, source, tokenizer)
    with _new_folder(target) as folder:
        if vocabulary is not None and config.text is not None:
            _write_tokenizer(vocabulary, folder, config.text.vocab_size, checkpoint.text_cleaning)
        _write(checkpoint, folder)


def _write_tokenizer(vocabulary: Path, folder: Path, vocab_size: int, cleaning: str) -> None:
    if vocabulary.is_file():
        openai_bpe.write_tokenizer(vocabulary, folder, vocab_size)
    for name in hub.TOKENIZER_FILES:
        if (vocabulary / name).is_file():
            shutil.copyfile(vocabulary / name, folder / name)
    if cleaning != "none":
        path = folder / CONFIG_FILE
        settings = {**read_json_if_there(path), CLEANING_KEY: cleaning}
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write(checkpoint: "HubCheckpoint", folder: Path) -> None:
    from safetensors.torch import save_file

    for name, content in (("config.json", checkpoint.config), ("preprocessor_config.json", checkpoint.preprocessing)):
        if content:
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
        kept = target.parent == kept_in()
        raise ClipError(
            f"{target} cannot be written: {reason}",
            hint=f"{'set CLIPCLI_CACHE_DIR to' if kept else 'name'} a folder of your own, on a disk with room",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
