"""Filter a scored dataset: keep all rows that reach a score, or the best share of all shards.

A share is a quantile over the whole dataset. It is computed exactly in two passes over the column of scores, with a
histogram of 65,536 counts each, for any number of rows.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from clipcli.errors import ClipError, UsageError
from clipcli.scale.inputs.find import find_shards, is_pattern, refuse_doubled
from clipcli.scale.inputs.parquet import open_parquet
from clipcli.scale.stores import PRIVATE, Folder, is_uri, locate
from clipcli.scoring import Floats

if TYPE_CHECKING:
    import pyarrow as arrow
    from numpy.typing import NDArray

SCORE_COLUMNS = ("cosine", "clipscore", "similarity", "score")
KEY_COLUMNS = ("uid", "key")
_OF_ONE_RUN = "all files must be of one run"
_HALF = 16
_PAIR = np.dtype("u8,u8")
_NOT_SCORES = (f"/{PRIVATE}/", "/errors/")


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of a filter.

    Attributes:
        least: The least score that is kept.
        rows: The number of rows.
        scored: The number of rows with a score.
        kept: The number of rows that are kept.
    """

    least: float
    rows: int
    scored: int
    kept: int


class Scores:
    """The scores of a dataset.

    Args:
        inputs: Folders of runs, Parquet files, and patterns of them.
        score_column: The column of scores; None for the one of a usual name.
        key_column: The column that names rows; None for `uid` or `key`.

    Raises:
        ClipError: A file does not exist, or a run is not finished.
        UsageError: A column is missing or ambiguous, or a file is named twice.
    """

    def __init__(self, inputs: Sequence[str], score_column: str | None = None, key_column: str | None = None) -> None:
        self.files = [file for path in inputs for file in _files(path)]
        if not self.files:
            raise ClipError(f"{', '.join(inputs)}: no Parquet file in it", hint="name the output of `clip score`")
        refuse_doubled([path if is_uri(path) else os.path.realpath(path) for path in self.files])
        schema = self._read_schema()
        twice = next((name for name, count in Counter(schema.names).items() if count > 1), None)
        if twice is not None:
            raise UsageError(f"{self.files[0]}: two columns are called {twice!r}", hint="rename or remove one of them")
        numbers = [name for name in schema.names if _is_float(schema.field(name).type)]
        only = numbers if len(numbers) == 1 else []
        names = [name for name in schema.names if _is_name(schema.field(name).type)]
        self.score = _chosen("score_column", score_column, (*SCORE_COLUMNS, *only), numbers, "floating-point numbers")
        self.key = _chosen("key_column", key_column, KEY_COLUMNS, names, "texts or integers")
        self._key_type = _plain(schema.field(self.key).type)

    @property
    def schema(self) -> "arrow.Schema":
        """The schema of the kept rows: keys and scores."""
        import pyarrow as arrow

        return arrow.schema([(self.key, self._key_type), (self.score, arrow.float32())])

    def least_of_best(self, share: float) -> float:
        """The least score of the best share of rows.

        Raises:
            UsageError: The share is not between 0 and 1.
            ClipError: No row has a score.
        """
        if not 0 < share <= 1:
            raise UsageError(
                f"keep must be above 0 and at most 1, not {share:g}",
                hint="0.3 keeps the best 30 %",
                parameter="keep",
                value=share,
            )
        upper = self._histogram(lambda keys: keys >> _HALF)
        if not upper.sum():
            raise ClipError("no row has a score", hint="the column `error` of the rows says why")
        wanted = int(np.ceil(share * int(upper.sum())))
        high, above = _descend(upper, wanted)
        lower = self._histogram(lambda keys: keys[keys >> _HALF == high] & 0xFFFF)
        low, _ = _descend(lower, wanted - above)
        return float(_of_sortable(np.array([high << _HALF | low], dtype=np.uint32))[0])

    def keep(self, least: float, write: "Callable[[arrow.Table], None]") -> Kept:
        """Pass the rows that reach a score to `write`, some at a time, as tables of keys and scores."""
        import pyarrow as arrow
        import pyarrow.compute as compute

        rows = scored = kept = 0
        for batch in self._batches([self.key, self.score]):
            scores = batch[self.score].cast(arrow.float32())
            reach = compute.fill_null(compute.greater_equal(scores, np.float32(least)), False)
            keys = batch[self.key].cast(self._key_type)
            table = arrow.table([keys, scores], schema=self.schema).filter(reach)
            rows += batch.num_rows
            scored += int(np.count_nonzero(~np.isnan(_floats(scores))))
            kept += table.num_rows
            write(table)
        return Kept(least, rows, scored, kept)

    def texts(self, table: "arrow.Table") -> list[str]:
        """The keys of rows that are kept.

        Raises:
            ClipError: One is missing, or is not one line of text.
        """
        import pyarrow as arrow

        try:
            keys: list[str | None] = table[self.key].cast(arrow.string()).to_pylist()
        except arrow.ArrowInvalid as error:
            raise ClipError(f"column {self.key!r}: a key is not UTF-8 text", hint="write .parquet") from error
        for key in keys:
            if key is None or "\n" in key or "\r" in key:
                problem = "is missing" if key is None else f"{key!r} has a line break"
                raise ClipError(f"column {self.key!r}: a key {problem}", hint="write .parquet, or name another column")
        return [key for key in keys if key is not None]

    def _histogram(self, bins: "Callable[[NDArray[np.uint32]], NDArray[Any]]") -> "NDArray[np.int64]":
        counts = np.zeros(1 << _HALF, dtype=np.int64)
        for batch in self._batches([self.score]):
            values = _floats(batch[self.score])
            keys = _sortable(values[~np.isnan(values)])
            counts += np.bincount(bins(keys), minlength=1 << _HALF)
        return counts

    def _batches(self, columns: list[str]) -> "Iterator[arrow.RecordBatch]":
        for path in self.files:
            with closing(_open(path)) as stream:
                file = open_parquet(stream, path)
                missing = [name for name in columns if name not in file.schema_arrow.names]
                if missing:
                    raise ClipError(f"{path}: no column {missing[0]!r}", hint=_OF_ONE_RUN)
                types = {name: file.schema_arrow.field(name).type for name in columns}
                if not _is_float(types[self.score]) or _plain(types.get(self.key, self._key_type)) != self._key_type:
                    held = ", ".join(f"{name!r} of {type}" for name, type in types.items())
                    raise ClipError(f"{path}: columns {held}, unlike those of {self.files[0]}", hint=_OF_ONE_RUN)
                yield from file.iter_batches(65_536, columns=columns)

    def _read_schema(self) -> "arrow.Schema":
        with closing(_open(self.files[0])) as stream:
            return open_parquet(stream, self.files[0]).schema_arrow


