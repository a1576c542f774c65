"""Divide files into shards of a suitable size: whole tars, row groups, parts of tables, lists of images."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from clipcli.errors import ClipError
from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.scale.inputs.find import find_shards
from clipcli.scale.inputs.parquet import open_parquet
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.inputs.tables import row_ends
from clipcli.scale.stores import Folder, is_uri, locate

ROWS_PER_SHARD = 10_000
_LEAST_DIGITS = 5


def divide(
    shards: Sequence[str], images: Iterable[str], lists: Folder, *, rows_per_shard: int = ROWS_PER_SHARD
) -> list[Shard]:
    """Make the shards of a run; the same files always have the same shards.

    Args:
        shards: Tars, Parquet files and tables; patterns with braces and wildcards.
        images: Single images, by path or URI.
        lists: The folder for the lists of single images, one file per shard.
        rows_per_shard: Rows of a table, Parquet file or list per shard; a tar is always one shard.

    Raises:
        ClipError: A file is missing or damaged, or the inputs are empty.
    """
    parts = [*parts_of(shards, rows_per_shard), *_listed(images, lists, rows_per_shard)]
    if not parts:
        raise ClipError("the inputs hold no row", hint="name shards, tables or folders with images in them")
    digits = max(_LEAST_DIGITS, len(str(len(parts) - 1)))
    return [replace(part, id=str(number).zfill(digits)) for number, part in enumerate(parts)]


def parts_of(shards: Sequence[str], rows_per_shard: int) -> Iterator[Shard]:
    """Shards without numbers: whole tars, and parts of Parquet files and tables.

    Raises:
        ClipError: A file is missing or damaged.
    """
    for path, kind, status in find_shards(shards):
        whole = Shard("", path, kind, status.size, status.etag)
        if kind == "tar":
            yield whole
        else:
            yield from (_row_groups if kind == "parquet" else _stretches)(whole, rows_per_shard)


def lists_of(images: Iterable[str], rows_per_shard: int) -> Iterator[tuple[str, bytes]]:
    """Tables of single images, with names derived from their contents.

    A list of other images, left by an interrupted plan, is therefore never mistaken for one of this plan.
    """
    names = iter(images)
    while part := list(islice(names, rows_per_shard)):
        rows = ({"key": name, "path": name if is_uri(name) else os.path.abspath(name)} for name in part)
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        yield f"{hashlib.sha256(data).hexdigest()[:32]}.jsonl", data


def images_under(path: str) -> Iterator[str]:
    """The images of a folder in a store."""
    store, key = locate(path.rstrip("/") + "/")
    root = path.rstrip("/") + "/"
    for found, _ in store.find(key):
        if os.path.splitext(found)[1].lower() in IMAGE_EXTENSIONS:
            yield root + found[len(key) :]


def _row_groups(whole: Shard, rows_per_shard: int) -> Iterator[Shard]:
    """Consecutive row groups up to the size of a shard; a larger one is not split."""
    store, key = locate(whole.uri)
    with closing(store.open(key)) as stream:
        metadata = open_parquet(stream, whole.uri).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    start = first_row = rows = 0
    for group, size in enumerate(sizes, start=1):
        rows += size
        if rows >= rows_per_shard or group == len(sizes):
            yield replace(whole, start=start, stop=group, first_row=first_row)
            start, first_row, rows = group, first_row + rows, 0


def _stretches(whole: Shard, rows_per_shard: int) -> Iterator[Shard]:
    store, key = locate(whole.uri)
    with closing(store.open(key)) as stream:
        ends = row_ends(stream, whole)
        start, first_row = next(ends), 0
        while part := list(islice(ends, rows_per_shard)):
            yield replace(whole, start=start, stop=part[-1], first_row=first_row)
            start, first_row = part[-1], first_row + len(part)


def _listed(images: Iterable[str], lists: Folder, rows_per_shard: int) -> Iterator[Shard]:
    """Write the names of single images into tables, where every machine can read them."""
    for name, data in lists_of(images, rows_per_shard):
        lists.create(name, data)
        path = lists.at(name)
        store, key = locate(path)
        yield Shard("", path if is_uri(path) else os.path.abspath(path), "jsonl", len(data), store.status(key).etag)
