"""Texts to ids: the one door to this room.

Ids equal those of `transformers` for the same folder; padding is left to the caller, who knows the batch. Imports
`tokenizers` when a tokenizer is loaded, never before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.checkpoints.families import FAMILIES
from clipcli.errors import DamagedModelError, ModelError, UnsupportedModelError, UsageError
from clipcli.text.classes import GENERIC_CLASSES, TOKENIZER_CLASSES, TokenizerClass
from clipcli.text.cleaning import clean_openai, cleaning_version, repaired
from clipcli.text.special_tokens import SpecialTokens, read_special_tokens
from clipcli.text.vocabulary import (
    CONFIG_FILE,
    LEGACY_FILES,
    TOKENIZER_FILE,
    Vocabulary,
    check_growth,
    read_file,
    read_json_if_there,
    read_tokenizer_json,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLEANING_KEY = "text_cleaning"
"""What of `tokenizer_config.json` names the cleaning that a checkpoint's authors do; written by a conversion."""

_LOWER_CASED_CLASS = "CLIPTokenizer"


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text as ids, special tokens included, not padded; `truncated` if it did not fit the context."""

    ids: tuple[int, ...]
    truncated: bool


class TextTokenizer:
    """A checkpoint's tokenizer.

    Attributes:
        context_length: The most ids a text becomes, special tokens included.
        pad_token_id: What shorter rows of a batch are filled with.
        vocab_size: How many ids there are.
        digest: Hex; equal digests give equal ids.
    """

    def __init__(
        self,
        backend: Tokenizer,
        *,
        context_length: int,
        pad_token_id: int,
        digest: str,
        clean: Callable[[str], str] | None = None,
    ) -> None:
        backend.no_padding()
        backend.enable_truncation(max_length=context_length)
        self._backend, self._clean = backend, clean
        self.context_length = context_length
        self.pad_token_id = pad_token_id
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.digest = digest

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode each text; one that is too long is cut before its final special token.

        Raises:
            UsageError: A text is not Unicode (bytes that the terminal could not decode).
        """
        cleaned = [self._clean(text) for text in texts] if self._clean else list(texts)
        try:
            encodings = self._backend.encode_batch_fast(cleaned)
        except TypeError:
            for text in texts:
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise UsageError(f"the text {text!r} is not valid Unicode") from None
            raise
        return [Encoding(tuple(e.ids), truncated=bool(e.overflowing)) for e in encodings]

    def check_vocab_size(self, embedding_rows: int) -> None:
        """Refuse a vocabulary that is not the one the text tower was trained with.

        More tokens than rows would index past the embedding. Fewer would run, but a cut or shifted vocabulary gives
        wrong features without a word, and the published checkpoints of all three families have equal sizes.

        Raises:
            DamagedModelError: The sizes differ.
        """
        if self.vocab_size != embedding_rows:
            raise DamagedModelError(
                f"the tokenizer has {self.vocab_size} tokens, but the text tower's embedding {embedding_rows} rows",
                hint="the tokenizer files are of another checkpoint or cut short: fetch the checkpoint again",
            )


def load_tokenizer(folder: Path, family: str, *, context_length: int, cleaning: str = "auto") -> TextTokenizer:
    """Load the tokenizer of a checkpoint folder in the hub's layout.

    Args:
        folder: The checkpoint.
        family: A key of `checkpoints.families.FAMILIES`.
        context_length: The most ids a text may become, special tokens included.
        cleaning: One of `cleaning.TEXT_CLEANINGS`.

    Raises:
        UsageError: The tokenizer is not one whose texts can be cleaned as asked for.
        ModelError: Its files are missing, damaged, or of a tokenizer class that this program does not run.
    """
    settings = read_json_if_there(folder / CONFIG_FILE)
    name = _class_name(settings, family)
    clean = None
    if name in GENERIC_CLASSES:
        backend, special = _load_as_is(folder, settings)
    else:
        row = TOKENIZER_CLASSES[name]
        backend, special = _load_class(folder, settings, row)
        clean = _cleaner(row, settings)
    if _is_cleaned(cleaning, settings, name):
        clean = repaired
        if name == _LOWER_CASED_CLASS:
            clean, backend.normalizer = clean_openai, None  # which has lower-cased it, and composed its letters
    _check_room(backend, context_length, folder)
    return TextTokenizer(
        backend,
        context_length=context_length,
        pad_token_id=_id(backend, special, "pad_token", folder),
        digest=tokenizer_digest(folder, family, context_length=context_length, cleaning=cleaning),
        clean=clean,
    )


