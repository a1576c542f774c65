"""A stand-in of the hub's HTTP interface on loopback: model listings, files, redirects to a CDN, and its refusals.

Large files (weights) are served from a second origin, as the hub does; every request is counted.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from huggingface_hub import close_session, constants

from clipcli.hub import find_checkpoint

LARGE_SUFFIXES = (".safetensors", ".bin", ".h5", ".msgpack", ".model")


def commit_of(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Answer:
    """A refusal that is given in place of the real answer, a number of times."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    body: bytes = b""


@dataclass
class Model:
    """One repository: files by name at each commit, and what its branches and tags mean."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def find(self, revision: str) -> str | None:
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


class HubServer:
    """Holds models and faults; use as a context manager."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.token = "hf_right"
        self.requests: list[Request] = []
        self.refusals: dict[str, Answer] = {}
        self.cuts: dict[str, list[int]] = {}
        self.swapped: dict[str, bytes] = {}
        self.ignores_ranges = False
        self.page: bytes | None = None
        self.trick: Callable[[BaseHTTPRequestHandler], bool] | None = None
        """Answers in place of the real answer, or returns False."""
        self._hub = self._listen(_HubHandler)
        self._cdn = self._listen(_CdnHandler)
        self.endpoint = f"http://127.0.0.1:{self._hub.server_port}"
        self.cdn = f"http://127.0.0.1:{self._cdn.server_port}"

    def add(self, hub_id: str, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Publish files as a new commit that a branch or tag means, and return the commit.

        The first one of a model in the registry is the commit that is pinned there, if one is.
        """
        model = self.models.setdefault(hub_id, Model())
        row = None if model.commits else find_checkpoint(hub_id)
        commit = (row.revision if row else None) or commit_of(f"{hub_id} {len(model.commits)}")
        model.commits[commit] = files
        model.refs[revision] = commit
        return commit

    def refuse(self, path_part: str, status: int, *, times: int = 1, body: bytes = b"", **headers: str) -> None:
        """Answer requests whose path holds a text with a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.refusals[path_part] = Answer(status, named, times, body)

    def cut(self, name: str, *after: int) -> None:
        """Close the connection in the middle of a file: after so many bytes at the first request, and so on."""
        self.cuts[name] = list(after)

    def fetched(self, name: str) -> list[Request]:
        """The requests for one file's bytes, at the place where they really come from."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(name) and "/resolve/" not in r.path]

    def _listen(self, handler: type["_Handler"]) -> ThreadingHTTPServer:
        server = _Server(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": self}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def __enter__(self) -> "HubServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()


@contextmanager
def pointed_at(server: HubServer, cache_folder: Path, token_file: Path) -> Iterator[None]:
    """Point the real huggingface_hub client at the stand-in and at folders of the test's own."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    values = {
        "ENDPOINT": server.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.endpoint + template,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(cache_folder),
        "HF_TOKEN_PATH": str(token_file),
    }
    with ExitStack() as stack:
        stack.callback(close_session)
        for name, value in values.items():
            stack.enter_context(patch.object(constants, name, value))
        yield


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that has heard enough
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def answer(self) -> None:
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        self.hub.requests.append(Request(self.command, self.path, dict(self.headers.items())))
        for part, refusal in self.hub.refusals.items():
            if part in self.path and refusal.times > 0:
                refusal.times -= 1
                self.send(refusal.status, refusal.body, refusal.headers)
                return
        if self.hub.trick is None or not self.hub.trick(self):
            self.answer()

    def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_file(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Send a file or its rest, honouring ranges, cuts and swapped contents."""
        content = self.hub.swapped.get(name, content)
        start = 0
        asked = self.headers.get("Range")
        if asked and not self.hub.ignores_ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        rest = content[start:]
        cuts = self.hub.cuts.get(name)
        sent = cuts.pop(0) if cuts else len(rest)
        self.send_response(206 if start else 200)
        for key, value in {"Content-Length": str(len(rest)), **headers, **span}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(rest[:sent])
            self.wfile.flush()
        self.close_connection = sent < len(rest)


class _HubHandler(_Handler):
    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.page is not None:
            self.send(200, self.hub.page, {})
        elif path.startswith("/api/models/"):
            hub_id, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._with_commit(hub_id, revision, None)
        else:
            hub_id, _, rest = path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._with_commit(hub_id, revision, name)

    def _with_commit(self, hub_id: str, revision: str, name: str | None) -> None:
        model = self.hub.models.get(hub_id)
        token = self.headers.get("Authorization")
        allowed = token == f"Bearer {self.hub.token}"
        if token and not allowed:
            self.send(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif model is None or (model.private and not allowed):
            self.send(404 if allowed else 401, b"", {"X-Error-Code": "RepoNotFound"} if allowed else {})
        elif (commit := model.find(revision)) is None:
            self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif name is None:
            self._send_listing(model, hub_id, commit)
        elif model.gated and not allowed:
            self.send(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        elif name not in model.commits[commit]:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            self._send_resolved(name, commit, model.commits[commit][name])

    def _send_listing(self, model: Model, hub_id: str, commit: str) -> None:
        siblings = []
        for name, content in model.commits[commit].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob_id(content)}
            if name.endswith(LARGE_SUFFIXES):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        body = json.dumps({"id": hub_id, "modelId": hub_id, "sha": commit, "siblings": siblings}).encode()
        self.send(200, body, {"Content-Type": "application/json"})

    def _send_resolved(self, name: str, commit: str, content: bytes) -> None:
        if name.endswith(LARGE_SUFFIXES):
            sha256 = hashlib.sha256(content).hexdigest()
            headers = {
                "Location": f"{self.hub.cdn}/{commit}/{name}",
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": commit,
            }
            self.send(302, b"", headers)
        else:
            self.send_file(name, content, {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": commit})


class _CdnHandler(_Handler):
    def answer(self) -> None:
        commit, _, name = unquote(self.path).lstrip("/").partition("/")
        for model in self.hub.models.values():
            if name in model.commits.get(commit, {}):
                self.send_file(name, model.commits[commit][name], {})
                return
        self.send(404, b"", {})
