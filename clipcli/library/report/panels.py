"""Maps of an image drawn: one panel per label, all on one color scale, with a legend and each label's cosine.

The colors go from dark to light as the heat rises, so that they say the same to people who do not tell all colors
apart, and in print. Below them the image is gray: what has a color is heat.
"""

import io
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.answers.maps import Explanation, LabelMap, resized
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

SOFTWARE = "clip explain"
"""What the PNG files say they were made by: no other image is ever written over."""

PANEL_PX = 360
_LEAST_PX = 24
_GAP_PX, _LINE_PX, _TEXT_PX, _BAR_PX = 12, 20, 14, 14
_WIDEST_PX = 1600
_HEAT_SHARE = 0.6
_INK, _SOFT, _PAPER = (27, 27, 31), (99, 99, 110), (255, 255, 255)
# Blue-black, violet, red, orange, pale yellow: lightness rises evenly.
_STOPS = np.array([(8, 12, 52), (84, 22, 118), (186, 48, 92), (246, 132, 36), (254, 240, 158)], dtype=np.float32)
# Fonts with letters of most scripts, as Linux, macOS and Windows call them.
_WIDE_FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "wqy-microhei.ttc"),
    *("wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "Arial Unicode.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc"),
    *("STHeiti Light.ttc", "msyh.ttc", "simsun.ttc", "arialuni.ttf", "NotoSans-Regular.ttf", "DejaVuSans.ttf"),
)


def draw_maps(explanation: Explanation, *, font: str | None = None) -> bytes:
    """Draw the maps of an image as a PNG: the image, then one panel per label.

    Args:
        explanation: The maps, with their image.
        font: A font file for labels; None for one that has their letters, if there is one. Labels whose letters are in
            no font are drawn as numbers.

    Raises:
        ValueError: The image could not be read, so there is nothing to draw.
        OSError: The font cannot be read.
    """
    from PIL.PngImagePlugin import PngInfo

    about, data = PngInfo(), io.BytesIO()
    about.add_text("Software", SOFTWARE)
    panels(explanation, font=font).save(data, "PNG", pnginfo=about)
    return data.getvalue()


