"""`clip tag --report`: one self-contained page with a thumbnail of every image and its tags.

The page asks nothing of any network (its own security policy forbids it), and draws images as they are scrolled to.
Rows are written as they come, so the memory is that of a few thumbnails.
"""

import base64
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import resources
from itertools import islice
from typing import Any
from urllib.parse import quote

from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.json import dump
from clipcli.errors import ImageError
from clipcli.features.pipeline import default_workers
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource

Row = Mapping[str, Any]

_LONGEST_URI = 8192
_EDGE_PX = 144
_ROWS_AT_ONCE = 64


def write_report(path: str, run: Mapping[str, Any], options: DecodeOptions, rows: Iterable[Row]) -> int:
    """Write the page.

    Args:
        path: Where.
        run: What describes the run.
        options: How images are read.
        rows: Rows of output.

    Returns:
        0: failures are part of the page.

    Raises:
        ClipError: It cannot be written.
    """
    template = resources.files("clipcli.cli.tagging").joinpath("report.html").read_text(encoding="utf-8")
    head, _, rest = template.partition("/*RUN*/")
    middle, _, tail = rest.partition("/*ROWS*/")
    folder = os.path.dirname(os.path.abspath(path))
    row_of = partial(_page_row, folder=folder, options=replace(options, exact=False))
    with open_destination(path, "--report") as destination, ThreadPoolExecutor(default_workers()) as pool:
        destination.write(head + _embedded({key: run[key] for key in ("version", "model", "label_set")}) + middle)
        iterator = iter(rows)
        while batch := list(islice(iterator, _ROWS_AT_ONCE)):
            for row in pool.map(row_of, batch):
                destination.write(_embedded(row) + "\n")
        destination.write(tail)
    return 0


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
    href = quote(os.path.relpath(os.path.abspath(row["path"]), folder).replace(os.sep, "/"), errors="surrogateescape")
    tags = [{"label": tag["label"], "score": round(tag["score"], 4)} for tag in row["tags"]]
    return {"path": row["path"], "href": href, "thumbnail": image, "tags": tags}


def _embedded(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return dump(value).replace("<", "\\u003c")