def datacomp_subset(parts: "Sequence[NDArray[np.void]]") -> "NDArray[np.void]":
    """All keys as pairs of 64 bits, sorted, as DataComp's `resharder.py` expects them.

    Shapes: parts of (n,) -> (N,) of dtype `u8,u8`.
    Source: https://github.com/mlfoundations/datacomp, README, "Filtering".
    """
    subset = np.concatenate([np.empty(0, _PAIR), *parts])
    subset.sort()
    return subset


def datacomp_pairs(keys: Sequence[str]) -> "NDArray[np.void]":
    """Keys of DataComp, each 32 hexadecimal digits, as pairs of 64 bits.

    Shapes: n keys -> (n,) of dtype `u8,u8`.

    Raises:
        UsageError: A key is not one of DataComp's.
    """
    try:
        pairs = [(int(key[:16], 16), int(key[16:32], 16)) for key in keys if _is_uid(key)]
    except ValueError as error:
        raise UsageError(
            f"{error.args[0]!r} is not a uid of DataComp (32 hexadecimal digits)",
            hint="name their column with `key_column`, or write .txt or .parquet",
            parameter="key_column",
        ) from None
    return np.array(pairs, dtype=_PAIR)


def _is_uid(key: str) -> bool:
    if len(key) != 32 or not all(digit in "0123456789abcdefABCDEF" for digit in key):
        raise ValueError(key)
    return True


