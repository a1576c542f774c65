"""Layouts: the output files of a shard.

Every layout gets the same table: `key`, `shard`, `status`, `error_type`, `error`, the answer's columns, and the columns
copied from the input.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from clipcli.errors import UsageError
from clipcli.scale.inputs.shard import Shard

if TYPE_CHECKING:
    import pyarrow as arrow

Files: TypeAlias = dict[str, bytes]

_GROUP_ROWS = 32_768
_COMMON = ("key", "shard", "status", "error_type", "error")
_CLIP_RETRIEVAL = {"key": "image_path", "text": "caption"}
_MATRICES = {"embedding": "img_emb", "text_embedding": "text_emb"}
_DATACOMP = {"key": "uid"}
_LAION = {"text": "caption", "cosine": "similarity", "error": "error_message"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to write answers.

    Attributes:
        write: Makes the files of a shard from its table, the shard, and the number of shards.
        names: Returns the names of the files that every shard has, from the shard, the number of shards, and the
            answer's columns.
        needs: A column that answers must have.
        renamed: New names of columns in this layout.
    """

    write: "Callable[[arrow.Table, Shard, int], Files]"
    names: Callable[[Shard, int, Sequence[str]], list[str]]
    needs: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def refuse_taken(self, kept: Sequence[str], answer: Sequence[str]) -> None:
        """Refuse to copy a column of the input whose name the output needs.

        Raises:
            UsageError: The output has a column of this name already.
        """
        own = {*_COMMON, *answer, *self.renamed.values()}
        taken = next((name for name in kept if name in own), None)
        if taken is not None:
            raise UsageError(
                f"keep_columns cannot copy {taken!r}: the output has a column of this name already",
                hint="leave it out, or name it with `key_column` or `text_column` if it names rows or is the caption",
                parameter="keep_columns",
                value=taken,
            )


def _data_names(shard: Shard, shards: int, columns: Sequence[str]) -> list[str]:
    return [f"data/{shard.id}.parquet"]


def _clip_retrieval_names(shard: Shard, shards: int, columns: Sequence[str]) -> list[str]:
    number = _padded(shard, shards)
    matrices = [f"{folder}/{folder}_{number}.npy" for column, folder in _MATRICES.items() if column in columns]
    return [*matrices, f"metadata/metadata_{number}.parquet"]


def _datacomp_names(shard: Shard, shards: int, columns: Sequence[str]) -> list[str]:
    return [f"{_padded(shard, shards)}.parquet"]


def _write_parquet(table: "arrow.Table", shard: Shard, shards: int) -> Files:
    (name,) = _data_names(shard, shards, table.column_names)
    return {name: parquet_bytes(table)}


def _write_clip_retrieval(table: "arrow.Table", shard: Shard, shards: int) -> Files:
    """The folders that `clip-retrieval index` reads: rows of the matrices are rows of the metadata.

    Source: https://github.com/rom1504/clip-retrieval, clip_inference/writer.py.
    """
    number = _padded(shard, shards)
    good, bad = _parted(table)
    columns = {new: good[name] for name, new in _CLIP_RETRIEVAL.items() if name in table.column_names}
    *matrices, metadata = _clip_retrieval_names(shard, shards, table.column_names)
    vectors = [column for column in _MATRICES if column in table.column_names]
    files = {name: _npy(_matrix(good[column])) for name, column in zip(matrices, vectors, strict=True)}
    return {**files, metadata: parquet_bytes(_with(columns, good, {"text"})), **_errors(bad, number)}


def _write_datacomp(table: "arrow.Table", shard: Shard, shards: int) -> Files:
    """Tables as DataComp's metadata: `uid`, `text`, and the columns of scores.

    Source: https://github.com/mlfoundations/datacomp, baselines/.
    """
    number = _padded(shard, shards)
    good, bad = _parted(table)
    columns = {new: good[name] for name, new in _DATACOMP.items()}
    (name,) = _datacomp_names(shard, shards, table.column_names)
    return {name: parquet_bytes(_with(columns, good, {"uid"})), **_errors(bad, number)}


