"""OpenAI's `bpe_simple_vocab_16e6.txt.gz`: the vocabulary that its own package and open_clip carry, as the hub's files.

The file is a list of merges, best first, of which a model uses as many as it has tokens for. Imports no `tokenizers`.
"""

import gzip
import json
import zlib
from pathlib import Path

from clipcli.errors import DamagedModelError

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_LARGEST = 2**26  # unpacked; the published file has 3 MB
_SETTINGS = {
    "tokenizer_class": "CLIPTokenizer",
    "model_max_length": 77,
    "bos_token": _SPECIAL[0],
    "eos_token": _SPECIAL[1],
    "unk_token": _SPECIAL[1],
    "pad_token": _SPECIAL[1],
}


def most_tokens(path: Path) -> int:
    """How many tokens a vocabulary of this file can have.

    Raises:
        DamagedModelError: It is not such a file.
    """
    return 2 * len(_byte_symbols()) + len(_merges(path)) + len(_SPECIAL)


def write_tokenizer(path: Path, folder: Path, vocab_size: int) -> None:
    """Write `vocab.json`, `merges.txt` and `tokenizer_config.json` of the first `vocab_size` tokens.

    Raises:
        DamagedModelError: It is not such a file.
        OSError: The folder cannot be written.
    """
    symbols = _byte_symbols()
    merges = _merges(path)[: vocab_size - 2 * len(symbols) - len(_SPECIAL)]
    joined = (merge.replace(" ", "") for merge in merges)
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *joined, *_SPECIAL]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(_SETTINGS, indent=2) + "\n", encoding="utf-8")


def _merges(path: Path) -> list[str]:
    try:
        with gzip.open(path) as stream:
            text = stream.read(_LARGEST).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DamagedModelError(f"{path} is not a gzipped list of merges: {error}") from error
    head, *merges = text.removesuffix("\n").split("\n")
    if "#version" not in head or any(len(merge.split(" ")) != 2 for merge in merges):
        raise DamagedModelError(f"{path} is not a list of merges (two symbols per line, after a line with #version)")
    return merges


def _byte_symbols() -> list[str]:
    """A visible character for each byte, in the order of the ids: bytes that are visible in Latin-1 stand first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in visible] + [chr(256 + i) for i in range(256 - len(visible))]
