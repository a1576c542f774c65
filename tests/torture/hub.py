"""A hub, or whoever stands between it and the user, that means harm: `clip models pull` from it.

What is held: status 0 with exactly the files that were published, or 4 (1 for a disk that is said to be too small) with
a sentence; no file outside of the cache; the token goes to the hub's own host only; neither time, waiting nor memory
without bounds.
"""

import functools
import gzip
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

from huggingface_hub import close_session, constants
from typer.testing import CliRunner

from clipcli.cli.app import app
from clipcli.errors import ExitStatus
from clipcli.hub import bounds
from tests.helpers.hub_server import HubServer, pointed_at
from tests.torture import campaign, hostile_json

MOST_SECONDS = 60
MOST_BYTES = 5 * 10**8
LONGEST_WAITS_S = 600
HUB_ID = "me/tiny"
FILES = {
    "config.json": b'{"model_type": "clip", "architectures": ["CLIPModel"]}',
    "preprocessor_config.json": b'{"crop_size": 224}',
    "tokenizer_config.json": b"{}",
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"#version",
    "model.safetensors": bytes(range(256)) * 800,
}
NAMES = [
    "../../escaped.json", "/tmp/escaped.json", "config.json/../../../escaped", "..", "", ".", "a" * 5000,
    "con\0fig.json", "./config.json", "config.json ", "CONFIG.JSON", "pytorch_model-00001-of-00001.bin", "\ud800",
    "\x1b[2J", "refs/main", "../model.safetensors", "model.safetensors/x", "..\\..\\escaped",
    "model-00001-of-00002.safetensors",
]  # fmt: skip
LOCATIONS = [
    "{other}/x", "{other}{path}", "{cdn}{path}", "{path}", "{hub}{path}?again", "//localhost:1{path}", "file:///etc/passwd",
    "http://", "http://[::1", "http://127.0.0.1:1/", "http://user:pass@127.0.0.1:1/", "javascript:x", "", "\x00",
    "http://127.0.0.1:99999/", "http://" + "a" * 300 + ".invalid/", "x" * 60_000, "../../../../etc/passwd",
]  # fmt: skip
RETRY_AFTER = ["1000000000", "-5", "1e9", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "7", "", "\xb2", "nan"]
STATUSES = [
    201,
    204,
    206,
    299,
    300,
    304,
    400,
    401,
    403,
    404,
    408,
    410,
    416,
    418,
    429,
    451,
    500,
    502,
    503,
    504,
    599,
    999,
]
ERROR_CODES = ["RepoNotFound", "GatedRepo", "RevisionNotFound", "EntryNotFound", "x" * 5000, "\x1b[2J"]

Handler = BaseHTTPRequestHandler
Trick = Callable[[random.Random, HubServer], Callable[[Handler], bool]]


def trial(rng: random.Random, folder: Path) -> str:
    """One hub, asked up to three times."""
    cache, waited = folder / "cache", list[float]()
    with HubServer() as hub, pointed_at(hub, cache, folder / "token"):
        commit = hub.add(HUB_ID, FILES)
        trick = rng.choice(TRICKS)
        hub.trick = _some_requests(rng, trick(rng, hub))
        (cache / "models--me--tiny").mkdir(parents=True)
        with (
            campaign.variables(HF_TOKEN=hub.token),
            patch.object(time, "sleep", waited.append),
            patch.multiple(bounds, PATIENCE_S=0.1, LONGEST_PAGE_S=0.4),
            patch.object(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3),
        ):
            for _ in range(rng.randint(1, 3)):
                with campaign.bounded(MOST_SECONDS, MOST_BYTES):
                    status = _pull()
                _check(hub, folder, commit if status == ExitStatus.OK and trick is not _listing else None)
                if sum(waited) > LONGEST_WAITS_S:
                    raise AssertionError(f"wanted to wait for {sum(waited):,.0f} seconds")
                waited.clear()
        hub.trick, hub.swapped, hub.cuts = None, {}, {}
        if _pull() != ExitStatus.OK:
            raise AssertionError("an honest hub later is of no use")
        _check(hub, folder, commit if trick is not _listing else None)
    return f"{trick.__name__.strip('_')}: {status.name.lower()}"


def _pull() -> ExitStatus:
    close_session()  # a command is a process: it has no connection whose next answer is the rest of the last one
    result = CliRunner().invoke(app, ["models", "pull", HUB_ID])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError("a traceback") from result.exception
    status = ExitStatus(result.exit_code)
    if status == ExitStatus.OK:
        return status
    text = result.stderr
    if status != ExitStatus.MODEL and not (status == ExitStatus.FAILED and "disk is full" in text):
        raise AssertionError(f"status {status}: {text[:3000]}")
    if "clip: error: " not in text or "Traceback" in text or len(text) > 6000 or "\x1b" in text or "\0" in text:
        raise AssertionError(f"not a sentence: {text[:3000]!r}")
    return status


def _check(hub: HubServer, folder: Path, whole: str | None) -> None:
    """Check what came, where it lies and who was told what; `whole` is the commit that must be there as published."""
    for request in hub.requests:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if hub.token in str(headers) and headers["host"] != urlsplit(hub.endpoint).netloc:
            raise AssertionError(f"{headers['host']} got the token")
    strange = [path for path in folder.rglob("*") if path != folder / "cache" and folder / "cache" not in path.parents]
    if strange or (folder.parent / "escaped.json").exists():
        raise AssertionError(f"files outside of the cache: {strange}")
    if whole is not None:
        snapshot = folder / "cache" / "models--me--tiny" / "snapshots" / whole
        if {path.name: path.read_bytes() for path in snapshot.iterdir()} != FILES:
            raise AssertionError("status 0, with other files than were published")


