import pytest

from clipcli.api.languages import foreign_language, language_warning, spoken_languages

CLIP = "openai/clip-vit-base-patch32"
CHINESE = "OFA-Sys/chinese-clip-vit-base-patch16"


def test_languages_of_known_models_and_of_families() -> None:
    assert spoken_languages(CLIP, "clip") == {"en"}
    assert spoken_languages("altclip", "altclip") == {"en", "zh"}
    assert spoken_languages("/models/mine", "chinese_clip") == {"zh"}
    assert {"en", "zh", "ja", "de"} <= spoken_languages("/models/mine", "altclip")


@pytest.mark.parametrize(
    ("texts", "stated", "spoken", "expected"),
    [
        (["cat", "dog"], None, {"en"}, None),
        (["猫", "狗"], None, {"zh"}, None),
        (["猫", "狗"], None, {"en"}, ("zh", ["猫", "狗"])),
        (["cat", "狗", "bird"], None, {"en"}, ("zh", ["狗"])),
        (["猫", "iPhone"], None, {"zh"}, None),
        (["cat", "dog"], None, {"zh"}, ("en", ["cat", "dog"])),
        (["ねこ", "犬"], None, {"en", "zh"}, ("ja", ["ねこ"])),
        (["חתול", "כלב"], None, {"en"}, ("he", ["חתול", "כלב"])),
        (["แมว", "dog"], None, {"en"}, ("th", ["แมว"])),
        (["बिल्ली"], None, {"en", "zh"}, ("hi", ["बिल्ली"])),
        (["γάτα"], None, {"el"}, None),
        (["🙂", "7"], None, {"zh"}, None),
        (["Katze"], "de", {"en"}, ("de", ["Katze"])),
        (["T恤", "iPhone"], "zh-CN", {"zh"}, None),
        (["A"], "zh", {"en"}, ("zh", ["A"])),
    ],
)
def test_foreign_language(
    texts: list[str], stated: str | None, spoken: set[str], expected: tuple[str, list[str]] | None
) -> None:
    assert foreign_language(texts, stated, frozenset(spoken)) == expected


def test_warning_names_a_model_that_speaks_the_language() -> None:
    warning = language_warning(["猫", "狗"], None, CLIP, "clip")
    assert warning is not None
    for part in ("'猫' and 1 more", "Chinese", CLIP, CHINESE, "(chinese-b16)"):
        assert part in warning
    warning = language_warning(["cat"], None, CHINESE, "chinese_clip")
    assert warning is not None
    assert "English" in warning and CLIP in warning
    assert language_warning(["猫", "cat"], None, "BAAI/AltCLIP", "altclip") is None


def test_warning_for_a_language_no_model_speaks() -> None:
    warning = language_warning(["koira"], "fi", CLIP, "clip")
    assert warning is not None
    assert "'fi'" in warning and "chinese-b16" not in warning


@pytest.mark.parametrize(("text", "name"), [("חתול", "Hebrew"), ("แมว", "Thai"), ("बिल्ली", "Hindi")])
def test_warning_names_languages_by_their_scripts(text: str, name: str) -> None:
    warning = language_warning([text], None, CLIP, "clip")
    assert warning is not None and name in warning
