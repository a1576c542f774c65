import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipcli.errors import DamagedModelError, ExitStatus, ModelError, UnsupportedModelError, UsageError
from clipcli.text.tokenizer import TextTokenizer, load_tokenizer, tokenizer_digest
from clipcli.text.vocabulary import read_bpe
from tests.helpers.checkpoints import write_altclip_tokenizer, write_chinese_clip_tokenizer, write_clip_tokenizer

WRITERS = {
    "clip": write_clip_tokenizer,
    "chinese_clip": write_chinese_clip_tokenizer,
    "altclip": write_altclip_tokenizer,
}
FAMILIES = tuple(WRITERS)
LONG = {"clip": "cat " * 200, "chinese_clip": "猫" * 200, "altclip": "一只猫 " * 200}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(family: str, tmp_path: Path) -> Path:
    target = tmp_path / "checkpoint"
    WRITERS[family](target)
    return target


def load(folder: Path, family: str, context_length: int = 16) -> TextTokenizer:
    return load_tokenizer(folder, family, context_length=context_length)


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_a_long_text_is_cut_before_its_final_special_token(folder: Path, family: str) -> None:
    tokenizer = load(folder, family)
    short, long = tokenizer.encode(["cat", LONG[family]])
    assert not short.truncated
    assert long.truncated
    assert len(long.ids) == tokenizer.context_length == 16
    assert (long.ids[0], long.ids[-1]) == (short.ids[0], short.ids[-1])


def test_a_text_that_just_fits_is_not_called_truncated(folder: Path, family: str) -> None:
    text = "cat dog"
    length = len(load(folder, family).encode([text])[0].ids)
    assert not load(folder, family, length).encode([text])[0].truncated
    assert load(folder, family, length - 1).encode([text])[0].truncated


def test_an_empty_text_is_its_two_special_tokens(folder: Path, family: str) -> None:
    tokenizer = load(folder, family)
    empty, cat = tokenizer.encode(["", "cat"])
    assert empty.ids == (cat.ids[0], cat.ids[-1])
    assert tokenizer.encode([]) == []


def test_each_text_is_encoded_by_itself(folder: Path, family: str) -> None:
    tokenizer = load(folder, family)
    texts = ["cat", LONG[family], "", "一张猫的照片", "a photo of the dog"]
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_padding_baked_into_tokenizer_json_is_left_out(altclip_checkpoint: Path, tmp_path: Path) -> None:
    write_altclip_tokenizer(tmp_path)
    padding = {"strategy": {"Fixed": 12}, "direction": "Right", "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}
    edit_json(tmp_path / "tokenizer.json", padding={**padding, "pad_to_multiple_of": None})
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert len(load(tmp_path, "altclip").encode([""])[0].ids) == 2


def test_full_width_letters_are_folded_where_the_checkpoint_says_so(altclip_checkpoint: Path) -> None:
    tokenizer = load(altclip_checkpoint, "altclip")
    wide, narrow = tokenizer.encode(["ｃａｔ", "cat"])
    assert wide == narrow


def test_text_that_is_not_unicode(folder: Path, family: str) -> None:
    with pytest.raises(UsageError, match=r"'b\\udcff'"):
        load(folder, family).encode(["a", "b\udcff"])


def test_digest_follows_what_decides_ids(folder: Path, family: str) -> None:
    before = load(folder, family)
    assert before.digest == load(folder, family).digest == tokenizer_digest(folder, family, context_length=16)
    int(before.digest, 16)
    assert load(folder, family, 17).digest != before.digest
    (folder / "README.md").write_text("not a tokenizer file")
    assert load(folder, family).digest == before.digest
    edit_json(folder / "tokenizer_config.json", do_lower_case=False)
    assert load(folder, family).digest != before.digest


def test_digest_follows_the_vocabulary(tmp_path: Path) -> None:
    tokens = write_chinese_clip_tokenizer(tmp_path)
    before = tokenizer_digest(tmp_path, "chinese_clip", context_length=52)
    tokens[-1], tokens[-2] = tokens[-2], tokens[-1]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    assert tokenizer_digest(tmp_path, "chinese_clip", context_length=52) != before


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("clip", ["tokenizer.json", "vocab.json", "merges.txt"]),
        ("chinese_clip", ["tokenizer.json", "vocab.txt"]),
        ("altclip", ["tokenizer.json", "sentencepiece.bpe.model"]),
    ],
)
def test_missing_files_are_named_with_their_folder(tmp_path: Path, family: str, names: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        load(tmp_path, family)
    assert caught.value.exit_status == ExitStatus.MODEL
    for name in [*names, str(tmp_path)]:
        assert name in str(caught.value)


def test_merges_without_vocab(tmp_path: Path) -> None:
    write_clip_tokenizer(tmp_path)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"vocab\.json \+ merges\.txt"):
        load(tmp_path, "clip")


