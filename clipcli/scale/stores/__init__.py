"""Stores for shards and results: local disks, object stores, and what fsspec supports.

A store is addressed by keys; `locate` finds the store and the key of a path or URI. Objects are never changed: they are
created whole, and only if they do not exist, if the store can guarantee that.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, Protocol

from clipcli.errors import UsageError

PRIVATE = ".clip"
"""The folder of a run's books; what is not whole yet lies there too, on a disk."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_OBJECT_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}


@dataclass(frozen=True, slots=True)
class Status:
    """Size of an object, and a text that changes when its content does; empty where there is none."""

    size: int
    etag: str


class NoStore(UsageError):
    """An address that no store supports."""


class Store(Protocol):
    """A place that holds objects.

    Every method raises `FileNotFoundError` if the object does not exist, `ClipError` if trying again would not help (no
    credentials, no permission, no space), and another `OSError` if it may help.
    """

    def read(self, key: str) -> bytes:
        """A whole object."""

    def open(self, key: str) -> BinaryIO:
        """An object to read from, with `seek`."""

    def status(self, key: str) -> Status:
        """Size and state of an object."""

    def find(self, prefix: str) -> Iterator[tuple[str, Status]]:
        """All objects whose keys have the prefix, sorted by key; there may be none."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a whole object unless it exists; returns False if it exists."""

    def replace(self, key: str, data: bytes) -> None:
        """Write a whole object, whether there is one or not."""

    def remove(self, key: str) -> None:
        """Remove an object; it need not exist."""


def is_uri(path: str) -> bool:
    """Whether a path names a place other than a local disk."""
    match = _SCHEME.match(path)
    return match is not None and match[1].lower() != "file"


def locate(path: str) -> tuple[Store, str]:
    """Find the store and the key of a path or URI.

    Raises:
        NoStore: No store supports this kind of address.
        UsageError: Its package is not installed.
    """
    match = _SCHEME.match(path)
    if match is None or match[1].lower() == "file":
        local = os.path.abspath(os.path.expanduser(path[match.end() :] if match else path))
        return _local(), local + "/" if path.endswith("/") and local != "/" else local
    scheme, rest = match[1].lower(), path[match.end() :]
    if scheme in _OBJECT_SCHEMES:
        bucket, _, key = rest.partition("/")
        if not bucket:
            raise NoStore(f"{path} names no bucket", hint=f"write {scheme}://BUCKET/FOLDER/")
        return _objects(_OBJECT_SCHEMES[scheme], bucket), key
    if scheme in ("http", "https"):
        raise NoStore(
            f"{path} is a web address, and shards are read from disks and object stores",
            hint="download it first, or name the store itself (s3://, gs://, az://, hf://)",
        )
    return _generic(scheme), path


def forget() -> None:
    """Reopen stores on next use, after credentials or endpoints have changed."""
    for opened in (_objects, _generic):
        opened.cache_clear()


@cache
def _local() -> Store:
    from clipcli.scale.stores.local import LocalStore

    return LocalStore()


@cache
def _objects(scheme: str, bucket: str) -> Store:
    from clipcli.scale.stores.objects import open_bucket

    return open_bucket(scheme, bucket)


@cache
def _generic(scheme: str) -> Store:
    from clipcli.scale.stores.generic import open_filesystem

    return open_filesystem(scheme)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a store, by its path or URI. Can be pickled."""

    path: str

    def at(self, name: str) -> str:
        """The path of what lies in it."""
        return f"{self.path.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes:
        """A whole object."""
        store, key = locate(self.at(name))
        return store.read(key)

    def exists(self, name: str) -> bool:
        """Whether an object of this name exists."""
        store, key = locate(self.at(name))
        try:
            store.status(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def find(self, prefix: str = "") -> Iterator[str]:
        """Names of the objects in it with the prefix."""
        store, root = locate(self.path.rstrip("/") + "/")
        for key, _ in store.find(root + prefix):
            yield key[len(root) :]

    def create(self, name: str, data: bytes) -> bool:
        """Write a whole object unless it exists; returns False if it exists."""
        store, key = locate(self.at(name))
        return store.create(key, data)

    def replace(self, name: str, data: bytes) -> None:
        """Write a whole object, whether there is one or not."""
        store, key = locate(self.at(name))
        store.replace(key, data)

    def remove(self, name: str) -> None:
        """Remove an object; it need not exist."""
        store, key = locate(self.at(name))
        store.remove(key)
