"""Shards and images that were added to the inputs of a run after its shards were listed."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from clipcli.errors import ClipError
from clipcli.scale.inputs.divide import lists_of, parts_of
from clipcli.scale.inputs.find import shard_names
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.stores import Folder, is_uri


def added(
    known: Sequence[Shard], shards: Sequence[str], images: Iterable[str], lists: Folder, *, rows_per_shard: int
) -> list[str]:
    """Find shards and images that were added to the inputs; missing ones are ignored.

    Args:
        known: The shards of the run.
        shards: As for `divide`.
        images: As for `divide`.
        lists: As for `divide`.
        rows_per_shard: As for `divide`.
    """
    found: list[str] = []
    for more in (_shards(known, shards, rows_per_shard), _images(known, images, lists, rows_per_shard)):
        with suppress(ClipError):  # if inputs were deleted, the remaining shards report it
            found.extend(more)
    return found


def _shards(known: Sequence[Shard], shards: Sequence[str], rows_per_shard: int) -> Iterator[str]:
    there = {shard.uri for shard in known}
    for name in shard_names(shards):
        if name not in there and any(parts_of([name], rows_per_shard)):  # an empty table was never a shard
            yield name


def _images(known: Sequence[Shard], images: Iterable[str], lists: Folder, rows_per_shard: int) -> Iterator[str]:
    folder = lists.at("") if is_uri(lists.at("")) else os.path.abspath(lists.at("")) + "/"
    old = {shard.uri.removeprefix(folder) for shard in known if shard.uri.startswith(folder)}
    new: list[str] = []
    for name, data in lists_of(images, rows_per_shard):
        if name in old:
            old.remove(name)  # all of them were there before
        else:
            new.extend(_paths(data))
    before = {path for name in old for path in _paths(lists.read(name))} if new else set()
    yield from (path for path in new if path not in before)


def _paths(data: bytes) -> list[str]:
    return [json.loads(line)["path"] for line in data.splitlines()]
