"""Reads what a checkpoint folder says about its tokenizer; knows file formats, not what is done with them.

Imports `tokenizers` nowhere and `sentencepiece` only where a `.model` file has to be read.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.files import read_json, read_regular

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
LEGACY_FILES = ("special_tokens_map.json", "added_tokens.json")

_LARGEST_FILE = 512 * 2**20
_MOST_GROWTH = 1000  # NFKC makes at most 18 characters of one


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a checkpoint, whichever files they came from.

    Attributes:
        ids: Token to id (BPE, WordPiece).
        merges: BPE merges, best first.
        pieces: Tokens with their log probabilities, in the order of the ids (Unigram).
        charsmap: SentencePiece's compiled normalization table.
        added: Tokens matched in a text before anything else, by id, as `tokenizer.json` records them.
    """

    ids: dict[str, int] = field(default_factory=dict)
    merges: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[tuple[str, float]] = field(default_factory=list)
    charsmap: bytes | None = None
    added: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def tokens(self) -> set[str]:
        """Every token that has an id."""
        return {*self.ids, *(piece for piece, _ in self.pieces), *(token["content"] for token in self.added.values())}


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Read one JSON object; an absent file is an empty one."""
    return read_json(path) if os.path.lexists(path) else {}


def read_file(path: Path) -> bytes:
    """Read a whole file of a tokenizer.

    Raises:
        DamagedModelError: It cannot be read, is not a regular file, or is far larger than any published one.
    """
    try:
        return read_regular(path, _LARGEST_FILE)
    except OSError as error:
        raise DamagedModelError(f"{path} cannot be read: {error.strerror}") from error


def check_growth(normalizer: Any, path: Path) -> None:
    """Refuse a normalizer, as `tokenizer.json` describes it, that would make a long text of every character.

    Raises:
        DamagedModelError: It does.
    """
    waiting, growth = [normalizer], 1
    while waiting:
        step = waiting.pop()
        if not isinstance(step, Mapping):
            continue
        waiting += step["normalizers"] if isinstance(step.get("normalizers"), list) else []
        texts: list[str | bytes] = [step[key] for key in ("content", "prepend") if isinstance(step.get(key), str)]
        table = step.get("precompiled_charsmap")
        texts += _replacements(base64.b64decode(table) if isinstance(table, str) else table) if table else []
        growth *= max(1, *map(len, texts), 1)
        if growth > _MOST_GROWTH:
            raise DamagedModelError(f"{path}: its normalizer makes a text more than {_MOST_GROWTH} times as long")


def _replacements(table: bytes) -> list[bytes]:
    """The texts that SentencePiece's table puts in place of characters.

    The table is the size of a trie, the trie, and after it the texts, each ended by a zero.
    """
    return table[4 + int.from_bytes(table[:4], "little") :].split(b"\0")


def read_tokenizer_json(path: Path, model_type: str) -> Vocabulary:
    """Read the vocabulary of a `tokenizer.json`; its pipeline is left to the tokenizer class.

    Raises:
        DamagedModelError: The file holds another kind of model than `model_type`, or none.
    """
    content = read_json_if_there(path)
    try:
        model = content["model"]
        found = model.get("type", model_type)  # older files leave the type out
        if found != model_type:
            raise DamagedModelError(f"{path} holds a {found} model, expected {model_type}")
        vocabulary = model["vocab"]
        by_name = isinstance(vocabulary, dict)
        if not by_name and not all(isinstance(piece, str) for piece, _ in vocabulary):
            raise TypeError("a token that is not a text")
        return Vocabulary(
            ids=vocabulary if by_name else {},
            merges=[_merge(merge) for merge in model.get("merges", ())],
            pieces=[] if by_name else [(piece, score) for piece, score in vocabulary],
            charsmap=_charsmap(content.get("normalizer")),
            added={token["id"]: token for token in content.get("added_tokens", ())},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedModelError(
            f"{path} is not laid out as a tokenizer ({type(error).__name__}: {error})",
            hint="fetch the checkpoint again",
        ) from error


def _merge(record: str | list[str]) -> tuple[str, str]:
    left, right = record.split(" ") if isinstance(record, str) else record
    return left, right


def _charsmap(normalizer: Mapping[str, Any] | None) -> bytes | None:
    for step in (normalizer or {}).get("normalizers", [normalizer or {}]):
        if step.get("type") == "Precompiled":
            return base64.b64decode(step["precompiled_charsmap"], validate=True)
    return None


def read_bpe(folder: Path) -> Vocabulary:
    """Read `vocab.json` and `merges.txt`, one merge a line after the version."""
    path = folder / "merges.txt"
    merges = []
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("#version"):
            continue
        left, space, right = line.partition(" ")
        if not space:
            raise DamagedModelError(f"{path}, line {number}: {line!r} is not a merge of two symbols")
        merges.append((left, right))
    return Vocabulary(read_json_if_there(folder / "vocab.json"), merges)


def read_wordpiece(folder: Path) -> Vocabulary:
    """Read `vocab.txt`, one token a line, its line number the id.

    Raises:
        DamagedModelError: A token stands on two lines, so one of the two ids would never be used.
    """
    path = folder / "vocab.txt"
    tokens: dict[str, int] = {}
    for i, token in enumerate(_lines(path)):
        if token in tokens:
            raise DamagedModelError(
                f"{path} holds the token {token!r} twice, on lines {tokens[token] + 1} and {i + 1}",
                hint="fetch the checkpoint again",
            )
        tokens[token] = i
    return Vocabulary(tokens)


def _lines(path: Path) -> list[str]:
    try:
        lines = read_file(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise DamagedModelError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    return [line.rstrip() for line in (lines if lines[-1] else lines[:-1])]


def read_sentencepiece(folder: Path) -> Vocabulary:
    """Read `sentencepiece.bpe.model` with fairseq's ids, as XLM-RoBERTa uses it (arXiv:1911.02116).

    SentencePiece counts <unk>, <s>, </s>, pieces; fairseq <s>, <pad>, </s>, <unk>, pieces, <mask>.

    Raises:
        UnsupportedModelError: The optional packages are not installed.
        DamagedModelError: The file is not a SentencePiece model.
    """
    model = _read_model(folder / "sentencepiece.bpe.model")
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return Vocabulary(
        pieces=[*special, *((piece.piece, piece.score) for piece in model.pieces[3:]), ("<mask>", 0.0)],
        charsmap=model.normalizer_spec.precompiled_charsmap or None,
    )


def read_spiece(folder: Path) -> Vocabulary:
    """Read `spiece.model` with SentencePiece's own ids, as T5 and SigLIP use it.

    Raises:
        UnsupportedModelError: The optional packages are not installed.
        DamagedModelError: The file is not a SentencePiece model.
    """
    model = _read_model(folder / "spiece.model")
    return Vocabulary(
        pieces=[(piece.piece, piece.score) for piece in model.pieces],
        charsmap=model.normalizer_spec.precompiled_charsmap or None,
    )


def _read_model(path: Path) -> Any:
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise UnsupportedModelError(
            f"{path} needs the optional packages sentencepiece and protobuf",
            hint=f"pip install 'clipcli[sentencepiece]', or put the checkpoint's {TOKENIZER_FILE} beside it",
        ) from error
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(read_file(path))
    except DecodeError as error:
        raise DamagedModelError(
            f"{path} is not a SentencePiece model: {error}", hint="fetch the checkpoint again"
        ) from error
    return model
