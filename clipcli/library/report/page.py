"""One self-contained page with a thumbnail of every image and its tags.

The page asks nothing of any network (its own security policy forbids it), and draws images as they are scrolled to.
Rows are written as they come, so the memory is that of a few thumbnails.
"""

import base64
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import resources
from itertools import islice
from typing import Any
from urllib.parse import quote

from clipcli.errors import ImageError
from clipcli.features.pipeline import default_workers
from clipcli.files import dump, replacing
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource

Row = Mapping[str, Any]

_LONGEST_URI = 8192
_EDGE_PX = 144
_ROWS_AT_ONCE = 64
MOST_EMBEDDED = 2000


def report(
    rows: Iterable[Row],
    run: Mapping[str, Any],
    folder: str,
    options: DecodeOptions,
    *,
    thumbnails: str | None = None,
    most_embedded: int = MOST_EMBEDDED,
) -> Iterator[str]:
    """Make the page.

    Args:
        rows: Rows of output.
        run: What describes the run: version, model and label set; labels and thresholds where there are some.
        folder: Where the page will lie; its links are relative to it.
        options: How images are read.
        thumbnails: A folder below `folder`, made when needed: the page links to the thumbnails there of the images
            beyond `most_embedded`, so that it stays quick to open. None to embed all.
        most_embedded: How many thumbnails lie in the page itself.

    Yields:
        The page, piece by piece.
    """
    template = resources.files("clipcli.library.report").joinpath("page.html").read_text(encoding="utf-8")
    head, _, rest = template.partition("/*RUN*/")
    middle, _, tail = rest.partition("/*ROWS*/")
    row_of = partial(_page_row, folder=os.path.abspath(folder), options=replace(options, exact=False))
    about = {key: run[key] for key in ("version", "model", "label_set")}
    about["date"] = time.strftime("%Y-%m-%d %H:%M")
    about["thresholds"] = dict(zip(run.get("labels", ()), run.get("thresholds") or (), strict=False))
    yield head + embedded(about) + middle
    with ThreadPoolExecutor(default_workers()) as pool:
        iterator = iter(rows)
        number = 0
        while batch := list(islice(iterator, _ROWS_AT_ONCE)):
            for row in pool.map(row_of, batch):
                number += 1
                if thumbnails is not None and number > most_embedded and "thumbnail" in row:
                    row["thumbnail"] = _write_thumbnail(row["thumbnail"], thumbnails, f"{number}.jpg", folder)
                yield embedded(row) + "\n"
    yield tail


def _write_thumbnail(uri: str, thumbnails: str, name: str, folder: str) -> str:
    os.makedirs(thumbnails, exist_ok=True)
    path = os.path.join(thumbnails, name)
    with replacing(path) as file:
        file.write(base64.b64decode(uri.partition(",")[2]))
    return link_to(path, os.path.abspath(folder))


def thumbnail(path: str, options: DecodeOptions) -> str:
    """An image as a small JPEG in a data URI of at most 8 kB.

    Raises:
        ImageError: It cannot be read.
    """
    image = decode(ImageSource(path), options, (_EDGE_PX, _EDGE_PX))
    image.thumbnail((_EDGE_PX, _EDGE_PX))
    for quality, scale in _attempts():
        data = io.BytesIO()
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        (image if scale == 1 else image.resize(size)).save(data, "JPEG", quality=quality, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
        if len(uri) <= _LONGEST_URI:
            break
    return uri


def _attempts() -> Iterator[tuple[int, float]]:
    """Qualities and scales to try: noise compresses badly, but not at half the size."""
    return iter([(75, 1), (50, 1), (30, 1), (30, 0.6), (15, 0.4)])


def _page_row(row: Row, *, folder: str, options: DecodeOptions) -> dict[str, Any]:
    if row["status"] == "error":
        return {"path": row["path"], "error": row["error"]["message"]}
    try:
        image = thumbnail(row["path"], options)
    except ImageError as error:  # it has vanished since it was tagged, or came by standard input
        return {"path": row["path"], "error": str(error)}
    href = link_to(row["path"], folder)
    tags = [{"label": tag["label"], "score": round(tag["score"], 4)} for tag in row["tags"]]
    return {"path": row["path"], "href": href, "thumbnail": image, "tags": tags}


def link_to(path: str, folder: str) -> str:
    """A link from a page in a folder to a file."""
    return quote(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/"), errors="surrogateescape")


def embedded(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return dump(value).replace("<", "\\u003c")