def _write_laion(table: "arrow.Table", shard: Shard, shards: int) -> Files:
    """A table as LAION's: `key`, `caption`, `similarity`, `status` and `error_message` as img2dataset has them."""
    import pyarrow as arrow

    table = table.rename_columns([_LAION.get(name, name) for name in table.column_names])
    status = arrow.array(["success" if value == "ok" else "failed" for value in table["status"].to_pylist()])
    table = table.set_column(table.column_names.index("status"), "status", status)
    (name,) = _data_names(shard, shards, table.column_names)
    return {name: parquet_bytes(table)}


LAYOUTS: Mapping[str, Layout] = {
    "parquet": Layout(_write_parquet, _data_names),
    "clip-retrieval": Layout(_write_clip_retrieval, _clip_retrieval_names, "embedding", _CLIP_RETRIEVAL),
    "datacomp": Layout(_write_datacomp, _datacomp_names, "text", _DATACOMP),
    "laion": Layout(_write_laion, _data_names, "text", _LAION),
}


def require_pyarrow() -> None:
    """Check that pyarrow is installed, before a run begins.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError("runs over shards need pyarrow", hint="pip install 'clipcli[scale]'") from error


def layout_of(name: str) -> Layout:
    """A layout by its name.

    Raises:
        UsageError: The name is not known.
    """
    try:
        return LAYOUTS[name]
    except KeyError:
        raise UsageError(
            f"layout {name} is not known", hint=f"use {', '.join(LAYOUTS)}", parameter="layout", value=name
        ) from None


def parquet_bytes(table: "arrow.Table") -> bytes:
    """A Parquet file; the same table always has the same bytes.

    Vectors of floats are written without a dictionary and statistics, which would not help.
    """
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    plain = [field.name for field in table.schema if not arrow.types.is_nested(field.type)]
    stream = io.BytesIO()
    parquet.write_table(
        table,
        stream,
        row_group_size=_GROUP_ROWS,
        compression="zstd",
        use_dictionary=[name for name in plain if name in _COMMON],
        write_statistics=plain,
    )
    return stream.getvalue()


def is_whole(name: str, data: bytes) -> bool:
    """Whether an existing file is a complete file of this program."""
    if name.endswith(".parquet"):
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        try:
            parquet.ParquetFile(io.BytesIO(data)).metadata  # noqa: B018 - reads the file's end
        except arrow.ArrowInvalid:
            return False
        return True
    try:
        np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return False
    return True


def _parted(table: "arrow.Table") -> "tuple[arrow.Table, arrow.Table]":
    """Rows with an answer, and rows without."""
    import pyarrow.compute as compute

    is_ok = compute.equal(table["status"], "ok")
    return table.filter(is_ok), table.filter(compute.invert(is_ok))


def _with(columns: Mapping[str, Any], table: "arrow.Table", renamed: set[str]) -> "arrow.Table":
    """Columns under new names, and all other columns except vectors and the status of rows."""
    import pyarrow as arrow

    left_out = {*_COMMON, "embedding", "text_embedding", *renamed, *columns}
    others = {name: table[name] for name in table.column_names if name not in left_out}
    return arrow.table({**columns, **others})


def _errors(bad: "arrow.Table", number: str) -> Files:
    if not bad.num_rows:
        return {}
    return {f"errors/errors_{number}.parquet": parquet_bytes(bad.select(["key", "error_type", "error"]))}


def _matrix(column: "arrow.ChunkedArray") -> "np.typing.NDArray[np.float16]":
    """A column of vectors without nulls as a matrix; clip-retrieval's are float16."""
    array = column.combine_chunks()
    width = array.type.list_size
    values = array.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float16).reshape(-1, width)


def _npy(matrix: "np.typing.NDArray[np.float16]") -> bytes:
    stream = io.BytesIO()
    np.save(stream, matrix, allow_pickle=False)
    return stream.getvalue()


def _padded(shard: Shard, shards: int) -> str:
    """A shard's number in as many digits as the number of shards has."""
    return str(int(shard.id)).zfill(len(str(shards)))
