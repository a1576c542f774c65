"""Run an application: the socket, the signals, and a stop that completes all answers."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipcli.errors import ClipError
from clipcli.serve.settings import Settings

_PATIENCE_S = 10
_BACKLOG = 512


def listen(settings: Settings) -> socket.socket:
    """Open the port, before any slow work.

    Raises:
        ClipError: It is in use, or may not be used.
    """
    host, port = settings.host.strip("[]"), settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ClipError(f"host {host} is not an address of this machine: {error}", parameter="host") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ClipError(
            f"port {port} of {host}: {(error.strerror or str(error)).lower()}",
            hint="is another server running? use another `port`; 0 takes any that is free",
            parameter="port",
            value=port,
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The address of the page."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until asked to stop; requests that have begun are answered, for ten seconds at most.

    Args:
        app: What answers.
        listener: The open socket.
        ready: Called when the server answers requests.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=_Protocol,
        timeout_graceful_shutdown=_PATIENCE_S,
        lifespan="on",
        ws="none",
        h11_max_incomplete_event_size=64 * 1024,
    )
    asyncio.run(_serve(_Server(config), listener, ready))


async def _serve(server: "_Server", listener: socket.socket, ready: Callable[[], None]) -> None:
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not (server.started or serving.done()):
        await asyncio.sleep(0.01)
    if server.started:
        ready()
    await serving


class _Protocol(H11Protocol):
    """Closes a connection if no answer can be sent because its client does not use HTTP."""

    def handle_events(self) -> None:
        try:
            super().handle_events()
        except LocalProtocolError:
            self.transport.close()


class _Server(uvicorn.Server):
    """Ends with success when it is asked to stop; asked again, at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: object) -> None:
        if self.should_exit:
            raise KeyboardInterrupt
        self.should_exit = True
