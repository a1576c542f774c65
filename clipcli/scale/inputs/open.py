"""Open a shard of any kind."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

from clipcli.errors import UsageError
from clipcli.scale.inputs.kinds import Kind
from clipcli.scale.inputs.parquet import ParquetRows
from clipcli.scale.inputs.shard import ColumnError, Columns, Shard, ShardError, ShardRows
from clipcli.scale.inputs.tables import TableRows
from clipcli.scale.inputs.tar import TarRows
from clipcli.scale.stores import locate

_KINDS: dict[Kind, Callable[[BinaryIO, Shard, Columns], ShardRows]] = {
    "tar": TarRows,
    "parquet": ParquetRows,
    "csv": TableRows,
    "jsonl": TableRows,
}


@contextmanager
def open_shard(shard: Shard, columns: Columns) -> Iterator[ShardRows]:
    """Open a shard.

    Raises:
        ShardError: The file is damaged, or has changed since the run was planned.
        OSError: It could not be read now.
    """
    store, key = locate(shard.uri)
    try:
        status = store.status(key)
    except FileNotFoundError:
        raise ShardError(f"{shard.uri} is gone", hint="bring it back, or begin a run without it") from None
    if (status.size, status.etag) != (shard.size, shard.etag):
        raise ShardError(f"{shard.uri} has changed since the run began", hint="begin anew in another output folder")
    with closing(store.open(key)) as stream:
        yield _KINDS[shard.kind](stream, shard, columns)


def check_columns(shard: Shard, columns: Columns) -> None:
    """Refuse columns that a shard does not have, before any work is done for a run.

    Raises:
        UsageError: A column is missing, or has a type that cannot be read.
    """
    try:
        with open_shard(shard, columns) as opened:
            opened.check_columns()
    except ColumnError as error:
        raise UsageError(str(error), hint=error.hint, parameter=error.parameter, value=error.value) from error
    except (ShardError, OSError):
        pass  # reported for this shard; the run continues with the others