def test_duplicate_in_vocab_txt(tmp_path: Path) -> None:
    tokens = write_chinese_clip_tokenizer(tmp_path)
    tokens[20] = tokens[10]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    with pytest.raises(DamagedModelError) as caught:
        load(tmp_path, "chinese_clip")
    assert all(part in str(caught.value) for part in (f"{tokens[10]!r}", "11", "21"))


def test_windows_line_ends_in_vocab_txt(tmp_path: Path) -> None:
    tokens = write_chinese_clip_tokenizer(tmp_path)
    expected = load(tmp_path, "chinese_clip").encode(["a cat 一只猫"])
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(tokens).encode())
    assert load(tmp_path, "chinese_clip").encode(["a cat 一只猫"]) == expected


def test_vocab_txt_that_is_not_utf8(tmp_path: Path) -> None:
    write_chinese_clip_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes("[PAD]\n狗\n".encode("gbk"))
    with pytest.raises(DamagedModelError, match=r"vocab\.txt.*UTF-8"):
        load(tmp_path, "chinese_clip")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ['{"model": ', "[1, 2]", '"text"'])
def test_damaged_json_is_named(tmp_path: Path, name: str, content: str) -> None:
    write_altclip_tokenizer(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DamagedModelError, match=name):
        load(tmp_path, "altclip")


@pytest.mark.parametrize("model", [None, {}, {"type": "Unigram"}, {"type": "Unigram", "vocab": [1]}, "Unigram"])
def test_tokenizer_json_of_another_layout(tmp_path: Path, model: Any) -> None:
    write_altclip_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer.json", model=model)
    with pytest.raises(DamagedModelError, match=r"tokenizer\.json"):
        load(tmp_path, "altclip")


def test_tokenizer_json_of_another_family(tmp_path: Path) -> None:
    write_altclip_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(DamagedModelError, match="expected"):
        load(tmp_path, "chinese_clip")


def test_tokenizer_json_without_a_special_token(tmp_path: Path) -> None:
    write_altclip_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"] = [entry for entry in content["model"]["vocab"] if entry[0] != "</s>"]
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "</s>"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DamagedModelError, match=r"'</s>'.*eos_token"):
        load(tmp_path, "altclip")


def test_vocab_txt_without_a_special_token(tmp_path: Path) -> None:
    tokens = write_chinese_clip_tokenizer(tmp_path)
    tokens.remove("[SEP]")
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    with pytest.raises(DamagedModelError, match=r"'\[SEP\]'.*sep_token"):
        load(tmp_path, "chinese_clip")


@pytest.mark.parametrize("line", ["ab", "zzz qqq"])
def test_merges_that_do_not_fit_the_vocabulary(tmp_path: Path, line: str) -> None:
    write_clip_tokenizer(tmp_path)
    path = tmp_path / "merges.txt"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(DamagedModelError, match=r"merges\.txt"):
        load(tmp_path, "clip")


def cut_merges(folder: Path) -> str:
    path = folder / "merges.txt"
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:-3]) + "\n", encoding="utf-8")
    return path.name


def cut_merges_of_tokenizer_json(folder: Path) -> str:
    vocabulary, path = read_bpe(folder), folder / "tokenizer.json"
    model = {"type": "BPE", "vocab": vocabulary.ids, "merges": vocabulary.merges}
    path.write_text(json.dumps({"model": model, "added_tokens": []}), encoding="utf-8")
    load(folder, "clip")
    path.write_text(json.dumps({"model": {**model, "merges": vocabulary.merges[:-3]}}), encoding="utf-8")
    return path.name


@pytest.mark.parametrize("cut", [cut_merges, cut_merges_of_tokenizer_json])
def test_merges_that_are_cut_short(tmp_path: Path, cut: Callable[[Path], str]) -> None:
    write_clip_tokenizer(tmp_path)
    whole = read_bpe(tmp_path)
    name = cut(tmp_path)
    with pytest.raises(DamagedModelError) as caught:
        load(tmp_path, "clip")
    message = f"{tmp_path / name} has {len(whole.merges) - 3} merges, which make all but 3 of the {len(whole.ids)}"
    assert str(caught.value).startswith(message)


def test_a_token_added_by_a_user_needs_no_merge(tmp_path: Path) -> None:
    tokens = write_clip_tokenizer(tmp_path)
    edit_json(tmp_path / "vocab.json", mycat=len(tokens))
    edit_json(tmp_path / "tokenizer_config.json", extra_special_tokens=["mycat"])
    assert load(tmp_path, "clip").encode(["mycat"])[0].ids[1:-1] == (len(tokens),)


