"""OpenAI's list of merges, against what its own package makes of one (`tests/data/formats/make.py`)."""

import gzip
import json
from pathlib import Path

import pytest

from clipcli.errors import DamagedModelError
from clipcli.foreign.openai_bpe import most_tokens, write_tokenizer
from clipcli.text.tokenizer import load_tokenizer

DATA = Path(__file__).parent.parent / "data" / "formats"
MERGES = DATA / "openai-bpe.txt.gz"


def test_vocabulary_and_ids_are_the_packages_own(tmp_path: Path) -> None:
    expected = json.loads((DATA / "openai-bpe.expected.json").read_text(encoding="utf-8"))
    size = len(expected["vocab"])
    assert most_tokens(MERGES) == size
    write_tokenizer(MERGES, tmp_path, size)
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == expected["vocab"]
    tokenizer = load_tokenizer(tmp_path, "clip", context_length=77)
    assert tokenizer.vocab_size == size
    for text, ids in expected["ids"].items():
        assert list(tokenizer.encode([text])[0].ids) == [size - 2, *ids, size - 1]


def test_a_smaller_vocabulary_takes_the_best_merges(tmp_path: Path) -> None:
    write_tokenizer(MERGES, tmp_path, 516)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert [*vocabulary][512:] == ["at</w>", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    assert load_tokenizer(tmp_path, "clip", context_length=77).vocab_size == 516


def test_transformers_reads_what_is_written(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(MERGES, tmp_path, most_tokens(MERGES))
    text = "A photo of a café, dogs & cats"
    ours = load_tokenizer(tmp_path, "clip", context_length=77).encode([text])[0]
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == list(ours.ids)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#version: 0.2\na b\n",
        MERGES.read_bytes()[:40],
        gzip.compress(b"\xff\xfe", mtime=0),
        gzip.compress(b"a b\nc d\n", mtime=0),
        gzip.compress(b"#version: 0.2\na b c\n", mtime=0),
    ],
)
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "merges.gz").write_bytes(content)
    with pytest.raises(DamagedModelError, match=r"merges\.gz"):
        most_tokens(tmp_path / "merges.gz")
