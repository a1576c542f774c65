"""Runs over shards in object stores: the same rows as on a disk, whatever the store does."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from clipcli.scale import stores
from clipcli.scale.stores.generic import GenericStore
from tests.cli.conftest import Clip
from tests.helpers.object_store import ObjectServer, serving
from tests.helpers.shards import samples, tar_bytes, write_tars

RUN = ("embed", "s3://bucket/in/{00..01}.tar", "-o", "s3://bucket/out/")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with serving() as (state, url):
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
            monkeypatch.setenv(name, url)
        for name, value in (("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "here")):
            monkeypatch.setenv(name, value)
        stores.forget()
        for number in range(2):
            files = samples(range(3 * number, 3 * number + 3))
            state.objects[f"bucket/in/{number:02d}.tar"] = tar_bytes(files)
        yield state
    stores.forget()


def output(server: ObjectServer) -> dict[str, bytes]:
    prefix = "bucket/out/"
    names = {name.removeprefix(prefix): data for name, data in server.objects.items() if name.startswith(prefix)}
    return {name: data for name, data in names.items() if not name.startswith(".clip/")}


@pytest.fixture
def expected(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.chdir(tmp_path)
    write_tars(tmp_path, 2, 3)
    assert clip("embed", "{00..01}.tar", "-o", "local/").status == 0
    return {
        "_SUCCESS": b"",
        **{f"data/{path.name}": path.read_bytes() for path in Path("local/data").iterdir()},
    }


def test_the_same_bytes_as_on_a_disk(clip: Clip, server: ObjectServer, expected: dict[str, bytes]) -> None:
    assert clip(*RUN).status == 0
    assert output(server) == expected
    before = server.requests.get("PUT")
    assert clip(*RUN).status == 0
    assert server.requests.get("PUT") == before + 1  # _SUCCESS, refused
    assert clip("embed", "s3://bucket/in/*.tar", "-o", "s3://bucket/out/").status == 2  # other inputs


def test_images_in_a_bucket(clip: Clip, server: ObjectServer, tmp_path: Path) -> None:
    from tests.helpers.shards import png

    server.objects["bucket/photos/a/1.png"] = png(1)
    server.objects["bucket/photos/2.png"] = png(2)
    server.objects["bucket/photos/notes.txt"] = b"not an image"
    done = clip("embed", "s3://bucket/photos/", "-o", f"{tmp_path}/out/")
    assert done.status == 0 and "2 images" in done.stderr
    (tmp_path / "t.csv").write_text("path\ns3://bucket/photos/2.png\ns3://bucket/photos/none.png\n")
    done = clip("embed", tmp_path / "t.csv", "-o", f"{tmp_path}/table/")
    assert done.status == 3 and "1 MissingFile" in done.stderr


def test_a_store_that_ignores_preconditions(clip: Clip, server: ObjectServer, expected: dict[str, bytes]) -> None:
    server.weak = True
    assert clip(*RUN, "--shards", "1/2").status == 0
    assert clip(*RUN).status == 0
    assert output(server) == expected


def test_answers_that_are_lost(clip: Clip, server: ObjectServer, expected: dict[str, bytes]) -> None:
    """A write that worked, and was reported as an error, is written again by obstore, and refused: it was its own."""
    seen: set[str] = set()

    def lose(method: str, key: str) -> str | None:
        first = method == "PUT" and key not in seen
        seen.add(key)
        return "lost" if first else None

    server.fault = lose
    assert clip(*RUN).status == 0
    assert output(server) == expected


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_faults_that_pass(clip: Clip, server: ObjectServer, expected: dict[str, bytes], fault: str) -> None:
    count = 0

    def now_and_then(method: str, key: str) -> str | None:
        nonlocal count
        count += method == "GET" and key.endswith(".tar")
        return fault if method == "GET" and key.endswith(".tar") and count % 2 else None

    server.fault = now_and_then
    assert clip(*RUN).status == 0
    assert output(server) == expected


def test_a_store_that_refuses_says_which_variables(clip: Clip, server: ObjectServer, tmp_path: Path) -> None:
    server.fault = lambda method, key: "403"
    done = clip(*RUN)
    assert done.status == 1 and "AWS_ACCESS_KEY_ID" in done.stderr and "AWS_SECRET_ACCESS_KEY" in done.stderr
    server.fault = lambda method, key: "403" if method == "PUT" and "/data/" in key else None
    assert clip(*RUN).status == 1
    assert not [name for name in server.objects if "/attempts/" in name or "/data/" in name]


def test_missing_shards_are_named(clip: Clip, server: ObjectServer) -> None:
    done = clip("embed", "s3://bucket/in/{00..02}.tar", "-o", "s3://bucket/out/")
    assert done.status == 1 and "s3://bucket/in/02.tar" in done.stderr
    assert not output(server)


def test_any_file_system_of_fsspec(clip: Clip, expected: dict[str, bytes]) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for number in range(2):
        files.pipe_file(f"memory://in/{number:02d}.tar", tar_bytes(samples(range(3 * number, 3 * number + 3))))
    assert clip("embed", "memory://in/*.tar", "-o", "memory://out/").status == 0
    assert clip("embed", "memory://in/*.tar", "-o", "memory://out/").status == 0
    found = {name.removeprefix("/out/"): files.cat_file(name) for name in files.find("memory://out/")}
    assert {name: data for name, data in found.items() if not name.startswith(".clip/")} == expected


def test_a_connection_that_breaks_is_an_error_that_may_pass() -> None:
    """The hub's client raises errors of httpx2, which are not OSError: the shard is tried again."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise httpx2.RemoteProtocolError("peer closed connection")

    class Hub:
        def open(self, key: str, mode: str) -> io.BytesIO:
            return Broken(b"data")

        def info(self, key: str) -> dict[str, int]:
            raise httpx2.ConnectError("refused")

    store = GenericStore("hf", Hub())
    with pytest.raises(OSError, match="peer closed"):
        store.open("hf://datasets/a/b/c.tar").read()
    with pytest.raises(OSError, match="refused"):
        store.status("hf://datasets/a/b/c.tar")
