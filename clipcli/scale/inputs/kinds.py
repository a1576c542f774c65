"""Which files are shards, by their names. It is asked of every run, so it imports next to nothing."""

import os
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["tar", "parquet", "csv", "jsonl"]
_KINDS: dict[str, Kind] = {
    ".tar": "tar",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def kind_of(path: str) -> Kind | None:
    """What kind of shard a file is by its name; None for images, folders, and everything else."""
    return _KINDS.get(os.path.splitext(path)[1].lower())
