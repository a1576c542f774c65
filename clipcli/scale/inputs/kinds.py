"""Which files are shards, by their names. Every run uses this module, so it imports almost nothing."""

import os
from typing import Literal, TypeAlias

from clipcli.errors import UsageError

Kind: TypeAlias = Literal["tar", "parquet", "csv", "jsonl"]
_KINDS: dict[str, Kind] = {
    ".tar": "tar",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_UNPACKED_BY = {".gz": "gunzip", ".tgz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}


def kind_of(path: str) -> Kind | None:
    """The kind of shard of a file name; None for images, folders, and everything else."""
    return _KINDS.get(os.path.splitext(path)[1].lower())


def unpacked_by(path: str) -> str | None:
    """The program that unpacks a shard with the suffix of a compressed file; None for all other files."""
    stem, suffix = os.path.splitext(path)
    program = _UNPACKED_BY.get(suffix.lower())
    return program if suffix.lower() == ".tgz" or kind_of(stem) is not None else None


def refuse_packed(path: str) -> None:
    """Refuse a shard that is compressed as a whole: shards are read in parts, and images are compressed already.

    Raises:
        UsageError: It is compressed; the hint says how to unpack it.
    """
    program = unpacked_by(path)
    if program is not None:
        raise UsageError(
            f"{path} is compressed, and shards are read as they are",
            hint=f"unpack it first: {program} {os.path.basename(path)}",
        )
