import pytest

from clipcli.labels.expand import expand
from clipcli.labels.label_set import Label, LabelSet
from clipcli.labels.parse import parse_labels
from clipcli.labels.templates import default_templates, language_of, script_of


def test_every_wording_in_every_template_label_by_label() -> None:
    labels = LabelSet("x", (Label("cat"), Label("dog", prompts=("dog", "puppy"))))
    prompts = expand(labels, ("a {}.", "the {}!"))
    assert prompts.texts == ("a cat.", "the cat!", "a dog.", "the dog!", "a puppy.", "the puppy!")
    assert prompts.owners == (0, 0, 1, 1, 1, 1)


def test_a_text_counts_once_within_a_label_but_stays_in_each_label() -> None:
    labels = LabelSet("x", (Label("dog", prompts=("dog", "photo of a dog")), Label("puppy", prompts=("dog", "puppy"))))
    prompts = expand(labels, ("a {}", "a photo of a {}"))
    assert prompts.texts.count("a photo of a dog") == 2
    assert prompts.texts[:3] == ("a dog", "a photo of a dog", "a photo of a photo of a dog")
    assert prompts.owners == (0, 0, 0, 1, 1, 1, 1)


def test_braces_in_a_label_are_plain_text() -> None:
    labels = LabelSet("x", (Label("{}"), Label("{0}")))
    assert expand(labels, ("a {}.",)).texts == ("a {}.", "a {0}.")


def test_a_hierarchical_label_is_prompted_by_its_last_level() -> None:
    labels = LabelSet("x", (Label("animal/dog", path=("animal", "dog")),))
    assert expand(labels, ("a {}",)).texts == ("a dog",)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("cat", "latin"),
        ("café au lait", "latin"),
        ("ｃａｔ", "latin"),
        ("猫", "han"),
        ("T恤", "han"),
        ("一只猫 on the sofa", "han"),
        ("〇", "common"),
        ("猫のしっぽ", "kana"),
        ("コーヒー", "kana"),
        ("고양이", "hangul"),
        ("собака", "cyrillic"),
        ("قطة", "arabic"),
        ("γάτα", "greek"),
        ("แมว", "thai"),
        ("7", "common"),
        ("😀!", "common"),
        ("", "common"),
    ],
)
def test_script_of(text: str, script: str) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("labels", "language"),
    [
        ("cat,dog", "en"),
        ("猫,狗", "zh"),
        ("猫,狗,iPhone", "zh"),
        ("一只猫,a dog", None),
        ("犬,コーヒー", "ja"),
        ("собака,кошка", "ru"),
        ("γάτα,σκύλος", "el"),
        ("7,8", "en"),
        ("猫,7,8,9", "zh"),
    ],
)
def test_language_of_labels(labels: str, language: str | None) -> None:
    assert language_of(parse_labels([labels])) == language


def test_the_stated_language_decides() -> None:
    assert language_of(LabelSet("x", (Label("猫"),), language="ja")) == "ja"


def test_default_templates() -> None:
    assert default_templates(parse_labels(["cat"])) == ("a photo of a {}.",)
    assert default_templates(parse_labels(["猫"]))[0] == "一张{}的照片。"
    assert default_templates(parse_labels(["一只猫,a dog"])) == ("{}",)
    assert default_templates(LabelSet("x", (Label("x"),), language="sw")) == ("{}",)
    assert default_templates(LabelSet("x", (Label("貓"),), language="zh-TW"))[0] == "一张{}的照片。"


def test_default_templates_keep_the_rules_of_templates() -> None:
    for language in ("en", "zh", "ar", "de", "es", "fr", "it", "ja", "ko", "ru"):
        templates = default_templates(LabelSet("x", (Label("x"),), language=language))
        assert templates != ("{}",)
        assert LabelSet("x", (Label("x"),), templates=templates).templates == templates
