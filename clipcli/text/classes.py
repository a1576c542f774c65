"""What sets the tokenizer classes apart, on one screen, and the pipeline of each.

A family's row (`checkpoints.families`) names the class its published checkpoints use; a checkpoint's
`tokenizer_config.json` may name another of those here. The class decides the pipeline (as it does in `transformers`,
whatever `tokenizer.json` says of its own), the files only the vocabulary, the special tokens and a few settings.
Imports `tokenizers` inside functions.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.text.vocabulary import Vocabulary, read_bpe, read_sentencepiece, read_spiece, read_wordpiece

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLIP_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def build_clip(vocabulary: Vocabulary, roles: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    """Byte-level BPE over lower-cased words (arXiv:2103.00020, section 2.4).

    `do_lower_case` is not read: CLIP's text is always lower-cased, also by `transformers`.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    model = models.BPE(
        vocab=vocabulary.ids,
        merges=vocabulary.merges,
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
        fuse_unk=False,
        unk_token=roles["unk_token"],
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def build_bert(vocabulary: Vocabulary, roles: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    """WordPiece after BERT's basic tokenisation (arXiv:1810.04805): Chinese characters apart, case, accents."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(vocabulary.ids, unk_token=roles["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def build_xlm_roberta(vocabulary: Vocabulary, roles: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    """Unigram over words that carry their leading space (arXiv:1911.02116, section 3)."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    unknown = [piece for piece, _ in vocabulary.pieces].index(roles["unk_token"])
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, unk_id=unknown, byte_fallback=False))
    if vocabulary.charsmap is not None:
        tokenizer.normalizer = normalizers.Precompiled(vocabulary.charsmap)
    prefix = "always" if settings.get("add_prefix_space", True) else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=prefix)]
    )
    return tokenizer


def clean_siglip(text: str, settings: Mapping[str, Any]) -> str:
    """Lower-case, drop ASCII punctuation, make runs of white space one blank, as the authors' code does (big_vision).

    A special token that is spelled out in a text is text, too, where `transformers` makes it the token.

    One difference from SentencePiece is left: where a combining mark follows a character that NFKC replaces, as in a
    half with an accent, the `tokenizers` library replaces both as if they were one and loses the mark.
    """
    text = text.lower() if settings.get("do_lower_case", True) else text
    return " ".join(text.translate(_NO_PUNCTUATION).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_siglip2(text: str, settings: Mapping[str, Any]) -> str:
    """Lower-case, as the authors trained (arXiv:2502.14786) and `tokenizer_config.json` says.

    `transformers` does so for NaFlex checkpoints only: its class for all others passes `do_lower_case` over. As there,
    it is done by the `tokenizers` library, letter by letter: a Greek word in capitals ends in the usual sigma.
    """
    from tokenizers import normalizers

    return normalizers.Lowercase().normalize_str(text) if settings.get("do_lower_case", True) else text


def build_gemma(vocabulary: Vocabulary, roles: Mapping[str, str], settings: Mapping[str, Any]) -> Tokenizer:
    """BPE over whole texts, blanks being part of tokens; what it has no token for is spelled in bytes."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    model = models.BPE(
        vocab=vocabulary.ids,
        merges=vocabulary.merges,
        fuse_unk=True,
        unk_token=roles["unk_token"],
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    return tokenizer


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """One published tokenizer class.

    Attributes:
        model_type: Kind of model that its `tokenizer.json` holds.
        vocabulary_files: What is read where there is no `tokenizer.json`, by `read`.
        build: Makes the pipeline of vocabulary, special tokens by role, and `tokenizer_config.json`.
        special_tokens: Special tokens by role, where the checkpoint names no others.
        first: Role of the token before every text, None for no token; `last`: of the one after it.
        clean: What is done to a text before all else, given `tokenizer_config.json`.
        all_merged: Whether every BPE token longer than a symbol is made by a merge.
    """

    model_type: str
    vocabulary_files: tuple[str, ...]
    read: Callable[[Path], Vocabulary]
    build: Callable[[Vocabulary, Mapping[str, str], Mapping[str, Any]], Tokenizer]
    special_tokens: Mapping[str, str]
    first: str | None
    last: str
    clean: Callable[[str, Mapping[str, Any]], str] | None = None
    all_merged: bool = True


_GEMMA = TokenizerClass(
    model_type="BPE",
    vocabulary_files=(),
    read=read_bpe,
    build=build_gemma,
    special_tokens={
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    },
    first=None,
    last="eos_token",
    clean=clean_siglip2,
    all_merged=False,
)

TOKENIZER_CLASSES: dict[str, TokenizerClass] = {
    "CLIPTokenizer": TokenizerClass(
        model_type="BPE",
        vocabulary_files=("vocab.json", "merges.txt"),
        read=read_bpe,
        build=build_clip,
        special_tokens={
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
        },
        first="bos_token",
        last="eos_token",
    ),
    "BertTokenizer": TokenizerClass(
        model_type="WordPiece",
        vocabulary_files=("vocab.txt",),
        read=read_wordpiece,
        build=build_bert,
        special_tokens={
            "unk_token": "[UNK]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
        },
        first="cls_token",
        last="sep_token",
    ),
    "XLMRobertaTokenizer": TokenizerClass(
        model_type="Unigram",
        vocabulary_files=("sentencepiece.bpe.model",),
        read=read_sentencepiece,
        build=build_xlm_roberta,
        special_tokens={
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
            "cls_token": "<s>",
            "mask_token": "<mask>",
        },
        first="bos_token",
        last="eos_token",
    ),
    "SiglipTokenizer": TokenizerClass(
        model_type="Unigram",
        vocabulary_files=("spiece.model",),
        read=read_spiece,
        build=build_xlm_roberta,
        special_tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"},
        first=None,
        last="eos_token",
        clean=clean_siglip,
    ),
    "GemmaTokenizer": _GEMMA,
    "Siglip2Tokenizer": _GEMMA,
}

# These say nothing but "the pipeline stands in tokenizer.json".
GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
