"""Which drawings there are, where they come from and who may see them. Imports nothing of the program."""

from dataclasses import dataclass
from typing import Literal

Use = Literal["train", "test"]
EMOJIBASE = "emojibase-data@17.0.0"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One set of drawings.

    Args:
        name: Short name, also the key of the sprite cache.
        package: npm package and version.
        licence: SPDX identifier, as the package states it.
        use: Whether the model may be trained on it; test vendors are never looked at before the final evaluation.
        colour: Whether its colours mean something; one-coloured sets are recoloured at random.
        suffix: Variant looked for behind the icon's name ("" is the plain one).
        icons: A set of interface icons: matched by everyday names, not by emoji names.
        weight: How often it is drawn in training, relative to the others.
    """

    name: str
    package: str
    licence: str
    use: Use = "train"
    colour: bool = True
    suffix: str = ""
    icons: bool = False
    weight: float = 1.0


def _set(name: str) -> str:
    return f"@iconify-json/{name}"


VENDORS = (
    Vendor("noto", _set("noto@1.2.9"), "Apache-2.0", weight=1.5),
    Vendor("noto-v1", _set("noto-v1@1.2.5"), "Apache-2.0", weight=1.5),
    Vendor("fluent-emoji", _set("fluent-emoji@1.2.7"), "MIT"),
    Vendor("fluent-emoji-flat", _set("fluent-emoji-flat@1.2.6"), "MIT"),
    Vendor("fluent-emoji-3d", "@lobehub/fluent-emoji-3d@1.1.0", "MIT", weight=0.5),
    Vendor("emojione", _set("emojione@1.2.3"), "CC-BY-4.0", weight=1.5),
    Vendor("fxemoji", _set("fxemoji@1.2.2"), "Apache-2.0", weight=1.5),
    Vendor("streamline-emojis", _set("streamline-emojis@1.2.4"), "CC-BY-4.0", weight=1.5),
    Vendor("high-contrast", _set("fluent-emoji-high-contrast@1.2.6"), "MIT", colour=False, weight=0.7),
    Vendor("emojione-monotone", _set("emojione-monotone@1.2.1"), "CC-BY-4.0", colour=False, weight=0.7),
    Vendor("icon-park", _set("icon-park@1.2.4"), "Apache-2.0", colour=False, icons=True, weight=0.7),
    Vendor("game-icons", _set("game-icons@1.2.4"), "CC-BY-3.0", colour=False, icons=True, weight=0.5),
    Vendor("tabler", _set("tabler@1.2.41"), "MIT", colour=False, icons=True, weight=0.5),
    Vendor("phosphor", _set("ph@1.2.2"), "MIT", colour=False, icons=True, suffix="-duotone", weight=0.7),
    Vendor("mdi", _set("mdi@1.2.3"), "Apache-2.0", colour=False, icons=True, weight=0.5),
    Vendor("twemoji", _set("twemoji@1.2.5"), "CC-BY-4.0", use="test"),
    Vendor("openmoji", _set("openmoji@1.2.29"), "CC-BY-SA-4.0", use="test"),
)
