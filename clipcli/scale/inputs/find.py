"""From the user's arguments to files: expand braces and globs, and find the shards among them."""

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from clipcli.errors import ClipError, UsageError
from clipcli.scale.inputs.kinds import Kind, kind_of, refuse_packed
from clipcli.scale.stores import Status, is_uri, locate

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_LOOKED_UP_AT_ONCE = 16
_SHOWN = 3


def expand_braces(pattern: str) -> Iterator[str]:
    """Expand `{000..999}` and `{a,b}` as a shell does: from left to right, with leading zeros kept."""
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    before, after = pattern[: match.start()], pattern[match.end() :]
    bounds = _RANGE.fullmatch(match[1])
    if bounds:
        first, last = int(bounds[1]), int(bounds[2])
        width = max(map(len, bounds.groups())) if any(text.startswith("0") for text in bounds.groups()) else 0
        step = 1 if first <= last else -1
        choices: Iterator[str] = (str(number).zfill(width) for number in range(first, last + step, step))
    elif "," in match[1]:
        choices = iter(match[1].split(","))
    else:
        choices = iter([f"\0{match[1]}\1"])  # braces around a single item are literal
    for choice in choices:
        for expanded in expand_braces(before + choice + after):
            yield expanded.replace("\0", "{").replace("\1", "}")


def find_shards(patterns: Sequence[str]) -> list[tuple[str, Kind, Status]]:
    """Find the shards that match some patterns, in the order given.

    Raises:
        ClipError: One does not exist.
        UsageError: One is listed twice.
    """
    paths = shard_names(patterns)
    refuse_doubled(paths)
    with ThreadPoolExecutor(_LOOKED_UP_AT_ONCE) as pool:
        found = list(pool.map(_status, paths))
    missing = [path for path, status in zip(paths, found, strict=True) if status is None]
    if missing:
        raise ClipError(
            f"{len(missing):,} of {len(paths):,} shards do not exist: {_some(missing)}",
            hint="name those that do: {000..041},{043..999} leaves out 042",
        )
    return [(path, _kind(path), status) for path, status in zip(paths, found, strict=True) if status is not None]


def shard_names(patterns: Sequence[str]) -> list[str]:
    """The names that match some patterns, valid on every machine.

    Raises:
        ClipError: No file matches a pattern.
    """
    return [_whole(path) for pattern in patterns for path in _matching(pattern)]


def refuse_doubled(paths: Sequence[str]) -> None:
    """Refuse files whose rows would count twice.

    Raises:
        UsageError: One is listed twice.
    """
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UsageError(f"{_some(twice)} named more than once", hint="name each shard once")


def is_pattern(path: str) -> bool:
    """Whether a name has wildcards."""
    return any(character in path for character in "*?[")


def _matching(pattern: str) -> Iterator[str]:
    for path in expand_braces(os.path.expanduser(pattern)):
        if not is_pattern(path) or (not is_uri(path) and os.path.exists(path)):
            yield path
            continue
        matches = list(_listed(path)) if is_uri(path) else sorted(glob.glob(path, recursive=True))
        if not matches:
            raise ClipError(f"{path}: no file matches", hint="check the pattern; it must be quoted")
        yield from matches


def _listed(pattern: str) -> Iterator[str]:
    """The objects of a store that match; `**` also matches slashes."""
    beginning = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    store, key = locate(beginning)
    root = beginning[: len(beginning) - len(key)]
    depth = pattern.count("/")
    for found, _ in store.find(key):
        path = root + found
        if fnmatch.fnmatchcase(path, pattern) and ("**" in pattern or path.count("/") == depth):
            yield path


def _status(path: str) -> Status | None:
    store, key = locate(path)
    try:
        return store.status(key)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _kind(path: str) -> Kind:
    refuse_packed(path)
    kind = kind_of(path)
    if kind is None:
        raise UsageError(
            f"{path} is not a shard by its name",
            hint="shards are .tar, .parquet, .csv, .tsv and .jsonl files; images and folders are named by themselves",
        )
    return kind


def _whole(path: str) -> str:
    """The name in a form that is valid on every machine."""
    return path if is_uri(path) else os.path.abspath(path)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
