"""Whatever fsspec has a file system for; `hf://` is huggingface_hub's."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from clipcli.errors import ClipError, UsageError
from clipcli.scale.stores import NoStore, Status

_BUFFER_BYTES = 2**20


def open_filesystem(scheme: str) -> "GenericStore":
    """Open a file system by the scheme of its URIs.

    Raises:
        NoStore: There is none of that name.
        UsageError: Its package is not installed.
    """
    import fsspec

    try:
        return GenericStore(scheme, fsspec.filesystem(scheme))
    except (ImportError, ValueError) as error:
        kind = UsageError if isinstance(error, ImportError) else NoStore
        raise kind(f"{scheme}:// cannot be used: {error}", hint="use s3://, gs://, az:// or hf://") from error


class GenericStore:
    """A file system of fsspec; keys are whole URIs.

    Args:
        scheme: Of the URIs.
        filesystem: fsspec's.
    """

    def __init__(self, scheme: str, filesystem: Any) -> None:
        self._scheme, self._files = scheme, filesystem

    def read(self, key: str) -> bytes:
        """A whole file."""
        with self.translated(key):
            return cast(bytes, self._files.cat_file(key))

    def open(self, key: str) -> BinaryIO:
        """A file to read from."""
        with self.translated(key):
            return cast(BinaryIO, io.BufferedReader(_Reader(self._files.open(key, "rb"), self, key), _BUFFER_BYTES))

    def status(self, key: str) -> Status:
        """Size of a file, and what the file system says of its content."""
        with self.translated(key):
            return _status(self._files.info(key))

    def find(self, prefix: str) -> Iterator[tuple[str, Status]]:
        """All files whose URIs begin so."""
        folder = prefix.rpartition("/")[0]
        with self.translated(prefix):
            try:
                found = self._files.find(folder, detail=True)
            except FileNotFoundError:
                return
            for path, info in sorted(found.items()):
                uri = f"{self._scheme}://{path.lstrip('/')}" if "://" not in path else path
                if uri.startswith(prefix):
                    yield uri, _status(info)

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless there is one; between looking and writing another may be faster."""
        with self.translated(key):
            if self._files.exists(key):
                return False
            self._write(key, data)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write a file."""
        with self.translated(key):
            self._write(key, data)

    def remove(self, key: str) -> None:
        """Remove a file."""
        with self.translated(key):
            try:
                self._files.rm_file(key)
            except FileNotFoundError:
                pass

    def _write(self, key: str, data: bytes) -> None:
        self._files.makedirs(key.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(key, data)

    @contextmanager
    def translated(self, key: str) -> Iterator[None]:
        """Turn what a file system raises into the errors that `Store` promises."""
        import httpx2

        try:
            yield
        except httpx2.TransportError as error:  # the hub's, whose connections break with an error of their own
            raise OSError(f"{key}: {error or type(error).__name__}") from error
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise ClipError(f"{key} is not accessible: {error}", hint=self._hint()) from error
        except OSError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise ClipError(f"{key} is not accessible: {error}", hint=self._hint()) from error
            raise
        except NotImplementedError as error:
            raise ClipError(f"{key} cannot be written: {self._scheme}:// is for reading only") from error

    def _hint(self) -> str:
        variable = "HF_TOKEN" if self._scheme == "hf" else f"the credentials that {self._scheme}:// takes"
        return f"set {variable} to credentials that may use it"


class _Reader(io.RawIOBase):
    """A file of a file system, whose errors are translated while it is read too."""

    def __init__(self, file: Any, store: GenericStore, key: str) -> None:
        self._file, self._store, self._key = file, store, key

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._store.translated(self._key):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return cast(int, self._file.seek(offset, whence))

    def tell(self) -> int:
        return cast(int, self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


def _status(info: Any) -> Status:
    etag = info.get("ETag") or info.get("etag") or info.get("blob_id") or info.get("sha256") or ""
    return Status(int(info["size"] or 0), str(etag).strip('"'))
