"""Amazon S3, Google Cloud Storage, Azure Blob Storage, and what speaks their protocols, through obstore."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from clipcli.errors import ClipError, UsageError
from clipcli.scale.stores import Status

# Which variables say who you are, and where a store of another provider is found.
_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_BUFFER_BYTES = 8 * 2**20
# Without these lines the answer of a machine without credentials takes three minutes.
_RETRIES: dict[str, Any] = {"max_retries": 8}


def open_bucket(scheme: str, bucket: str) -> "ObjectStore":
    """Open a bucket with the credentials that the environment has.

    Raises:
        UsageError: obstore is not installed.
        ClipError: The environment has credentials that cannot be used.
    """
    try:
        import obstore.store as stores
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs obstore", hint="pip install 'clipcli[scale]'") from error
    from datetime import timedelta

    retries = {**_RETRIES, "retry_timeout": timedelta(seconds=60)}
    local = {"client_options": {"allow_http": True}} if scheme == "s3" else {}
    kinds: dict[str, Any] = {"s3": stores.S3Store, "gs": stores.GCSStore, "az": stores.AzureStore}
    with _translated(scheme, bucket, ""):
        return ObjectStore(scheme, bucket, kinds[scheme](bucket, retry_config=retries, **local))


class ObjectStore:
    """A bucket.

    Args:
        scheme: `s3`, `gs` or `az`.
        bucket: Its name.
        store: obstore's.
    """

    def __init__(self, scheme: str, bucket: str, store: Any) -> None:
        self._scheme, self._bucket, self._store = scheme, bucket, store

    def read(self, key: str) -> bytes:
        """A whole object."""
        import obstore

        with self._translated(key):
            found = obstore.get(self._store, key)
            expected = found.meta["size"]
            data = bytes(found.bytes())
        if len(data) != expected:
            raise OSError(f"{self._name(key)}: {len(data):,} of {expected:,} bytes arrived")
        return data

    def open(self, key: str) -> BinaryIO:
        """An object to read from."""
        import obstore

        with self._translated(key):
            reader = obstore.open_reader(self._store, key, buffer_size=_BUFFER_BYTES)
        return cast(BinaryIO, io.BufferedReader(_Reader(reader, self, key), _BUFFER_BYTES))

    def status(self, key: str) -> Status:
        """Size and entity tag of an object."""
        import obstore

        with self._translated(key):
            return _status(obstore.head(self._store, key))

    def find(self, prefix: str) -> Iterator[tuple[str, Status]]:
        """All objects whose keys begin so."""
        import obstore

        folder = prefix.rpartition("/")[0]
        with self._translated(prefix):
            for page in obstore.list(self._store, folder or None, chunk_size=1000):
                for found in page:
                    if found["path"].startswith(prefix):
                        yield found["path"], _status(found)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one, as far as the store keeps to that."""
        import obstore

        with self._translated(key):
            try:
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                return False
            except obstore.exceptions.NotSupportedError:
                return self._create_after_looking(key, data)
        return True

    def _create_after_looking(self, key: str, data: bytes) -> bool:
        try:
            self.status(key)
        except FileNotFoundError:
            self.replace(key, data)
            return True
        return False

    def replace(self, key: str, data: bytes) -> None:
        """Write an object."""
        import obstore

        with self._translated(key):
            obstore.put(self._store, key, data, use_multipart=False)

    def remove(self, key: str) -> None:
        """Remove an object."""
        import obstore

        try:
            with self._translated(key):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            pass

    def _name(self, key: str) -> str:
        return f"{self._scheme}://{self._bucket}/{key}"

    def _translated(self, key: str) -> Any:
        return _translated(self._scheme, self._bucket, key)


class _Reader(io.RawIOBase):
    """obstore's reader as Python's own streams are."""

    def __init__(self, reader: Any, store: ObjectStore, key: str) -> None:
        self._reader, self._store, self._key = reader, store, key

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._store._translated(self._key):
            data = self._reader.read(len(buffer))
        buffer[: len(data)] = bytes(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return cast(int, self._reader.seek(offset, whence))

    def tell(self) -> int:
        return cast(int, self._reader.tell())


def _status(meta: Any) -> Status:
    return Status(meta["size"], (meta["e_tag"] or "").strip('"'))


@contextmanager
def _translated(scheme: str, bucket: str, key: str) -> Iterator[None]:
    """Turn obstore's errors into those that `Store` promises."""
    from obstore import exceptions

    name = f"{scheme}://{bucket}/{key}"
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:  # obstore raises Python's own, and says so nowhere
        raise FileNotFoundError(f"{name}: no such object or bucket") from error
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError, exceptions.NotSupportedError):
        raise
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused(scheme, name, error) from error
    except (exceptions.UnknownConfigurationKeyError, exceptions.InvalidPathError) as error:
        raise ClipError(f"{name}: {_first_line(error)}") from error
    except exceptions.BaseError as error:
        if _lacks_credentials(str(error).replace(name, "").replace(key or name, "")):
            raise _refused(scheme, name, error) from error
        raise OSError(f"{name}: {_first_line(error)}") from error


def _lacks_credentials(text: str) -> bool:
    """Whether a store was never asked, because nothing says who is asking."""
    signs = ("169.254.169.254", "metadata.google.internal", "Account must be specified", "credential")
    return any(sign in text for sign in signs)


def _refused(scheme: str, name: str, error: Exception) -> ClipError:
    return ClipError(
        f"{name} is not accessible: {_first_line(error)}",
        hint=f"set {_VARIABLES[scheme]} to credentials that may use it",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