def _open(path: str) -> BinaryIO:
    store, key = locate(path)
    return store.open(key)


def _files(path: str) -> Iterator[str]:
    """The Parquet files of a folder, or those that a pattern names."""
    if path.endswith(".parquet") or is_pattern(path):
        yield from (file for file, _, _ in find_shards([path]))
        return
    store, root = locate(path.rstrip("/") + "/")
    names = [key[len(root) :] for key, _ in store.find(root)]
    whole = path.rstrip("/") if is_uri(path) else os.path.abspath(path)
    for folder in (whole, whole.rpartition("/")[0]):  # also for a folder inside a run's folder
        _refuse_unfinished(folder)
    for name in names:
        if name.endswith(".parquet") and not any(part in f"/{name}" for part in _NOT_SCORES):
            yield f"{path.rstrip('/')}/{name}"


def _refuse_unfinished(path: str) -> None:
    """Refuse the folder of an unfinished run; a pattern of files is not checked.

    Raises:
        ClipError: It is not finished.
    """
    folder = Folder(path)
    if folder.exists(f"{PRIVATE}/run.json") and not folder.exists("_SUCCESS"):
        raise ClipError(
            f"{path}: the run is not finished",
            hint=f"finish it first: some shards have no scores; {path}/data/*.parquet are those that have",
        )


def _is_float(type: "arrow.DataType") -> bool:
    import pyarrow as arrow

    return bool(arrow.types.is_floating(type))


def _is_name(type: "arrow.DataType") -> bool:
    """Whether a column can contain keys."""
    import pyarrow as arrow

    types, plain = arrow.types, _plain(type)
    return bool(types.is_integer(plain) or plain in (arrow.string(), arrow.binary()))


def _plain(type: "arrow.DataType") -> "arrow.DataType":
    """The type without its encoding: dictionaries and large strings are resolved."""
    import pyarrow as arrow

    types = arrow.types
    if types.is_dictionary(type):
        return _plain(type.value_type)
    if types.is_large_string(type) or types.is_string_view(type):
        return arrow.string()
    return arrow.binary() if types.is_large_binary(type) or types.is_fixed_size_binary(type) else type


def _chosen(what: str, name: str | None, usual: Sequence[str], there: Sequence[str], kind: str) -> str:
    found = next((column for column in ([name] if name is not None else usual) if column in there), None)
    if found is None:
        raise UsageError(
            f"no column {name!r} of {kind}" if name is not None else f"no column of a usual name for `{what}`",
            hint=f"columns of {kind}: {', '.join(there) or 'none'}",
            parameter=what,
            value=name,
        )
    return found


def _floats(column: "arrow.Array") -> Floats:
    """A column of scores; null becomes nan."""
    import pyarrow as arrow

    return np.asarray(column.cast(arrow.float32()).to_numpy(zero_copy_only=False), dtype=np.float32)


def _sortable(values: Floats) -> "NDArray[np.uint32]":
    """Integers in the order of the floats: the sign bit is flipped, and for negative floats all bits."""
    bits = (values + np.float32(0)).view(np.uint32)  # -0 is 0
    return np.asarray(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)), dtype=np.uint32)


def _of_sortable(keys: "NDArray[np.uint32]") -> Floats:
    bits = np.where(keys >> 31, keys & np.uint32(0x7FFFFFFF), ~keys)
    return np.asarray(bits, dtype=np.uint32).view(np.float32)


def _descend(counts: "NDArray[np.int64]", wanted: int) -> tuple[int, int]:
    """The bin with the wanted-th largest value, and the number of values in the bins above it."""
    from_above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_above, wanted))
    return len(counts) - 1 - place, int(from_above[place - 1]) if place else 0
