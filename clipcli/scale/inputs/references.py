"""Images that rows refer to by path or URI: resolved relative to the table, and read ahead."""

import errno
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from clipcli.errors import ImageError, MissingFile, UnreadableImage
from clipcli.images.find import MAX_FILE_BYTES, file_error
from clipcli.scale.inputs.shard import InputRow
from clipcli.scale.stores import NoStore, is_uri, locate

# Reads wait for disks and networks, not for cores.
_AT_ONCE, _AHEAD = 16, 64
# Errors of the file itself, which would happen again; all others may be temporary.
_LASTING = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP),
    errno.EINVAL,
)


def resolve(path: str, table: str) -> str:
    """Resolve a path in a table: relative paths start at the table's folder."""
    if is_uri(path) or os.path.isabs(path):
        return path
    return f"{table.rpartition('/')[0]}/{path}" if "/" in table else path


def fetched(rows: Iterator[InputRow]) -> Iterator[InputRow]:
    """Replace paths and URIs by the bytes of their files, in the order of the rows.

    Raises:
        OSError: A store failed, and trying again may help.
        ClipError: A store refuses to be read.
    """
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")
    pending: deque[InputRow | Future[InputRow]] = deque()
    try:
        for row in rows:
            pending.append(pool.submit(_fetch, row, row.image) if isinstance(row.image, str) else row)
            while len(pending) > _AHEAD or (pending and isinstance(pending[0], InputRow)):
                yield _ready(pending.popleft())
        while pending:
            yield _ready(pending.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ready(row: "InputRow | Future[InputRow]") -> InputRow:
    return row.result() if isinstance(row, Future) else row


def _fetch(row: InputRow, path: str) -> InputRow:
    image: bytes | ImageError
    try:
        store, key = locate(path)
        size = store.status(key).size
        if size > MAX_FILE_BYTES:
            image = UnreadableImage(f"{path}: it is too large for an image")
        elif size == 0 and not is_uri(path):  # the size that devices and pipes report, which may have no end
            image = UnreadableImage(f"{path}: it is empty, or not a regular file")
        else:
            image = store.read(key)
    except OSError as error:
        if error.errno not in _LASTING and not isinstance(error, FileNotFoundError):
            raise
        image = file_error(path, error)
    except NoStore as error:
        image = MissingFile(str(error))
    except ValueError as error:  # a null character in the name
        image = file_error(path, error)
    return replace(row, image=image)
