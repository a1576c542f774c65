"""The background of a label set: what `tag` weighs each label against when the file names none."""

from clipcli.labels.label_set import LabelSet
from clipcli.labels.templates import language_of

# Whole sentences that fit any image about equally well: the medium alone, something unnamed, a scene without a
# subject. Several, because one sentence alone would decide by its wording.
_DEFAULTS: dict[str, tuple[str, ...]] = {
    "en": (
        "a photo.",
        "a picture of something.",
        "a photo of something else.",
        "an ordinary scene.",
        "a plain background.",
    ),
    "zh": ("一张照片。", "一张某样东西的图片。", "一张其他东西的照片。", "一个普通的场景。", "一片空白的背景。"),
}


def background_of(label_set: LabelSet) -> tuple[str, ...]:
    """Return the set's own background, or the default in its language; in English where there is none in it."""
    if label_set.background:
        return label_set.background
    return _DEFAULTS.get(language_of(label_set) or "en", _DEFAULTS["en"])