def panels(explanation: Explanation, *, font: str | None = None, panel_px: int = PANEL_PX) -> "Image":
    """As `draw_maps`, as an image; `panel_px` is the longer edge of a panel."""
    from PIL import Image, ImageDraw

    if explanation.image is None:
        raise ValueError(f"{explanation.path} has no maps to draw")
    image = explanation.image.resize(panel_size(explanation.image.size, panel_px))
    captions = [("image", os.path.basename(explanation.path)), *map(_caption, explanation.maps)]
    chosen = font_for([text for caption in captions for text in caption], font)
    columns = columns_for(len(captions), *image.size)
    rows = math.ceil(len(captions) / columns)
    width = columns * (image.width + _GAP_PX) + _GAP_PX
    height = _GAP_PX + rows * (image.height + 2 * _LINE_PX + _GAP_PX) + _BAR_PX + _LINE_PX + _GAP_PX
    sheet = Image.new("RGB", (max(width, 2 * _GAP_PX + PANEL_PX), height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, caption in enumerate(captions):
        row, column = divmod(i, columns)
        left = _GAP_PX + column * (image.width + _GAP_PX)
        top = _GAP_PX + row * (image.height + 2 * _LINE_PX + _GAP_PX)
        for line, (text, color) in enumerate(zip(caption, (_INK, _SOFT), strict=True)):
            shown = _fitting(text, i, chosen, image.width)
            draw.text((left, top + line * _LINE_PX), shown, fill=color, font=chosen)
        panel = image if i == 0 else _panel(image, explanation.maps[i - 1], explanation)
        sheet.paste(panel, (left, top + 2 * _LINE_PX))
    _legend(sheet, draw, explanation, chosen, height - _BAR_PX - _LINE_PX - _GAP_PX)
    return sheet


def strip(explanation: Explanation, panel_px: int, most: int) -> "Image":
    """Panels side by side without a word, for where words cannot be read: the image, then the first few labels."""
    from PIL import Image

    if explanation.image is None:
        raise ValueError(f"{explanation.path} has no maps to draw")
    image = explanation.image.resize(panel_size(explanation.image.size, panel_px))
    shown = [image, *(_panel(image, found, explanation) for found in explanation.maps[:most])]
    joined = Image.new("RGB", (len(shown) * (image.width + _GAP_PX) - _GAP_PX, image.height))
    for i, panel in enumerate(shown):
        joined.paste(panel, (i * (image.width + _GAP_PX), 0))
    return joined


def drawn_as_numbers(labels: Sequence[str], font: str | None = None) -> list[str]:
    """Labels with letters that the font which would be taken lacks.

    Raises:
        OSError: The font that is named cannot be read.
    """
    chosen = font_for(labels, font)
    return [label for label in labels if not has_letters(label, chosen)]


def made_here(path: str) -> bool:
    """Whether a file is a PNG that `draw_maps` has made."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == SOFTWARE
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        return False


def panel_size(size: tuple[int, int], panel_px: int) -> tuple[int, int]:
    """Width and height of a panel: in the proportions of the image, but for one that would be a mere line."""
    scale = panel_px / max(size)
    width, height = (max(_LEAST_PX, round(edge * scale)) for edge in size)
    return width, height


def columns_for(count: int, width: int, height: int) -> int:
    """So many panels side by side that all of them together come nearest to three by two."""
    fitting = max(1, min(count, _WIDEST_PX // (width + _GAP_PX)))
    shapes = {
        n: math.log(n * (width + _GAP_PX) / (math.ceil(count / n) * (height + _GAP_PX + 2 * _LINE_PX)) / 1.5)
        for n in range(1, fitting + 1)
    }
    return min(shapes, key=lambda n: abs(shapes[n]))


def colors(heat: Floats, ends: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.uint8]:
    """Colors of heat; shapes: any -> (..., 3)."""
    low, high = ends
    share = np.clip((heat - low) / max(high - low, 1e-12), 0, 1) * (len(_STOPS) - 1)
    lower = np.minimum(share.astype(np.intp), len(_STOPS) - 2)
    weight = (share - lower)[..., None]
    return np.asarray(np.rint(_STOPS[lower] * (1 - weight) + _STOPS[lower + 1] * weight), dtype=np.uint8)


def _caption(found: LabelMap) -> tuple[str, str]:
    return found.label, f"cosine {found.cosine:.3f}"


def _panel(image: "Image", found: LabelMap, explanation: Explanation) -> "Image":
    """Heat over the gray image, with the box and the peak where anything is hot."""
    from PIL import Image, ImageDraw

    heat = resized(found.heat, image.height, image.width)
    color = Image.fromarray(colors(heat, explanation.heat_range))
    panel = Image.blend(image.convert("L").convert("RGB"), color, _HEAT_SHARE)
    low, high = explanation.heat_range
    if found.heat.max() < (low + high) / 2:  # cold all over: a box would claim that something is there
        return panel
    draw = ImageDraw.Draw(panel)
    x, y = image.width / explanation.width, image.height / explanation.height
    right, bottom = min(found.right * x, image.width - 1), min(found.bottom * y, image.height - 1)
    box = (found.left * x, found.top * y, max(right, found.left * x), max(bottom, found.top * y))
    draw.rectangle(box, outline=_INK, width=3)
    draw.rectangle([box[0] + 1, box[1] + 1, max(box[2] - 1, box[0] + 1), max(box[3] - 1, box[1] + 1)], outline=_PAPER)
    peak_x, peak_y = found.x * x, found.y * y
    for radius, shade, width in ((6, _INK, 4), (5, _PAPER, 2)):
        draw.line((peak_x - radius, peak_y, peak_x + radius, peak_y), fill=shade, width=width)
        draw.line((peak_x, peak_y - radius, peak_x, peak_y + radius), fill=shade, width=width)
    return panel


def _legend(
    sheet: "Image", draw: "ImageDraw", explanation: Explanation, font: "FreeTypeFont | BitmapFont", top: int
) -> None:
    from PIL import Image

    low, high = explanation.heat_range
    length = min(sheet.width - 2 * _GAP_PX, PANEL_PX)
    steps = np.linspace(low, high, length, dtype=np.float32)
    bar = Image.fromarray(np.repeat(colors(steps, explanation.heat_range)[None], _BAR_PX, axis=0))
    sheet.paste(bar, (_GAP_PX, top))
    for share, text in ((0.0, f"{low:.2g}"), (0.5, explanation.heat), (1.0, f"{high:.2g}")):
        place = _GAP_PX + share * (length - draw.textlength(text, font=font))
        draw.text((place, top + _BAR_PX + 2), text, fill=_SOFT, font=font)


def _fitting(text: str, number: int, font: "FreeTypeFont | BitmapFont", width_px: int) -> str:
    """A text that its font can show and that fits its panel; a label that cannot be shown is its number."""
    if not has_letters(text, font):
        text = f"label {number}" if number else "image"
    while font.getlength(text) > width_px and len(text) > 1:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def font_for(texts: Sequence[str], font: str | None = None) -> "FreeTypeFont | BitmapFont":
    """The font that is named; else Pillow's own, or where that lacks letters the first installed one that has all.

    Raises:
        OSError: The font that is named cannot be read.
    """
    from PIL import ImageFont

    if font is not None:
        return ImageFont.truetype(font, _TEXT_PX)
    usual = ImageFont.load_default(_TEXT_PX)
    if all(has_letters(text, usual) for text in texts):
        return usual
    installed = [found for name in _WIDE_FONTS if (found := _installed(name)) is not None]
    return max([usual, *installed], key=lambda each: sum(has_letters(text, each) for text in texts))


@lru_cache(maxsize=len(_WIDE_FONTS))
def _installed(name: str) -> "FreeTypeFont | None":
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, _TEXT_PX)
    except OSError:
        return None


def has_letters(text: str, font: "FreeTypeFont | BitmapFont") -> bool:
    """Whether a font has all letters of a text: those that it lacks are drawn as one that no font has."""
    missing = _drawn("\U0010fffd", font)
    return all(character.isspace() or _drawn(character, font) != missing for character in set(text))


def _drawn(character: str, font: "FreeTypeFont | BitmapFont") -> bytes | None:
    try:
        return bytes(font.getmask(character))
    except UnicodeEncodeError:  # a bitmap font has Latin letters only
        return None
