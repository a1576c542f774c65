"""Whatever fsspec has a file system for; `hf://` is huggingface_hub's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from clipcli.errors import ClipError, UsageError
from clipcli.scale.stores import NoStore, Status


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
        with self._translated(key):
            return cast(bytes, self._files.cat_file(key))

    def open(self, key: str) -> BinaryIO:
        """A file to read from."""
        with self._translated(key):
            return cast(BinaryIO, self._files.open(key, "rb"))

    def status(self, key: str) -> Status:
        """Size of a file, and what the file system says of its content."""
        with self._translated(key):
            return _status(self._files.info(key))

    def find(self, prefix: str) -> Iterator[tuple[str, Status]]:
        """All files whose URIs begin so."""
        folder = prefix.rpartition("/")[0]
        with self._translated(prefix):
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
        with self._translated(key):
            if self._files.exists(key):
                return False
            self._write(key, data)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write a file."""
        with self._translated(key):
            self._write(key, data)

    def remove(self, key: str) -> None:
        """Remove a file."""
        with self._translated(key):
            try:
                self._files.rm_file(key)
            except FileNotFoundError:
                pass

    def _write(self, key: str, data: bytes) -> None:
        self._files.makedirs(key.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(key, data)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn what a file system raises into the errors that `Store` promises."""
        try:
            yield
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


def _status(info: Any) -> Status:
    etag = info.get("ETag") or info.get("etag") or info.get("blob_id") or info.get("sha256") or ""
    return Status(int(info["size"] or 0), str(etag).strip('"'))
