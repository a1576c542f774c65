"""An object store that speaks as much of S3's protocol as is needed, with the faults that a test asks for."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

# Given the method and the key of a request: what goes wrong, or None.
Fault = Callable[[str, str], str | None]


class ObjectServer:
    """Its objects, and how it behaves.

    Attributes:
        objects: By bucket and key, `bucket/key`.
        weak: Ignores preconditions, as some servers do.
        fault: `503`, `403`, `cut` (half of the body arrives), `lost` (it worked, and the answer is an error).
        requests: How many there were, by method.
        sent: How many bytes of objects and lists went out.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.weak = False
        self.fault: Fault = lambda method, key: None
        self.requests: dict[str, int] = {}
        self.sent = 0
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    state: ObjectServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _begin(self) -> tuple[str, dict[str, list[str]], str | None]:
        parts = urlsplit(self.path)
        key = unquote(parts.path).lstrip("/")
        with self.state.lock:
            self.state.requests[self.command] = self.state.requests.get(self.command, 0) + 1
        return key, parse_qs(parts.query, keep_blank_values=True), self.state.fault(self.command, key)

    def _answer(self, status: int, body: bytes = b"", cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with self.state.lock:
                self.state.sent += len(body)
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True

    def _failed(self, fault: str) -> None:
        self._answer(int(fault), b"<Error><Code>Fault</Code><Message>as asked</Message></Error>")

    def do_GET(self) -> None:
        key, query, fault = self._begin()
        if fault in ("503", "403"):
            self._failed(fault)
        elif "list-type" in query:
            self._list(key.rstrip("/"), query)
        elif key not in self.state.objects:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        else:
            data, status, headers = self.state.objects[key], 200, {"ETag": _etag(self.state.objects[key])}
            if asked := self.headers.get("Range"):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, stop = int(first), min(int(last) + 1, len(data)) if last else len(data)
                headers["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                data, status = data[start:stop], 206
            self._answer(status, data, fault == "cut", Last_Modified=_DATE, **headers)

    def do_HEAD(self) -> None:
        key, _, fault = self._begin()
        if fault in ("503", "403"):
            self._answer(int(fault))
        elif key in self.state.objects:
            data = self.state.objects[key]
            self._answer(200, Content_Length=str(len(data)), ETag=_etag(data), Last_Modified=_DATE)
        else:
            self._answer(404)

    def do_PUT(self) -> None:
        key, _, fault = self._begin()
        data = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if fault in ("503", "403"):
            self._failed(fault)
            return
        with self.state.lock:
            refused = key in self.state.objects and self.headers.get("If-None-Match") == "*" and not self.state.weak
            if not refused:
                self.state.objects[key] = data
        if fault == "lost":
            self._failed("503")
        elif refused:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code><Message>there is one</Message></Error>")
        else:
            self._answer(200, ETag=_etag(data))

    def do_POST(self) -> None:
        """The removal of several objects, which is the only POST there is."""
        bucket, _, fault = self._begin()
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        if fault in ("503", "403"):
            self._failed(fault)
            return
        for key in re.findall("<Key>(.*?)</Key>", body):
            self.state.objects.pop(f"{bucket}/{unescape(key)}", None)
        self._answer(200, b"<DeleteResult><Deleted><Key>k</Key></Deleted></DeleteResult>")

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        names = sorted(name for name in self.state.objects if name.startswith(prefix))
        entries = "".join(
            f"<Contents><Key>{escape(name.removeprefix(f'{bucket}/'))}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f"</LastModified><ETag>{escape(_etag(self.state.objects[name]))}</ETag><Size>{len(self.state.objects[name])}"
            "</Size></Contents>"
            for name in names
        )
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode())


_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def _etag(data: bytes) -> str:
    return f'"{md5(data).hexdigest()}"'


@contextmanager
def serving() -> Iterator[tuple[ObjectServer, str]]:
    """Run a store; yields it and its URL, for AWS_ENDPOINT_URL."""
    state = ObjectServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
