"""Ids of every family against `transformers`, on the same folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clipcli.text.tokenizer import load_tokenizer
from tests.helpers.checkpoints import write_clip_tokenizer, write_sentencepiece_model
from tests.helpers.texts import HARD, MANY, generated

TEXTS = [*HARD, *generated(MANY)]


def reference(folder: Path, family: str) -> Any:
    """The tokenizer that `transformers` loads; the family's class where only tokenizer files are there."""
    import transformers

    names = {"clip": "CLIPTokenizer", "chinese_clip": "BertTokenizer", "altclip": "XLMRobertaTokenizer"}
    if (folder / "config.json").is_file():
        return transformers.AutoTokenizer.from_pretrained(folder)
    return getattr(transformers, names[family]).from_pretrained(folder)


def assert_same_ids(folder: Path, family: str, context_length: int, texts: list[str] = TEXTS) -> None:
    expected = reference(folder, family)
    tokenizer = load_tokenizer(folder, family, context_length=context_length)
    whole = expected(texts)["input_ids"]
    cut = expected(texts, truncation=True, max_length=context_length)["input_ids"]
    for text, encoding, ids, full in zip(texts, tokenizer.encode(texts), cut, whole, strict=True):
        assert list(encoding.ids) == ids, repr(text)
        assert encoding.truncated == (len(full) > context_length), repr(text)
    assert tokenizer.pad_token_id == expected.pad_token_id
    assert tokenizer.vocab_size == len(expected)


def tokenizer_files(source: Path, target: Path) -> Path:
    """A copy of a checkpoint without its weights, to be changed."""
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **settings}), encoding="utf-8")


def save_as_tokenizer_json(folder: Path, family: str) -> None:
    """Rewrite the folder as today's `transformers` would: `tokenizer.json` alone."""
    tokenizer = reference(folder, family)
    for name in ("vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)


def test_the_generated_texts_are_worth_the_name() -> None:
    assert len(TEXTS) > 2000
    assert len(set(TEXTS)) > 1900


def test_clip_from_vocab_and_merges(clip_checkpoint: Path) -> None:
    assert_same_ids(clip_checkpoint, "clip", 77)


def test_clip_from_tokenizer_json(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(clip_checkpoint, tmp_path / "clip")
    save_as_tokenizer_json(folder, "clip")
    assert not (folder / "merges.txt").exists()
    assert_same_ids(folder, "clip", 77)


def test_clip_with_special_tokens_as_published(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(clip_checkpoint, tmp_path / "clip")

    def token(content: str) -> dict[str, Any]:
        return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}

    named = {
        "bos_token": token("<|startoftext|>"),
        "eos_token": token("<|endoftext|>"),
        "unk_token": token("<|endoftext|>"),
    }
    configure(folder, **{role: {**value, "__type": "AddedToken"} for role, value in named.items()})
    (folder / "special_tokens_map.json").write_text(json.dumps({**named, "pad_token": "<|endoftext|>"}))
    assert_same_ids(folder, "clip", 77)


def test_clip_padded_with_an_ordinary_token(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(clip_checkpoint, tmp_path / "clip")
    configure(folder, pad_token="!")
    assert_same_ids(folder, "clip", 77)
    assert load_tokenizer(folder, "clip", context_length=77).pad_token_id == 0


def test_clip_is_lower_cased_whatever_the_config_says(clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(clip_checkpoint, tmp_path / "clip")
    configure(folder, do_lower_case=False)
    assert_same_ids(folder, "clip", 77, list(HARD))


def test_chinese_clip_from_vocab_txt(chinese_clip_checkpoint: Path) -> None:
    assert_same_ids(chinese_clip_checkpoint, "chinese_clip", 52)


def test_chinese_clip_from_tokenizer_json(chinese_clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(chinese_clip_checkpoint, tmp_path / "chinese")
    save_as_tokenizer_json(folder, "chinese_clip")
    assert not (folder / "vocab.txt").exists()
    assert_same_ids(folder, "chinese_clip", 52)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
    ],
    ids=str,
)
def test_chinese_clip_follows_its_tokenizer_config(
    chinese_clip_checkpoint: Path, tmp_path: Path, settings: dict[str, bool]
) -> None:
    folder = tokenizer_files(chinese_clip_checkpoint, tmp_path / "chinese")
    configure(folder, **settings)
    assert_same_ids(folder, "chinese_clip", 52, [*HARD, *generated(300)])
    tokenizer = load_tokenizer(folder, "chinese_clip", context_length=52)
    default = load_tokenizer(chinese_clip_checkpoint, "chinese_clip", context_length=52)
    assert tokenizer.encode(HARD) != default.encode(HARD)


def test_altclip_from_tokenizer_json(altclip_checkpoint: Path) -> None:
    assert_same_ids(altclip_checkpoint, "altclip", 77)


def test_altclip_from_the_sentencepiece_model_alone(altclip_checkpoint: Path) -> None:
    folder = altclip_checkpoint / "spm"
    assert not (folder / "tokenizer.json").exists()
    assert_same_ids(folder, "altclip", 77)


def test_altclip_ids_are_shifted_as_in_fairseq(tmp_path: Path) -> None:
    import sentencepiece

    folder = write_sentencepiece_model(tmp_path / "spm")
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    tokenizer = load_tokenizer(folder, "altclip", context_length=77)
    assert tokenizer.vocab_size == model.get_piece_size() + 2
    assert tokenizer.encode(["a photo of the cat"])[0].ids == (
        0,
        *(i + 1 for i in model.encode("a photo of the cat")),
        2,
    )


def test_altclip_mask_token_that_swallows_the_space_before_it(altclip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(altclip_checkpoint, tmp_path / "altclip")
    mask = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": True}
    configure(folder, mask_token={**mask, "__type": "AddedToken"}, added_tokens_decoder={})
    assert_same_ids(folder, "altclip", 77)


def test_a_normalizer_in_tokenizer_json_that_the_class_does_not_have(altclip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(altclip_checkpoint, tmp_path / "altclip")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert_same_ids(folder, "altclip", 77)


def test_a_normalisation_table_among_other_steps(altclip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(altclip_checkpoint, tmp_path / "altclip")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    steps = [content["normalizer"], {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    del content["model"]["type"]  # as files of the library's first releases
    path.write_text(json.dumps(content), encoding="utf-8")
    assert_same_ids(folder, "altclip", 77)
    assert load_tokenizer(folder, "altclip", context_length=77).encode(["ｃａｔ"])[0].ids[1:-1] != (3,)


def test_added_tokens_of_older_files(chinese_clip_checkpoint: Path, tmp_path: Path) -> None:
    folder = tokenizer_files(chinese_clip_checkpoint, tmp_path / "chinese")
    (folder / "added_tokens.json").write_text(json.dumps({"大红花": 161, "dog house": 162}), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["[photo]"]}))
    texts = ["一张大红花的照片", "a dog house [photo]", "DOG HOUSE[PHOTO]", *HARD]
    assert_same_ids(folder, "chinese_clip", 52, texts)


def test_a_generic_tokenizer_class_is_taken_from_tokenizer_json_as_it_is(tmp_path: Path) -> None:
    import transformers

    write_clip_tokenizer(tmp_path)
    save_as_tokenizer_json(tmp_path, "clip")
    configure(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "NFC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    expected = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path, "clip", context_length=77)
    ids = expected(TEXTS, truncation=True, max_length=77)["input_ids"]
    assert [list(encoding.ids) for encoding in tokenizer.encode(TEXTS)] == ids
    assert tokenizer.encode(["CAT"]) != tokenizer.encode(["cat"])