def _cleaner(row: TokenizerClass, settings: Mapping[str, Any]) -> Callable[[str], str] | None:
    clean = row.clean
    return None if clean is None else lambda text: clean(text, settings)


def _is_cleaned(cleaning: str, settings: Mapping[str, Any], name: str) -> bool:
    """Whether texts are cleaned as OpenAI's code does, for a tokenizer class of this name.

    open_clip does the same before CLIP's own tokenizer, and all but lower-casing before those of the hub.

    Raises:
        UsageError: They are asked to be, but the tokenizer is another than CLIP's, and no file says that they are.
        DamagedModelError: The checkpoint asks for a cleaning that there is not.
    """
    stated = settings.get(CLEANING_KEY, "none")
    if stated not in ("openai", "none"):
        raise DamagedModelError(f"{CONFIG_FILE}: {CLEANING_KEY} is {stated!r}, expected openai or none")
    if cleaning == "openai" and name != _LOWER_CASED_CLASS and stated != "openai":
        raise UsageError(
            f"text_cleaning openai is for CLIP's own tokenizer, and this checkpoint has {name}",
            hint="leave it out",
            parameter="text_cleaning",
            value=cleaning,
        )
    return (stated if cleaning == "auto" else cleaning) == "openai"


def tokenizer_digest(folder: Path, family: str, *, context_length: int, cleaning: str = "auto") -> str:
    """Hex of everything that decides ids, without loading the tokenizer: for the keys of a cache.

    Raises:
        UsageError: As `load_tokenizer`.
        ModelError: The tokenizer's files are missing or unreadable.
    """
    settings = read_json_if_there(folder / CONFIG_FILE)
    name = _class_name(settings, family)
    cleaned = f" cleaned {cleaning_version()}" if _is_cleaned(cleaning, settings, name) else ""
    digest = hashlib.sha256(f"{name}{cleaned} {context_length}".encode())
    for path in [*_vocabulary_paths(folder, TOKENIZER_CLASSES.get(name)), *_settings_paths(folder)]:
        content = read_file(path)
        digest.update(f"\n{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _class_name(settings: Mapping[str, Any], family: str) -> str:
    name = str(settings.get("tokenizer_class") or FAMILIES[family].tokenizer)
    if name in GENERIC_CLASSES:
        return name
    if name.removesuffix("Fast") not in TOKENIZER_CLASSES:
        raise UnsupportedModelError(
            f"{CONFIG_FILE}: tokenizer_class {name!r} is not one that this program runs",
            hint=f"supported: {', '.join([*TOKENIZER_CLASSES, *GENERIC_CLASSES])}",
        )
    return name.removesuffix("Fast")


def _settings_paths(folder: Path) -> list[Path]:
    return [path for name in (CONFIG_FILE, *LEGACY_FILES) if (path := folder / name).is_file()]


def _vocabulary_paths(folder: Path, tokenizer_class: TokenizerClass | None) -> list[Path]:
    """`tokenizer.json` if it is there, as in `transformers`; else the files of the class."""
    combined = folder / TOKENIZER_FILE
    if combined.is_file():
        return [combined]
    separate = tokenizer_class.vocabulary_files if tokenizer_class else ()
    if not separate or not all((folder / name).is_file() for name in separate):
        looked_for = " or ".join([TOKENIZER_FILE, *([" + ".join(separate)] if separate else [])])
        raise ModelError(
            f"{folder} has no tokenizer: looked for {looked_for}",
            hint="copy the tokenizer files of the published checkpoint into the folder",
        )
    return [folder / name for name in separate]


def _load_class(folder: Path, settings: Mapping[str, Any], row: TokenizerClass) -> tuple[Tokenizer, SpecialTokens]:
    from tokenizers import processors

    paths = _vocabulary_paths(folder, row)
    combined = paths[0].name == TOKENIZER_FILE
    vocabulary = read_tokenizer_json(paths[0], row.model_type) if combined else row.read(folder)
    special = read_special_tokens(folder, settings, vocabulary, row.special_tokens)
    _check_special_tokens(vocabulary, special, row, paths[0])
    if row.model_type == "BPE" and row.all_merged:
        known = {record if isinstance(record, str) else record["content"] for record in special.matched}
        _check_merges(vocabulary, {*known, *row.special_tokens.values()}, paths[-1])
    check_growth({"precompiled_charsmap": vocabulary.charsmap}, paths[0])
    backend = _build(paths, lambda: row.build(vocabulary, special.roles, settings))
    backend.add_tokens(special.added_tokens())
    first, last = special.roles[row.first] if row.first else "", special.roles[row.last]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}".lstrip(),
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys((first, last)) if token],
    )
    return backend, special