def _some_requests(rng: random.Random, answer: Callable[[Handler], bool]) -> Callable[[Handler], bool]:
    """Play a trick at some requests only: at all, at those of some kind, at the first, or by chance."""
    where, chance = rng.choice(["", "", "/api/", "/resolve/", "safetensors", "json"]), rng.uniform(0.4, 1.5)
    played, most = itertools.count(), rng.choice([1, 2, 10**6, 10**6])

    def play(handler: Handler) -> bool:
        if where not in handler.path or rng.random() > chance or next(played) >= most:
            return False
        return answer(handler)

    return play


def _send(handler: Handler, status: int, body: bytes, **headers: str) -> bool:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    return True


def _listing(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """Names, sizes and hashes that lead elsewhere."""

    def answer(handler: Handler) -> bool:
        if "/api/" not in handler.path:
            return False
        files = [{"rfilename": name, "size": 8, "blobId": "a" * 40} for name in [*FILES, rng.choice(NAMES)]]
        listing = {"id": HUB_ID, "sha": hub.models[HUB_ID].refs["main"], "siblings": files}
        for _ in range(rng.randint(1, 3)):
            listing = hostile_json.mutated(rng, listing)
            if not isinstance(listing, dict):
                break
        body = rng.choice(
            [json.dumps(listing).encode(), json.dumps(listing).encode()[:-1], b"[" * 200_000, b"\xff" * 99]
        )
        return _send(handler, 200, body)

    return answer


def _endless(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """A body without end: fast, or a byte at a time."""
    piece = rng.choice([b"x" * 65536, b"[" * 65536, b" ", b"x" * 5000])
    status, claims = rng.choice([200, 200, 200, 403, 500, 206]), rng.random() < 0.5

    def answer(handler: Handler) -> bool:
        handler.send_response(status)
        handler.send_header("Content-Length", str(10**15)) if claims else handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(piece)
            if len(piece) < 65536:
                threading.Event().wait(0.02)

    return answer


def _longer(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """More than the listed size, or other content."""
    for name in rng.sample(list(FILES), rng.randint(1, 3)):
        content = FILES[name]
        hub.swapped[name] = rng.choice(
            [content + bytes(3_000_000), content[:-1] + b"!", b"", content[:5], b"x" + content]
        )
    return lambda handler: False


def _waits(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """Come back later."""
    status = rng.choice([408, 429, 500, 502, 503, 504])
    return lambda handler: _send(handler, status, b"later", Retry_After=rng.choice(RETRY_AFTER))


def _statuses(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """Refusals of every kind, with pages of every size."""
    body = rng.choice(
        [
            b"",
            b"no",
            b"x" * 10**6,
            b'{"error": "' + b"\x1b[2J" * 100 + b'"}',
            b"[" * 60_000,
            b"\xff",
            b"[]",
            b'{"errors": 7}',
        ]
    )
    headers = {"X-Error-Code": rng.choice(ERROR_CODES)} if rng.random() < 0.5 else {}
    headers |= {"X-Error-Message": rng.choice(["no", "\x1b[2J", "x" * 5000])} if rng.random() < 0.5 else {}
    return lambda handler: _send(handler, rng.choice(STATUSES), body, **headers)


def _redirects(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """Elsewhere: other hosts, other schemes, in circles."""
    other = hub.endpoint.replace("127.0.0.1", "localhost")

    def answer(handler: Handler) -> bool:
        places = {"other": other, "cdn": hub.cdn, "hub": hub.endpoint, "path": handler.path}
        location = rng.choice(LOCATIONS).format(**places)
        return _send(handler, rng.choice([301, 302, 303, 307, 308]), b"", Location=location)

    return answer


@functools.cache
def _bomb() -> bytes:
    """300 MB of zeros, packed once for all trials: it takes longer than most of them."""
    return gzip.compress(bytes(300_000_000), compresslevel=1)


def _packed(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """A small answer that unpacks to a large one, or says that it is packed and is not."""
    body = rng.choice([_bomb(), b"not packed", gzip.compress(b"{}")[:-5]])
    return lambda handler: _send(
        handler, 200, body, Content_Encoding=rng.choice(["gzip", "deflate", "br", "zstd", "x"])
    )


def _garbage(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """What is not HTTP, or stops in the middle of it."""
    answers = [
        b"", b"\r\n\r\n", rng.randbytes(500), b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/9.9 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10**5, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 10**6, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes x-y/z\r\nContent-Length: 3\r\n\r\nabc",
    ]  # fmt: skip

    def answer(handler: Handler) -> bool:
        handler.wfile.write(rng.choice(answers))
        handler.close_connection = True
        return True

    return answer


def _cuts(rng: random.Random, hub: HubServer) -> Callable[[Handler], bool]:
    """Connections that break, and servers that start again from the beginning."""
    size = len(FILES["model.safetensors"])
    hub.cut("model.safetensors", *(rng.randrange(size) for _ in range(rng.randint(1, 20))))
    hub.ignores_ranges = rng.random() < 0.5
    return lambda handler: False


TRICKS: list[Trick] = [_listing, _listing, _endless, _longer, _waits, _statuses, _redirects, _packed, _garbage, _cuts]
