"""Access control and errors: hosts, origins, keys, headers, the access log.

Every mistake of a client is a JSON error with its own status; a bug is a 500 with its traceback in the log, and without
details in the answer.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from h11 import LocalProtocolError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipcli.errors import ClipError, ModelError
from clipcli.files import dump
from clipcli.serve.errors import BadRequest, Full, ServeError, Stopping
from clipcli.serve.metrics import Metrics
from clipcli.serve.settings import Settings

Log = Callable[[Mapping[str, Any]], None]

# Before what is behind a key: the page, which asks for the key, and what tells whether the server works.
_OPEN_PATHS = ("/", "/health", "/ping")
_OPEN_FOLDER = "/page/"
_GONE = 499
_LONGEST_PATH = 200
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Gate:
    """The outermost middleware of the application.

    Args:
        app: What answers.
        settings: Who may send requests.
        metrics: Counts every request.
        log: Called for every request, with its fields.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, log: Log) -> None:
        self._app, self._settings, self._metrics, self._log = app, settings, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, status, length = time.perf_counter(), 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, length
            if message["type"] == "http.response.start":
                status = message["status"]
                named = {name.lower() for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in named]
                message = {**message, "headers": [*message["headers"], *more]}
            length += len(message.get("body", b""))
            try:
                await send(message)
            except LocalProtocolError:  # the client sent invalid HTTP after its headers: it has its answer already
                raise ClientDisconnect from None

        try:
            try:
                await (self._refusal(scope) or self._app)(scope, receive, watched)
            except ClientDisconnect:
                raise
            except Exception as error:
                if status:
                    raise  # part of the answer was sent: close the connection
                await error_response(error)(scope, receive, watched)
        except ClientDisconnect:
            status = _GONE
        finally:
            self._note(scope, status or _GONE, time.perf_counter() - began, length)

    def _refusal(self, scope: Scope) -> Response | None:
        """The refusal of a request that is not allowed; None for all others."""
        headers, settings = Headers(scope=scope), self._settings
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not settings.allows_host(hosts[0]):
            hint = "call it by its address, or start it with `allow_host=NAME`"
            return error_response(BadRequest("this server does not answer to that name", hint, status=421))
        origin, method = headers.get("origin"), scope["method"]
        crosses = origin is not None and not settings.allows_origin(origin, hosts[0])
        if (crosses or headers.get("sec-fetch-site") == "cross-site") and origin not in settings.origins:
            if method not in ("GET", "HEAD") or scope["path"].startswith("/api/"):
                return error_response(
                    BadRequest("web pages of other sites may not send requests", "see `cors`", status=403)
                )
        if settings.key is None or self._is_open(scope["path"]) or (method == "OPTIONS" and origin is not None):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), settings.key.encode()):
            return None
        answer = error_response(BadRequest("a key is needed", "send `Authorization: Bearer KEY`", status=401))
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)

    def _note(self, scope: Scope, status: int, seconds: float, length: int) -> None:
        endpoint = getattr(scope.get("endpoint"), "__name__", "none")
        self._metrics.request(endpoint, status, seconds)
        client = scope.get("client") or ("", 0)
        self._log(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "client": client[0],
                "method": scope["method"],
                "path": scope["path"][:_LONGEST_PATH],
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "bytes": length,
            }
        )


class Address(Route):
    """A route that says as all errors are said which methods it has."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse the method."""
        methods = sorted(self.methods or ())
        if not methods or scope["method"] in methods:
            await super().handle(scope, receive, send)
            return
        error = BadRequest(f"{scope['method']} has no meaning here", f"use {' or '.join(methods)}", status=405)
        answer = error_response(error)
        answer.headers["allow"] = ", ".join(methods)
        await answer(scope, receive, send)


def error_response(error: Exception) -> Response:
    """An error as JSON: `{"error": {"type", "message", "hint"}}`."""
    return json_response({"error": about_error(error)}, *status_of(error))


def about_error(error: Exception) -> dict[str, Any]:
    """The public fields of an error; details of a bug go to the log only."""
    if status_of(error)[0] == 500:
        logging.getLogger(__name__).error("a bug occurred while a request was answered:", exc_info=error)
        return {"type": "InternalError", "message": "a bug in this program; its log says more"}
    about = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ClipError) and error.hint:
        about["hint"] = error.hint
    return about


def status_of(error: Exception) -> tuple[int, dict[str, str]]:
    """The HTTP status of an error, and its headers."""
    if isinstance(error, ServeError):
        waits = {Full: "1", Stopping: "5"}
        return error.status, {"retry-after": waits[type(error)]} if type(error) in waits else {}
    if isinstance(error, ModelError | TimeoutError):
        return 503, {}
    return (400, {}) if isinstance(error, ClipError) else (500, {})


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as the command line writes it; bytes of names that are not UTF-8 stay escapes."""
    content = dump(value).encode("utf-8", "backslashreplace")
    kept = {"cache-control": "no-store", **(headers or {})}
    return Response(content, status, kept, media_type="application/json")