def test_a_special_token_that_is_not_a_token(tmp_path: Path) -> None:
    write_clip_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", pad_token=7)
    with pytest.raises(DamagedModelError, match=r"tokenizer_config\.json: 7 "):
        load(tmp_path, "clip")


def test_a_tokenizer_class_of_another_family_is_refused_by_name(tmp_path: Path) -> None:
    write_clip_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", tokenizer_class="T5Tokenizer")
    with pytest.raises(UnsupportedModelError, match="T5Tokenizer"):
        load(tmp_path, "clip")


def test_vocabulary_of_another_size_than_the_embedding(folder: Path, family: str) -> None:
    tokenizer = load(folder, family)
    tokenizer.check_vocab_size(tokenizer.vocab_size)
    for rows in (tokenizer.vocab_size - 1, tokenizer.vocab_size + 1):
        with pytest.raises(DamagedModelError) as caught:
            tokenizer.check_vocab_size(rows)
        assert str(tokenizer.vocab_size) in str(caught.value)
        assert str(rows) in str(caught.value)


def test_sentencepiece_extra_missing(altclip_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UnsupportedModelError) as caught:
        load(altclip_checkpoint / "spm", "altclip")
    assert "sentencepiece" in str(caught.value)
    assert "clipcli[sentencepiece]" in str(caught.value.hint)
    load(altclip_checkpoint, "altclip")


def test_damaged_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\xff\xff not a model")
    with pytest.raises(DamagedModelError, match=r"sentencepiece\.bpe\.model"):
        load(tmp_path, "altclip")


def test_tokenizers_is_imported_only_when_one_is_loaded() -> None:
    code = "import sys, clipcli.text.tokenizer; sys.exit('tokenizers' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def own_pipeline(folder: Path, **parts: Any) -> Path:
    """A tokenizer whose `tokenizer.json` says itself what is done to a text."""
    folder.mkdir()
    vocabulary = {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    content = {"version": "1.0", "added_tokens": [], "model": vocabulary, **empty, **parts}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "x"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def replacing(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


@pytest.mark.parametrize(
    "normalizer",
    [
        replacing("a" * 2000),
        {"type": "Sequence", "normalizers": [replacing("aa")] * 40},
        {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [replacing("a" * 40)] * 2}] * 2},
        {"type": "Prepend", "prepend": "a" * 2000},
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(bytes(4) + b"a" * 2000).decode()},
    ],
)
def test_a_tokenizer_that_multiplies_its_input(normalizer: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DamagedModelError, match=r"tokenizer\.json.*1000"):
        load(own_pipeline(tmp_path / "x", normalizer=normalizer), "clip")


def test_a_normalizer_that_replaces_a_little(tmp_path: Path) -> None:
    folder = own_pipeline(
        tmp_path / "x", normalizer={"type": "Sequence", "normalizers": [replacing("bb"), replacing("")]}
    )
    assert load(folder, "clip").encode(["a"])[0].ids == (0,)


def test_a_table_of_sentencepiece_that_multiplies_its_input(altclip_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(altclip_checkpoint, tmp_path / "x"))
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    (step,) = [
        step
        for step in content["normalizer"].get("normalizers", [content["normalizer"]])
        if step["type"] == "Precompiled"
    ]
    table = base64.b64decode(step["precompiled_charsmap"])
    step["precompiled_charsmap"] = base64.b64encode(table + b"a" * 2000 + b"\0").decode()
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedModelError, match="1000"):
        load(folder, "altclip")


def test_more_special_tokens_than_a_text_has_room_for(tmp_path: Path) -> None:
    special = {"x": {"id": "x", "ids": [0] * 10_000, "tokens": ["x"]}}
    single = [{"SpecialToken": {"id": "x", "type_id": 0}}] * 100 + [{"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    with pytest.raises(DamagedModelError, match="16"):
        load(own_pipeline(tmp_path / "x", post_processor=template), "clip")


@pytest.mark.parametrize("record", ["\ud800", {"content": "x", "lstrip": "yes"}, {"content": "x", "special": 1}, {}])
def test_a_record_of_a_special_token_of_the_wrong_kind(record: Any, tmp_path: Path) -> None:
    write_clip_tokenizer(tmp_path / "x")
    edit_json(tmp_path / "x" / "tokenizer_config.json", additional_special_tokens=[record])
    with pytest.raises(DamagedModelError, match="token"):
        load(tmp_path / "x", "clip")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_special_tokens_without_a_role_that_are_no_list(name: str, tmp_path: Path) -> None:
    write_clip_tokenizer(tmp_path / "x")
    path = tmp_path / "x" / name
    path.write_text(path.read_text() if path.exists() else "{}")
    edit_json(path, additional_special_tokens=True)
    with pytest.raises(DamagedModelError, match=f"{name}.*expected a list"):
        load(tmp_path / "x", "clip")
