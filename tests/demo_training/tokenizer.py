"""Train the demo model's byte-level BPE and write it as CLIP's tokenizers are written. Imports no torch."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.demo_training.captions import NONE_CAPTIONS, Captioner
from tests.demo_training.concepts import Concept

START, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(concepts: Sequence[Concept], vocab_size: int, seed: int) -> Tokenizer:
    """Learn the merges from captions of the trained concepts.

    Every byte is in the vocabulary twice, inside a word and at its end, so that no text has an unknown token.
    """
    learner = _empty(models.BPE(end_of_word_suffix=SUFFIX))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_twice = [*alphabet, *(char + SUFFIX for char in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2, initial_alphabet=alphabet, end_of_word_suffix=SUFFIX, show_progress=False
    )
    learner.train_from_iterator(_corpus(concepts, seed), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    merges = merges[: vocab_size - len(bytes_twice) - 2]
    tokens = [*bytes_twice, *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    model = models.BPE(
        vocab=vocabulary, merges=merges, unk_token=END, end_of_word_suffix=SUFFIX, continuing_subword_prefix=""
    )
    tokenizer = _empty(model)
    tokenizer.add_special_tokens([START, END])
    start, end = (START, vocabulary[START]), (END, vocabulary[END])
    tokenizer.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write `tokenizer.json` and the `tokenizer_config.json` that tells `transformers` which class reads it."""
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), "utf-8")
    config: dict[str, Any] = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "model_max_length": context_length,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _empty(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _corpus(concepts: Sequence[Concept], seed: int) -> Iterator[str]:
    captioner = Captioner(concepts, random.Random(seed))
    for index, concept in enumerate(concepts):
        if not concept.held_out:
            yield from (captioner.sentence([captioner.phrase(index)]) for _ in range(12))
            yield from concept.names * 10
            yield from concept.tags
    yield from NONE_CAPTIONS * 20
