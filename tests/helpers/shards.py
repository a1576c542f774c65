"""Datasets of shards, made on the spot."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from tests.helpers.image_files import save
from tests.helpers.scenes import scene


def png(number: int) -> bytes:
    return save(scene(number), "PNG")


def sample(number: int, *, caption: str | None = None) -> list[tuple[str, bytes]]:
    """The files of a WebDataset sample as img2dataset writes them."""
    text = f"caption {number % 3}" if caption is None else caption
    return [
        (f"{number:05d}.png", png(number)),
        (f"{number:05d}.txt", text.encode()),
        (f"{number:05d}.json", b'{"uid": "u%d", "width": %d}' % (number, 10 + number)),
    ]


def samples(numbers: Iterable[int]) -> list[tuple[str, bytes]]:
    return [file for number in numbers for file in sample(number)]


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def write_tars(folder: Path, shards: int, images: int) -> None:
    """So many tars `00.tar`, `01.tar`... with so many samples each."""
    for number in range(shards):
        first = number * images
        (folder / f"{number:02d}.tar").write_bytes(tar_bytes(samples(range(first, first + images))))


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All rows of a run's output, in the order of its shards."""
    return [row for path in sorted((output / "data").glob("*.parquet")) for row in parquet.read_table(path).to_pylist()]


def write_parquet(path: Path, columns: Mapping[str, Any], **options: Any) -> None:
    parquet.write_table(arrow.table(dict(columns)), path, **options)
