"""Features into files: `.npy` with a list in step, Parquet, JSON Lines, and the folders of clip-retrieval.

A writer gets batches and writes them at once. What is in step stays in step whatever interrupts a run: the list says
how many rows count, and a run that resumes cuts off the rest.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from clipcli.cli.output.destination import open_destination
from clipcli.errors import ClipError, UsageError
from clipcli.files import dump
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.cli.output.destination import Destination

Row = Mapping[str, Any]
"""`path` or `text`, and `digest` where it is known."""

_HEADER_BYTES = 128


class FeatureWriter(Protocol):
    """Where features go."""

    def write(self, rows: Sequence[Row], features: Floats) -> None:
        """Write a batch; features (N, D), one per row."""

    def fail(self, row: Row) -> None:
        """Note an input that has no features: its `path` and `error`."""


class JsonLinesFeatures:
    """One object per line, with a list of numbers, as `clipcli.embed/1` describes it."""

    def __init__(self, destination: "Destination") -> None:
        self._destination = destination

    def write(self, rows: Sequence[Row], features: Floats) -> None:
        """Write a batch and flush it."""
        for row, values in zip(rows, features, strict=True):
            named = {key: row[key] for key in ("path", "text") if key in row}
            self._destination.write(dump({**named, "status": "ok", "features": _numbers(values)}) + "\n")
        self._destination.flush()

    def fail(self, row: Row) -> None:
        """Write an error row."""
        self._destination.write(dump({"path": row["path"], "status": "error", "error": row["error"]}) + "\n")


class NpyFeatures:
    """A matrix that numpy loads or maps, with a list beside it: line i of `NAME.paths.jsonl` is row i.

    The file is one that numpy can load after every batch.
    """

    def __init__(self, path: Path, dimensions: int, dtype: str, *, resume: bool) -> None:
        """Begin, or continue where an earlier run stopped.

        Raises:
            UsageError: There is something else to be continued.
            OSError: The files cannot be written.
        """
        self._dtype = np.dtype("<f2" if dtype == "float16" else "<f4")
        self._dimensions = dimensions
        stem = path.with_suffix("")
        self._list_path, self._failed_path = Path(f"{stem}.paths.jsonl"), Path(f"{stem}.failed.jsonl")
        self.done: set[str] = set()
        self._rows = 0
        if resume and path.exists():
            self._recover(path)
        else:
            path.write_bytes(b"")
            self._list_path.write_bytes(b"")
            self._failed_path.unlink(missing_ok=True)
        self._file = path.open("r+b")
        self._file.seek(_HEADER_BYTES + self._rows * self._row_bytes)
        self._list = self._list_path.open("ab")
        self._write_header()

    @property
    def _row_bytes(self) -> int:
        return self._dimensions * self._dtype.itemsize

    def write(self, rows: Sequence[Row], features: Floats) -> None:
        """Write a batch: the matrix first, then the list, which says how many rows count."""
        self._file.write(np.ascontiguousarray(features, dtype=self._dtype).tobytes())
        self._file.flush()
        lines = (dump({"row": self._rows + i, **row}) + "\n" for i, row in enumerate(rows))
        self._list.write("".join(lines).encode("utf-8", "backslashreplace"))
        self._list.flush()
        self._rows += len(rows)
        self._write_header()

    def fail(self, row: Row) -> None:
        """Note an input that has no features in `NAME.failed.jsonl`."""
        with self._failed_path.open("ab") as file:
            file.write((dump(dict(row)) + "\n").encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._list.close()

    def _write_header(self) -> None:
        end = self._file.tell()
        self._file.seek(0)
        self._file.write(npy_header(self._dtype.str, self._rows, self._dimensions))
        self._file.seek(max(end, _HEADER_BYTES))
        self._file.flush()

    def _recover(self, path: Path) -> None:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
        beginning = npy_header(self._dtype.str, 0, self._dimensions).partition(b"(")[0]
        has_begun = len(start) == _HEADER_BYTES or not beginning.startswith(start[: len(beginning)])
        if has_begun and (not start.startswith(beginning) or f", {self._dimensions}),".encode() not in start):
            raise UsageError(
                f"{path} was not started with this model and --dtype", hint="leave --resume out to start over"
            )
        whole = max(0, (path.stat().st_size - _HEADER_BYTES) // self._row_bytes)
        lines = self._list_path.read_bytes().splitlines(keepends=True) if self._list_path.exists() else []
        lines = [line for line in lines if line.endswith(b"\n")][:whole]
        self.done = {row.get("path", row.get("text")) for row in map(json.loads, lines)}
        self._rows = len(lines)
        self._list_path.write_bytes(b"".join(lines))
        self._failed_path.unlink(missing_ok=True)
        os.truncate(path, _HEADER_BYTES + self._rows * self._row_bytes)


class ParquetFeatures:
    """A table with the columns path (or text), digest, model and embedding."""

    def __init__(self, stream: BinaryIO, dimensions: int, dtype: str, model: str, key: str) -> None:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        self._arrow, self._key, self._model, self._dimensions = arrow, key, model, dimensions
        self._number = arrow.float16() if dtype == "float16" else arrow.float32()
        columns = [
            (key, arrow.string()),
            ("digest", arrow.string()),
            ("model", arrow.string()),
            ("embedding", arrow.list_(self._number, dimensions)),
        ]
        self._schema = arrow.schema(columns)
        self._writer = parquet.ParquetWriter(stream, self._schema)

    def write(self, rows: Sequence[Row], features: Floats) -> None:
        """Write a batch as a row group."""
        arrow = self._arrow
        dtype = np.float16 if self._number == arrow.float16() else np.float32
        values = arrow.array(np.ascontiguousarray(features, dtype=dtype).reshape(-1), type=self._number)
        columns = [
            [_plain(row[self._key]) for row in rows],
            [row.get("digest") for row in rows],
            [self._model] * len(rows),
            arrow.FixedSizeListArray.from_arrays(values, self._dimensions),
        ]
        self._writer.write_table(arrow.table(columns, schema=self._schema))

    def fail(self, row: Row) -> None:
        """A table has no rows without features; what failed is said on stderr."""

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


class ClipRetrievalFeatures:
    """Folders as `clip-retrieval index` reads them: `img_emb/img_emb_0.npy` and `metadata/metadata_0.parquet`."""

    def __init__(self, folder: Path, dimensions: int, dtype: str) -> None:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        (folder / "img_emb").mkdir(parents=True, exist_ok=True)
        (folder / "metadata").mkdir(exist_ok=True)
        self._matrix = NpyFeatures(folder / "img_emb" / "img_emb_0.npy", dimensions, dtype, resume=False)
        self._schema = arrow.schema([("image_path", arrow.string())])
        self._arrow = arrow
        self._writer = parquet.ParquetWriter(folder / "metadata" / "metadata_0.parquet", self._schema)

    def write(self, rows: Sequence[Row], features: Floats) -> None:
        """Write a batch."""
        self._matrix.write(rows, features)
        self._writer.write_table(self._arrow.table([[_plain(row["path"]) for row in rows]], schema=self._schema))

    def fail(self, row: Row) -> None:
        """Note an input that has no features."""
        self._matrix.fail(row)

    def close(self) -> None:
        """Write the ends of the files, and remove the list that clip-retrieval has no use for."""
        self._matrix.close()
        self._writer.close()
        self._matrix._list_path.unlink()


def npy_header(descr: str, rows: int, dimensions: int) -> bytes:
    """The header of a `.npy` file (format 1.0), always of the same length, so that it can be written again.

    Source: numpy.lib.format.
    """
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}"
    start = b"\x93NUMPY\x01\x00"
    length = _HEADER_BYTES - len(start) - 2
    return start + length.to_bytes(2, "little") + text.ljust(length - 1).encode("ascii") + b"\n"


@contextmanager
def open_features(
    path: str | None, form: str, dimensions: int, dtype: str, *, model: str, key: str, resume: bool
) -> Iterator[tuple[FeatureWriter, set[str]]]:
    """Open a writer; yields it, and what an earlier run has done already.

    Raises:
        UsageError: The format needs a file, or a package that is not installed.
        ClipError: It cannot be written.
    """
    try:
        if form == "jsonl":
            with open_destination(path) as destination:
                yield JsonLinesFeatures(destination), set()
            return
        if path is None or path == "-":
            raise UsageError(f"the format {form} needs a file", hint=f"add --output features.{form}")
        writer: Any
        if form == "npy":
            writer = NpyFeatures(Path(path), dimensions, dtype, resume=resume)
            with _closing(writer):
                yield writer, writer.done
        elif form == "clip-retrieval":
            with _closing(ClipRetrievalFeatures(Path(path), dimensions, dtype)) as writer:
                yield writer, set()
        else:
            from clipcli.files import replacing

            with replacing(path) as stream, _closing(ParquetFeatures(stream, dimensions, dtype, model, key)) as writer:
                yield writer, set()
    except ImportError as error:
        raise UsageError(f"{form} needs pyarrow", hint="pip install 'clipcli[parquet]'") from error
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise ClipError(f"--output {path}: {error.strerror or error}", hint="write to another place") from error


@contextmanager
def _closing(writer: Any) -> Iterator[Any]:
    try:
        yield writer
    finally:
        writer.close()


def _numbers(values: Floats) -> list[float]:
    """Numbers with no more digits than float32 has."""
    return [float(np.format_float_positional(value, unique=True)) for value in values]


def _plain(path: str) -> str:
    """A text that UTF-8 can hold."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
