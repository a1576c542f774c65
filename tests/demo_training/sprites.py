"""Render every drawing of every concept once, into one array on disk. Imports no torch."""

import io
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.demo_training.concepts import Concept
from tests.demo_training.fetch import package_folder
from tests.demo_training.vendors import VENDORS, Vendor

log = logging.getLogger(__name__)
SIZE_PX = 64
# Icon names that mean something else in sets of interface icons (a computer mouse, a lightning bolt, a browser tab).
MISLEADING = frozenset(
    "mouse club spade temple pepper present tie globe ring link pin bow bang target columns chips can slide spiral "
    "wave horn die cap page tag letter document torch needle scale orange seal turkey bug cricket ram moon compass "
    "label bolt tick money building tower home mountain medal diamond bowl lamp speaker drumstick goal memo cable "
    "present swan ship tennis golf bowling badminton hook knot thread monitor planet earth screw orange dice folder "
    "apple anchor tag brick bricks log fan ox bat fly sweet picture poop crane".split()
)


@dataclass(frozen=True)
class Sprites:
    """All drawings.

    Args:
        pixels: (N, SIZE_PX, SIZE_PX, 4) uint8, straight alpha, trimmed to what is drawn.
        concept: (N,) index into the list of concepts.
        vendor: (N,) index into `VENDORS`.
    """

    pixels: NDArray[np.uint8]
    concept: NDArray[np.int64]
    vendor: NDArray[np.int64]


class Drawings:
    """The SVG (or picture) files of one vendor, found by emoji or by name."""

    def __init__(self, work: Path, vendor: Vendor) -> None:
        """Read the package's index; nothing is rendered yet."""
        self.vendor = vendor
        self.folder = package_folder(work, vendor.package)
        self.assets = self.folder / "assets"
        if self.assets.exists():
            return
        self.icons = json.loads((self.folder / "icons.json").read_text("utf-8"))
        chars = self.folder / "chars.json"
        self.by_code: dict[str, str] = json.loads(chars.read_text("utf-8")) if chars.exists() else {}
        self.names = {*self.icons["icons"], *self.icons.get("aliases", {})}
        self.squashed = {re.sub(r"[^a-z]", "", name): name for name in sorted(self.names, reverse=True)}

    def render(self, concept: Concept, size_px: int) -> list[Image.Image]:
        """Return the vendor's pictures of `concept`, RGBA, `size_px` wide and high, untrimmed."""
        if self.assets.exists():
            files = [self.assets / f"{code.lower()}.webp" for code in concept.hexcodes]
            return [_open(file.read_bytes(), size_px) for file in files if file.exists()]
        return [_open(_png(self._svg(name), size_px), size_px) for name in self._names(concept)]

    def _names(self, concept: Concept) -> list[str]:
        if self.vendor.icons:
            slugs = [_slug(name) for name in concept.names if _slug(name) not in MISLEADING]
            return [slug + self.vendor.suffix for slug in slugs if slug + self.vendor.suffix in self.names]
        pairs = zip(concept.labels, concept.hexcodes, strict=True)
        return list(dict.fromkeys(name for pair in pairs if (name := self._emoji(*pair))))

    def _emoji(self, label: str, hexcode: str) -> str | None:
        code = hexcode.lower()
        for key in (code, code.replace("-fe0f", "")):
            if key in self.by_code:
                return self.by_code[key]
        slug = _slug(label)
        for name in (slug, f"{slug}-1", f"{slug}-face", slug.removesuffix("-face")):
            if name in self.names:
                return name
        return self.squashed.get(slug.replace("-", ""))

    def _svg(self, name: str) -> str:
        icon: dict[str, Any] = {"width": self.icons.get("width", 16), "height": self.icons.get("height", 16)}
        alias = self.icons.get("aliases", {}).get(name)
        icon |= self.icons["icons"][alias["parent"] if alias else name]
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {icon['width']} {icon['height']}"
        body = icon["body"].replace("currentColor", "#000000")
        namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return f'<svg {namespaces} viewBox="{box}">{body}</svg>'


def load_sprites(work: Path, concepts: list[Concept]) -> Sprites:
    """Return the sprites of every vendor, rendering them on the first call (a minute or two)."""
    cache = work / "sprites.npz"
    if not cache.exists():
        _save(cache, _render_all(work, concepts))
    with np.load(cache) as arrays:
        return Sprites(arrays["pixels"], arrays["concept"], arrays["vendor"])


def _render_all(work: Path, concepts: list[Concept]) -> Sprites:
    pixels, concept_of, vendor_of = [], [], []
    for v, vendor in enumerate(VENDORS):
        drawings = Drawings(work, vendor)
        for c, concept in enumerate(concepts):
            if concept.coloured and not vendor.colour:
                continue
            for image in drawings.render(concept, 2 * SIZE_PX):
                trimmed = trim(image, SIZE_PX)
                if trimmed is not None:
                    pixels.append(np.asarray(trimmed))
                    concept_of.append(c)
                    vendor_of.append(v)
        log.info("%s: %d drawings", vendor.name, vendor_of.count(v))
    return Sprites(np.stack(pixels), np.array(concept_of), np.array(vendor_of))


def trim(image: Image.Image, size_px: int) -> Image.Image | None:
    """Cut to what is drawn and scale to a centred square of `size_px`; None for an empty drawing."""
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None:
        return None
    cut = image.crop(box)
    square = Image.new("RGBA", (max(cut.size), max(cut.size)))
    square.paste(cut, ((square.width - cut.width) // 2, (square.height - cut.height) // 2))
    return square.resize((size_px, size_px), Image.Resampling.BICUBIC)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("’", "").replace("'", "")).strip("-")


def _png(svg: str, size_px: int) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px))


def _open(data: bytes, size_px: int) -> Image.Image:
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return image if max(image.size) == size_px else image.resize((size_px, size_px), Image.Resampling.LANCZOS)


def _save(cache: Path, sprites: Sprites) -> None:
    partial = cache.with_suffix(".partial.npz")
    np.savez(partial, pixels=sprites.pixels, concept=sprites.concept, vendor=sprites.vendor)
    partial.replace(cache)
