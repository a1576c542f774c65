"""Texts cleaned as OpenAI's own package does it, whose ids are in `tests/data/formats` (`make.py`)."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import clipcli
from clipcli.errors import DamagedModelError, UsageError
from clipcli.foreign.convert import convert
from clipcli.foreign.openai_bpe import write_tokenizer
from clipcli.text.cleaning import clean_openai
from clipcli.text.tokenizer import TextTokenizer, load_tokenizer, tokenizer_digest
from tests.helpers.errors import about

DATA = Path(__file__).parent.parent / "data" / "formats"
EXPECTED = json.loads((DATA / "openai-bpe.expected.json").read_text(encoding="utf-8"))
TYPOGRAPHIC = "a dog’s “bone”"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(DATA / "openai-bpe.txt.gz", tmp_path, len(EXPECTED["vocab"]))
    return tmp_path


def load(folder: Path, cleaning: str = "auto") -> TextTokenizer:
    return load_tokenizer(folder, "clip", context_length=77, cleaning=cleaning)


def ids(folder: Path, text: str, cleaning: str = "auto") -> list[int]:
    return list(load(folder, cleaning).encode([text])[0].ids)


def state_cleaning(folder: Path, value: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "text_cleaning": value}))


def test_ids_of_hard_texts_are_the_packages_own(folder: Path) -> None:
    size = len(EXPECTED["vocab"])
    tokenizer = load(folder, "openai")
    for text, expected in {**EXPECTED["ids"], **EXPECTED["cleaned_ids"]}.items():
        assert list(tokenizer.encode([text])[0].ids) == [size - 2, *expected, size - 1], text


def test_what_the_checkpoint_says_counts_unless_the_user_says_otherwise(folder: Path) -> None:
    plain, cleaned = ids(folder, TYPOGRAPHIC, "none"), ids(folder, TYPOGRAPHIC, "openai")
    assert plain != cleaned
    assert ids(folder, TYPOGRAPHIC) == plain
    state_cleaning(folder, "openai")
    assert ids(folder, TYPOGRAPHIC) == cleaned
    assert ids(folder, TYPOGRAPHIC, "none") == plain
    state_cleaning(folder, ["openai"])
    with pytest.raises(DamagedModelError, match="text_cleaning is"):
        load(folder)


def test_the_key_of_cached_features_depends_on_the_cleaning(folder: Path) -> None:
    digests = {tokenizer_digest(folder, "clip", context_length=77, cleaning=how) for how in ("none", "openai")}
    assert len(digests) == 2
    assert tokenizer_digest(folder, "clip", context_length=77) in digests
    assert load(folder, "openai").digest in digests


def test_what_may_stay_as_it_is_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_openai("A photo  of\n a cat's tail, 100 % <b>.") == "a photo of a cat's tail, 100 % <b>."
    assert clean_openai("猫と犬、 고양이\tقطة חתול") == "猫と犬、 고양이 قطة חתול"
    for text in (TYPOGRAPHIC, "ｃａｔ", "cats &amp; dogs", "cat\x07"):
        with pytest.raises(ImportError):
            clean_openai(text)


def test_what_is_left_to_no_package_would_not_change() -> None:
    import html

    import ftfy

    rng = random.Random(0)
    latin = [*range(32, 38), *range(39, 127), 9, 10, 13]
    others = [*range(0x5D0, 0x5EB), *range(0x621, 0x63B), *range(0x641, 0x64B), *range(0x3041, 0x3097)]
    others += [0x3001, 0x3002, *range(0x30A1, 0x30FB), 0x30FC, *range(0x4E00, 0xA000, 50), *range(0xAC00, 0xD7A4, 50)]
    for i in range(600):
        text = "".join(map(chr, rng.choices(latin if i % 2 else latin + others, k=rng.randrange(30))))
        cleaned = html.unescape(html.unescape(ftfy.fix_text(text)))
        assert clean_openai(text) == " ".join(cleaned.split()).lower()


def test_other_tokenizers_are_not_cleaned(chinese_clip_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=r"text_cleaning.*CLIP's", check=about("text_cleaning")):
        load_tokenizer(chinese_clip_checkpoint, "chinese_clip", context_length=52, cleaning="openai")


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match="text_cleaning", check=about("text_cleaning")):
        clipcli.load("demo", text_cleaning="ftfy")


@pytest.mark.parametrize(
    ("name", "cleaning"),
    [("openai-vit.pt", "openai"), ("open_clip", "openai"), ("open_clip-biomed", "openai"), ("chinese-vit.pt", None)],
)
def test_a_conversion_says_what_the_authors_do(name: str, cleaning: str | None, tmp_path: Path) -> None:
    tokenizer = DATA / ("clip-tokenizer" if name in ("openai-vit.pt", "open_clip") else "chinese-tokenizer")
    convert(DATA / name, tmp_path / "converted", tokenizer=tokenizer)
    settings = json.loads((tmp_path / "converted" / "tokenizer_config.json").read_text())
    assert settings.get("text_cleaning") == cleaning
    original = json.loads((tokenizer / "tokenizer_config.json").read_text())
    assert {key: value for key, value in settings.items() if key != "text_cleaning"} == original


def test_features_follow_the_cleaning(tmp_path: Path) -> None:
    convert(DATA / "openai-vit.pt", tmp_path / "model", tokenizer=DATA / "clip-tokenizer")
    repaired, plain = (
        clipcli.load(str(tmp_path / "model"), text_cleaning=how).encode_texts(["dog’s", "dog's"], warn_foreign=False)
        for how in ("auto", "none")
    )
    np.testing.assert_allclose(repaired, plain[[1, 1]], atol=1e-6)
    assert np.abs(plain[0] - plain[1]).max() > 1e-3