def _load_as_is(folder: Path, settings: Mapping[str, Any]) -> tuple[Tokenizer, SpecialTokens]:
    from tokenizers import Tokenizer

    paths = _vocabulary_paths(folder, None)
    content = read_json_if_there(paths[0])
    check_growth(content.get("normalizer"), paths[0])
    backend = _build(paths, lambda: Tokenizer.from_file(str(paths[0])))
    added = {token["id"]: token for token in content.get("added_tokens", ())}
    special = read_special_tokens(folder, settings, Vocabulary(added=added), {})
    backend.add_tokens(special.added_tokens())
    return backend, special


def _build(paths: Sequence[Path], build: Callable[[], Tokenizer]) -> Tokenizer:
    try:
        return build()
    except Exception as error:  # tokenizers raises nothing narrower for a vocabulary it cannot use
        names = " + ".join(str(path) for path in paths)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DamagedModelError(f"{names}: {reason}", hint="fetch the checkpoint again") from error


def _check_special_tokens(vocabulary: Vocabulary, special: SpecialTokens, row: TokenizerClass, path: Path) -> None:
    """Without them a text would run under ids that the text tower was never trained with."""
    known = vocabulary.tokens()
    for role in (row.first, row.last, "unk_token", "pad_token"):
        if role is not None and special.roles.get(role) not in known:
            raise DamagedModelError(
                f"{path} has no token {special.roles.get(role)!r}, which is the {role}",
                hint="the vocabulary is cut short or of another family: fetch the checkpoint again",
            )


def _check_merges(vocabulary: Vocabulary, special: Set[str], path: Path) -> None:
    """Without a token's merge its words would run as smaller pieces, which the text tower never saw for them.

    Every token of a byte-level BPE is one symbol, alone or at the end of a word, or made by a merge, or special.
    """
    made = {left + right for left, right in vocabulary.merges}
    unmade = [
        token
        for token in vocabulary.ids
        if token not in made and token not in special and len(token.removesuffix("</w>")) > 1
    ]
    if unmade:
        raise DamagedModelError(
            f"{path} has {len(vocabulary.merges)} merges, which make all but {len(unmade)} of the "
            f"{len(vocabulary.ids)} tokens of the vocabulary; one they do not make is {unmade[0]!r}",
            hint="the merges are cut short or of another checkpoint: fetch the checkpoint again",
        )


def _check_room(backend: Tokenizer, context_length: int, folder: Path) -> None:
    added = backend.num_special_tokens_to_add(False)
    if added >= context_length:
        raise DamagedModelError(
            f"the tokenizer of {folder} adds {added:,} special tokens to a text, and there is room for {context_length}"
        )


def _id(backend: Tokenizer, special: SpecialTokens, role: str, folder: Path) -> int:
    token = special.roles.get(role)
    id_ = None if token is None else backend.token_to_id(token)
    if id_ is None:
        raise DamagedModelError(f"{folder / CONFIG_FILE} names no {role} of the vocabulary")
    return int(id_)
