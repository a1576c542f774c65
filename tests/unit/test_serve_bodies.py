"""Bodies of requests: how much of them is held, for how long, and what they are made into."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from clipcli.errors import UsageError
from clipcli.serve.bodies import Intake, decode_image, shown_name
from clipcli.serve.errors import BadRequest, Full
from clipcli.serve.metrics import Metrics
from clipcli.serve.settings import Settings

MB = 10**6


def request(*chunks: bytes, hangs: bool = False) -> Request:
    """A request whose body comes in pieces; one that hangs has a last piece that never comes."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            assert hangs
            await asyncio.sleep(60)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or hangs}

    return Request({"type": "http", "headers": [], "method": "POST"}, receive)


async def read(intake: Intake, asked: Request) -> int:
    async with intake.read(asked) as data:
        return len(data)


def test_a_body_that_does_not_come_is_given_up() -> None:
    intake = Intake(Settings(body_timeout_s=0.05))
    with pytest.raises(BadRequest) as caught:
        asyncio.run(read(intake, request(b"half", hangs=True)))
    assert caught.value.status == 408
    assert asyncio.run(read(intake, request(b"who", b"le"))) == 5


def test_a_body_that_says_no_length_is_bounded_all_the_same() -> None:
    intake = Intake(Settings(max_upload_mb=1))
    with pytest.raises(BadRequest) as caught:
        asyncio.run(read(intake, request(*[bytes(MB // 2)] * 3)))
    assert caught.value.status == 413
    assert asyncio.run(read(intake, request(bytes(MB)))) == MB


def test_bodies_are_bounded_together() -> None:
    intake = Intake(Settings(max_upload_mb=1))

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            release = asyncio.Event()

            async def hold() -> None:
                async with intake.read(request(bytes(MB))):
                    await release.wait()

            for _ in range(8):
                group.create_task(hold())
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            with pytest.raises(Full):
                await read(intake, request(b"one more"))
            release.set()
        assert await read(intake, request(b"room again")) == 10

    asyncio.run(work())


def test_an_error_in_the_work_is_not_taken_for_a_slow_body() -> None:
    async def work() -> None:
        async with Intake(Settings()).read(request(b"x")):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(work())


@pytest.mark.parametrize(
    ("text", "data"),
    [("aGk=", b"hi"), ("data:image/png;base64,aGk=", b"hi"), ("data:;base64,aG\nk=", b"hi"), ("", b"")],
)
def test_data_uris_and_base64(text: str, data: bytes) -> None:
    assert decode_image(text) == data


@pytest.mark.parametrize(
    "text", ["http://x/a.jpg", "file:///etc/passwd", "ftp://x", "data:image/png,aGk", "ü", "a", 7, None]
)
def test_what_is_neither(text: object) -> None:
    with pytest.raises(BadRequest):
        decode_image(text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/etc/passwd", "passwd"),
        ("C:\\x\\a.jpg", "a.jpg"),
        ("a\x1b[31m\r\n.jpg", "a[31m.jpg"),
        ("..", ".."),
        ("", "image 3"),
        (None, "image 3"),
        ("图.png", "图.png"),
    ],
)
def test_names_are_names(name: str | None, shown: str) -> None:
    assert shown_name(name, 3) == shown


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost", True),
        ("localhost:7722", True),
        ("LOCALHOST", True),
        ("127.0.0.1:1", True),
        ("[::1]:7722", True),
        ("192.168.1.5", True),
        ("photos.local", True),
        ("evil.example", False),
        ("photos.local.evil.example", False),
        ("", False),
        ("localhost/evil", False),
        ("localhost@evil", False),
        ("localhost:port", False),
        ("[::1", False),
    ],
)
def test_hosts(header: str, allowed: bool) -> None:
    assert Settings(allowed_hosts=("photos.local",)).allows_host(header) is allowed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "photos.local"])
def test_other_hosts_need_a_key_or_a_decision(host: str) -> None:
    with pytest.raises(UsageError):
        Settings(host=host)
    assert Settings(host=host, key="k").key and Settings(host=host, open_to_all=True).open_to_all


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert Settings(host=host).is_loopback


def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.gauge("things", "Things.", lambda: 3)
    metrics.request("classify", 200, 0.02)
    metrics.request("classify", 200, 99)
    metrics.batch(5)
    lines = metrics.text().splitlines()
    assert 'clipcli_requests_total{endpoint="classify",status="200"} 2' in lines
    assert 'clipcli_request_seconds_bucket{endpoint="classify",le="0.025"} 1' in lines
    assert 'clipcli_request_seconds_bucket{endpoint="classify",le="+Inf"} 2' in lines
    assert 'clipcli_batch_images_bucket{le="8"} 1' in lines
    assert "clipcli_things 3" in lines
    assert all(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 for line in lines)
