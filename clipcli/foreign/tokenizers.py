"""Finds a tokenizer for a checkpoint that carries none: beside it, in the hub's cache, or in another package."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from clipcli import hub
from clipcli.checkpoints.config import ModelConfig
from clipcli.errors import ModelError, ModelNotFoundError, UsageError
from clipcli.foreign import openai_bpe
from clipcli.text.tokenizer import load_tokenizer

_ENOUGH = 16  # tokens of a text, for a tokenizer that is only counted
_OPENAI_MERGES = "bpe_simple_vocab_16e6.txt.gz"
_PACKAGES = ("clip", "open_clip")  # carry it
_PUBLISHED = {
    "clip": "openai/clip-vit-base-patch32",
    "chinese_clip": "OFA-Sys/chinese-clip-vit-base-patch16",
    "xlm_roberta_clip": "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
    "biomed_clip": "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "pe_core": "openai/clip-vit-base-patch32",
}
_CLIP_FAMILIES = ("clip", "pe_core")  # whose texts are tokenized by CLIP's vocabulary


def find_tokenizer(config: ModelConfig, source: Path, given: Path | None) -> Path | None:
    """A folder whose tokenizer fits the text tower, or OpenAI's list of merges; None where there is no text tower.

    Raises:
        UsageError: The one that was given does not.
        ModelError: It is damaged, or none was found.
    """
    if config.text is None:
        return None
    wanted = config.text.vocab_size
    if given is not None:
        tokens = _tokens(given, config.family, wanted)
        if tokens != wanted:
            raise UsageError(
                f"tokenizer {given} has {tokens} tokens, but the text tower of {source} has {wanted}",
                parameter="tokenizer",
                value=given,
            )
        return given
    for candidate in _candidates(config.family, source):
        try:
            if _tokens(candidate, config.family, wanted) == wanted:
                return candidate
        except (ModelError, UsageError):
            continue  # a tokenizer of another family
    published = _PUBLISHED.get(config.family, "the model it is of")
    raise ModelNotFoundError(
        f"{source} carries no tokenizer, and neither its folder nor the hub's cache has one with {wanted} tokens",
        hint=f"`clip models pull {published}` fetches one; or name a folder that has one: "
        f"`clip models convert {source} DIR` with `tokenizer=FOLDER`",
    )


def _candidates(family: str, source: Path) -> Iterator[Path]:
    """Places where a tokenizer of a family may be."""
    folders = [source if source.is_dir() else source.parent]
    kin = _CLIP_FAMILIES if family in _CLIP_FAMILIES else (family,)
    folders += [model.folder for model in hub.stored_models() if model.family in kin]
    for folder in folders:
        if any((folder / name).is_file() for name in hub.TOKENIZER_FILES if "config" not in name):
            yield folder
    for package in _PACKAGES if family in _CLIP_FAMILIES else ():
        spec = importlib.util.find_spec(package)  # finds it without importing it
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / _OPENAI_MERGES).is_file():
                yield Path(place) / _OPENAI_MERGES


def _tokens(tokenizer: Path, family: str, wanted: int) -> int:
    """How many tokens a tokenizer has; of OpenAI's merges as many are taken as are needed, if there are enough."""
    if not tokenizer.is_file():
        return load_tokenizer(tokenizer, family, context_length=_ENOUGH).vocab_size
    if family not in _CLIP_FAMILIES:
        raise UsageError(
            f"tokenizer {tokenizer} is a file of CLIP's, but the text tower is {family}'s",
            parameter="tokenizer",
            value=tokenizer,
        )
    return min(openai_bpe.most_tokens(tokenizer), wanted)
