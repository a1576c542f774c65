"""A page of thumbnails in groups: the hits of a search, the copies of images. One file, without scripts."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from itertools import islice
from urllib.parse import quote

from clipcli.errors import ImageError
from clipcli.features.pipeline import default_workers
from clipcli.images.decode import DecodeOptions
from clipcli.library.report.page import thumbnail

_GROUPS_AT_ONCE = 64

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1rem }}
section {{ border-top: 1px solid #8884; padding: .5rem 0 }}
h2 {{ font-size: 1rem; margin: .2rem 0 }}
.images {{ display: flex; flex-wrap: wrap; gap: .8rem }}
figure {{ margin: 0; width: 160px }}
figure.kept img {{ outline: 3px solid #2a7de1 }}
img {{ max-width: 144px; max-height: 144px; border-radius: 3px }}
figcaption {{ font-size: 12px; overflow-wrap: anywhere }}
figcaption span {{ opacity: .7 }}
</style>
<h1>{title}</h1>
<p>{about}</p>
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image on the page: where it lies, what is written below it, and whether it stands out."""

    path: str
    caption: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Images that belong together, under a heading; None for no heading."""

    heading: str | None
    images: Sequence[Picture]


def sheet(title: str, about: str, sections: Iterable[Section], folder: str) -> Iterator[str]:
    """Make the page.

    Args:
        title: Its heading.
        about: A line below it.
        sections: The images.
        folder: Where the page will lie; its links are relative to it.

    Yields:
        The page, piece by piece.
    """
    yield _HEAD.format(title=escape(title), about=escape(about))
    with ThreadPoolExecutor(default_workers()) as pool:
        stream = iter(sections)
        while batch := list(islice(stream, _GROUPS_AT_ONCE)):
            for section in batch:
                figures = pool.map(lambda image: _figure(image, os.path.abspath(folder)), section.images)
                heading = "" if section.heading is None else f"<h2>{escape(section.heading)}</h2>\n"
                yield f'<section>\n{heading}<div class="images">\n' + "".join(figures) + "</div>\n</section>\n"


def _figure(image: Picture, folder: str) -> str:
    try:
        shown = f'<img src="{thumbnail(image.path, DecodeOptions(exact=False))}" alt="">'
    except ImageError as error:
        shown = f"<p>{_text(str(error))}</p>"
    href = quote(os.path.relpath(os.path.abspath(image.path), folder).replace(os.sep, "/"), errors="surrogateescape")
    marked = ' class="kept"' if image.marked else ""
    name = _text(os.path.basename(image.path))
    return (
        f'<figure{marked}><a href="{escape(href)}">{shown}</a>'
        f'<figcaption title="{_text(image.path)}">{name}<br><span>{_text(image.caption)}</span></figcaption></figure>\n'
    )


def _text(value: str) -> str:
    """Text for the page; bytes that are not UTF-8 become escapes."""
    return escape(value.encode("utf-8", "backslashreplace").decode("utf-8"))
