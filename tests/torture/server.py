"""Requests that no client should send, to a real `clip serve`: no 500, no traceback, no hang, no memory that grows."""

import atexit
import base64
import json
import random
import socket
import string
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from tests.helpers.served import Served, form, sample, served

_TIMEOUT_S = 30
_MOST_GROWN_KB = 200_000
_SETTLED_AFTER = 200
_POSTS = (
    *("/api/classify", "/api/score", "/api/tag", "/api/explain", "/api/embed", "/api/search"),
    *("/v1/embeddings", "/hf/zero-shot-image-classification", "/predict"),
)
_GETS = (
    "/",
    "/health",
    "/metrics",
    "/openapi.json",
    "/api/info",
    "/api/thumb/1",
    "/api/image/1",
    "/page/main.js",
    "/ping",
)
_KINDS = (
    *("application/json", "multipart/form-data; boundary=edge", "multipart/form-data", "image/jpeg", "text/plain", ""),
    *("application/json; charset=utf-16", "multipart/form-data; boundary=" + "x" * 500, "\xff/\xfe", "a" * 3000),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**70,
        1e308,
        0.5,
        "",
        "cat",
        "@/etc/passwd",
        "../..",
        "\0",
        "\ud800",
        "{}",
        "%s",
        "a" * 9000,
    ),
    *([], ["cat", "dog"], ["cat", 1], [[]], [None], ["a"] * 1500, {}, {"a": {}}, {"kind": "id", "value": 1}),
    *(
        [{"kind": "image", "value": "data:image/png;base64,AAAA"}],
        "data:image/png;base64,",
        "http://127.0.0.1/",
        "файл",
    ),
)
_NAMES = (
    *("images", "image", "labels", "label_set", "template", "text", "terms", "without", "top", "skip", "threshold"),
    *("scoring", "temperature", "none_of_these", "none_text", "depth", "coverage", "exclusive", "after", "only"),
    *("input", "model", "encoding_format", "modality", "messages", "inputs", "parameters", "entries", "__proto__"),
)

answers = {"sent": 0}


@cache
def server() -> Served:
    """One server for all trials."""
    running = ExitStack()
    atexit.register(running.close)
    return running.enter_context(
        served("--model", "demo", "--no-cache", "--max-upload-mb", "2", "--max-megapixels", "1")
    )


@cache
def memory_kb() -> int:
    """What the server's memory was when it was first asked for."""
    return _resident_kb()


def trial(random_: random.Random, folder: Path) -> str:
    """Send one request, and see that it is answered as it should be."""
    make = random_.choice((_json, _form, _damaged, _head, _garbage, _page))
    status = _exchange(make(random_), ends=make in (_head, _garbage))
    assert status != 500, f"{make.__name__}: {status}"
    answers["sent"] += 1
    if answers["sent"] > _SETTLED_AFTER:
        assert _resident_kb() < memory_kb() + _MOST_GROWN_KB, "memory grows"
    if answers["sent"] % 50 == 0:
        assert server().ask("/health").status == 200
    assert "Traceback" not in "".join(server().said), "".join(server().said[-30:])
    return f"{make.__name__.strip('_')} {status}"


def _exchange(data: bytes, *, ends: bool) -> int:
    """The status of the answer; 0 where the server closes without one.

    Args:
        data: What is sent.
        ends: Say that nothing more comes: the server may wait for the rest of a request that has none.
    """
    with socket.create_connection(("127.0.0.1", server().port), timeout=_TIMEOUT_S) as connection:
        with suppress(OSError):  # it may have answered, and closed, before all was sent
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(1 << 16):
                received += block
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 0


def _request(path: str, body: bytes, kind: str, method: str = "POST", more: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}"
    head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1", "replace") + body


def _json(random_: random.Random) -> bytes:
    value: Any = {name: random_.choice(_VALUES) for name in random_.sample(_NAMES, random_.randrange(6))}
    if random_.random() < 0.5:
        value |= {"images": [base64.b64encode(sample("cat.png")[: random_.randrange(9000)]).decode()], "text": ["a"]}
        value |= {"labels": ["cat", "dog"]} if random_.random() < 0.7 else {}
    if random_.random() < 0.1:
        value = random_.choice(_VALUES)
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    if random_.random() < 0.2:
        text = random_.choice((b"[" * 100_000, text[:-1], text + b"}", b"NaN", b'{"top": Infinity}', b"\xff" + text))
    return _request(random_.choice(_POSTS), text, "application/json")


def _form(random_: random.Random) -> bytes:
    fields = [(name, str(random_.choice(_VALUES))) for name in random_.sample(_NAMES, random_.randrange(5))]
    fields = [(name, value.encode("utf-8", "replace").decode()) for name, value in fields]
    images = {f"{i}.png": random_.randbytes(random_.randrange(2000)) for i in range(random_.randrange(3))}
    if random_.random() < 0.6:
        images["cat.png"] = sample("cat.png")[: random_.randrange(20_000)]
        fields += [("labels", "cat,dog")]
    return _request(random_.choice(_POSTS), *form(images, fields))


def _damaged(random_: random.Random) -> bytes:
    """A good form with a few bytes changed, in its parts and in its images."""
    body, kind = form({"cat.png": sample("cat.png")}, [("labels", "cat,dog"), ("text", "cat")])
    damaged = bytearray(body)
    for _ in range(random_.randrange(1, 30)):
        damaged[random_.randrange(len(damaged))] = random_.randrange(256)
    return _request(random_.choice(_POSTS), bytes(damaged), kind)


def _head(random_: random.Random) -> bytes:
    body = sample("cat.png")[:500]
    more = random_.choice(
        (
            *("Content-Length: 5\r\n", "Content-Length: -5\r\n", "Transfer-Encoding: chunked\r\n", "Host: evil\r\n"),
            *("Expect: 100-continue\r\n", "Range: bytes=0-\r\n", "Origin: null\r\n", "Authorization: Bearer \xff\r\n"),
            *(f"X: {'a' * 70_000}\r\n", "X\r\n", ": x\r\n", "Upgrade: websocket\r\n", "Content-Encoding: gzip\r\n"),
        )
    )
    method = random_.choice(("POST", "GET", "PUT", "OPTIONS", "HEAD", "BREW", "CONNECT"))
    return _request(random_.choice((*_POSTS, *_GETS)), body, random_.choice(_KINDS), method, more)


def _garbage(random_: random.Random) -> bytes:
    if random_.random() < 0.5:
        return random_.randbytes(random_.randrange(1, 3000))
    return _request("/api/classify", b"", "application/json")[: random_.randrange(100)]


def _page(random_: random.Random) -> bytes:
    letters = string.ascii_letters + "/%.?#&=;\\~ \x7f\xe9"
    tail = "".join(random_.choices(letters, k=random_.randrange(1, 40)))
    path = random_.choice(
        (*_GETS, "/api/", "/page/", "/page/../", "/api/thumb/", "//", "http://evil/", "/api/thumb/-1")
    )
    return _request(path + tail if random_.random() < 0.8 else path, b"", "", "GET")


def _resident_kb() -> int:
    status = Path(f"/proc/{server().process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
