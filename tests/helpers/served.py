"""A `clip serve` of its own, as a program, and requests to it."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

CLIP = (sys.executable, "-m", "clipcli")
_STARTS_WITHIN_S = 120
_ADDRESS = re.compile(r"serving .* on (http://\S+)")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    process: "subprocess.Popen[str]"
    address: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The access log."""
        return [json.loads(line) for line in self.said if line.startswith("{")]

    def ask(
        self, path: str, body: bytes | None = None, kind: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent = {**({"Content-Type": kind} if kind else {}), **(headers or {})}
        request = urllib.request.Request(self.address.rstrip("/") + path, body, sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def post(self, path: str, value: object, headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask(path, json.dumps(value).encode(), "application/json", headers)

    def send(self, path: str, images: Mapping[str, bytes], fields: list[tuple[str, str]]) -> Answer:
        """Send a form with images by their names."""
        return self.ask(path, *form(images, fields))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)


def form(images: Mapping[str, bytes], fields: list[tuple[str, str]]) -> tuple[bytes, str]:
    """A form as browsers and curl send it, and its content type."""
    edge = b"--edge\r\n"
    parts = [
        edge + f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields
    ]
    for name, data in images.items():
        head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        parts.append(edge + head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


@contextmanager
def served(
    *arguments: object, environment: Mapping[str, str] | None = None, program: Sequence[str] = CLIP
) -> Iterator[Served]:
    """Run `clip serve` on a free port until the end of the block."""
    command = [*program, "serve", "--port", "0", *map(str, arguments)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=variables)
    server, ready = Served(process), threading.Event()

    def listen() -> None:
        assert process.stderr
        for line in process.stderr:
            server.said.append(line)
            if found := _ADDRESS.search(line):
                server.address = found[1]
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert ready.wait(_STARTS_WITHIN_S) and server.address, "".join(server.said)
        yield server
    finally:
        process.kill()
        process.wait()
        listener.join(10)


def sample(name: str) -> bytes:
    """An image that comes with the program."""
    import clipcli

    return (Path(clipcli.__file__).parent / "demo" / "samples" / name).read_bytes()
