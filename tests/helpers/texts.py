"""Texts that tokenizers stumble over: a list written by hand, and any number generated from a seed."""

import os
import random

HARD = (
    "",
    " ",
    "   \t\n ",
    "cat",
    "A Photo Of A CAT.",
    "a  photo   of\ta\ncat",
    " leading and trailing ",
    "it's don't I'll we've she'd they're I'm 'S 'T",
    "‘curly’ “quotes” — dashes … ellipsis",
    "café résumé naïve",
    "cafe\u0301 re\u0301sume\u0301 nai\u0308ve",
    "Ångström Å A\u030a ẞ straße İstanbul ı ﬁ ﬀ",
    "&amp; &lt;b&gt; &#39;quoted&#39; &nbsp;x &amp;amp;",
    "<|endoftext|>",
    "a <|endoftext|> b <|startoftext|> c",
    "a<|ENDOFTEXT|>b",
    "[CLS] a [SEP] b [MASK] [PAD] [UNK] [unused1]",
    "[cls]x[Mask]",
    "<s> a </s> b <mask> c <pad> <unk> <S>",
    "x <mask>y  <mask>",
    "一张猫的照片",
    "一张猫的照片。两只狗在草地上！",
    "一 张 猫 的 照 片",
    "a cat和一只dog在grass上",
    "皮卡丘 Pikachu 25号",
    "ＡＢＣ　ａｂｃ　１２３！？",
    "ｱｲｳｴｵ アイウエオ ガ ｶﾞ",
    "한국어 텍스트 日本語 ภาษาไทย العربية עברית हिन्दी",
    "𠮷野家 𪚥 㐀 豈 龘",
    "🙂 😀😃 👍🏽 ❤️ ☕",
    "👨‍👩‍👧‍👦 family 🏳️‍🌈 🇨🇳🇩🇪",
    "1234567890 3.14159 1,000,000 ½ ² ⅷ ١٢٣ 一二三",
    "e-mail@example.com https://example.com/a?b=c#d",
    "C++ & C# || a_b_c == {x: [1, 2]}",
    "a\x00b\x01c\x07d\x1be\x7ff\x85g\u200bh\u200di\ufeffj\ufffdk\u00adl",
    "non\u00a0breaking\u2003em\u3000ideographic\u2028line\u2029para",
    "supercalifragilisticexpialidocious" * 4,
    "x" * 150,
    "猫" * 200,
    "word " * 200,
    "!?" * 60,
    "##cat ##s #hash",
    "▁under ▁ ▁▁x",
    "Ġa Ċ Ġ",
    "the</w> cat</w>",
    "ΑΒΓΔ Σίσυφος ΣΑΣ ДОМ ЁЖ ǅ ﷽",
    "a\u0300\u0301\u0302 zalgo o\u0336",
    "\u202eright to left\u202c",
    "\U0010ffff\ue000",
)

ENGLISH = "a the cat dog photo of small large Red BLUE car it's running don't House trees 2024 grass quickly".split()
CHINESE = "一张照片的猫狗鸟汽车树花人红蓝绿黄大小两只三在草地上坐着皮卡丘龘𠮷，。！？《》、"
ACCENTS = ("é", "e\u0301", "ü", "u\u0308", "ñ", "Å", "ç", "ß", "İ", "œ", "ﬁ")
EMOJI = ("🙂", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "❤️", "🇨🇳", "☕")
WIDTHS = ("Ａ", "ｚ", "９", "！", "　", "ｱ", "ｶﾞ", "ガ")
ENTITIES = ("&amp;", "&lt;", "&#39;", "&nbsp;")
SPECIAL = (
    "<|endoftext|>",
    "<|startoftext|>",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "<s>",
    "</s>",
    "<mask>",
    "<pad>",
    "<unk>",
    "##s",
    "▁",
    "</w>",
)
CONTROLS = ("\x00", "\x07", "\x1f", "\x7f", "\u200b", "\u200d", "\ufeff", "\u00ad", "\ufffd", "\u202e")
MANY = int(os.environ.get("PARITY_TEXTS", "2000"))
"""How many texts a tokenizer is compared on; 20,000 take a minute a family."""
SPACES = ("", "", "", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000")


def generated(count: int, seed: int = 4) -> list[str]:
    """`count` texts of 0 to 60 pieces of every kind, the same for the same seed."""
    source = random.Random(seed)
    return [_text(source) for _ in range(count)]


def _text(source: random.Random) -> str:
    pieces = source.choice((0, 1, 2, 3, 5, 8, 13, 60)) if source.random() < 0.5 else source.randrange(1, 20)
    return "".join(_piece(source) + source.choice(SPACES) for _ in range(pieces))


def _piece(source: random.Random) -> str:
    kind = source.randrange(14)
    if kind < 3:
        return source.choice(ENGLISH)
    if kind < 6:
        return "".join(source.choices(CHINESE, k=source.randrange(1, 8)))
    if kind == 6:
        return "".join(source.choices("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789", k=source.randrange(1, 12)))
    if kind == 7:
        return chr(source.choice((source.randrange(0x20, 0x3000), source.randrange(0xE000, 0x20000))))
    if kind == 8:
        return "".join(source.choices(".,!?'\"-_/&;:#@()[]{}<>|*+=~`^%$\\", k=source.randrange(1, 4)))
    return source.choice((ACCENTS, EMOJI, WIDTHS, ENTITIES, SPECIAL, CONTROLS)[source.randrange(6)])
