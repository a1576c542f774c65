"""The application: the routes of the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Self, TypeVar

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from clipcli.api.languages import spoken_languages
from clipcli.serve import metrics as prometheus
from clipcli.serve.bodies import Body, Intake, parse_body
from clipcli.serve.engine import Engine
from clipcli.serve.errors import BadRequest
from clipcli.serve.gate import Address, Gate, Log, error_response, json_response
from clipcli.serve.library import EDGES_PX, ServedLibrary
from clipcli.serve.metrics import Metrics
from clipcli.serve.openapi import document
from clipcli.serve.questions import FIELDS, Questions
from clipcli.serve.settings import Settings

if TYPE_CHECKING:
    from clipcli.api.libraries.library import Library
    from clipcli.api.model import Model

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

_HEALTH_TIMEOUT_S = 30.0
_PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class Service:
    """The engine, the library and the settings that answer requests."""

    settings: Settings
    engine: Engine
    questions: Questions
    intake: Intake
    metrics: Metrics
    library: ServedLibrary | None = None

    @classmethod
    def start(cls, settings: Settings, model: "Model", open_library: "Callable[[], Library] | None" = None) -> Self:
        """Load the networks and start the engine.

        Args:
            settings: How to serve.
            model: The model that answers.
            open_library: Opens the library as it is now.

        Raises:
            ClipError: The model or the library cannot be used.
        """
        metrics = Metrics()
        engine = Engine(model, metrics, max_waiting=settings.max_waiting)
        engine.start()
        library = None
        if open_library is not None:
            library = ServedLibrary(open_library, engine)
            library.current()
            metrics.gauge("library_images", "Images of the library.", lambda: library.rows)
        metrics.gauge("waiting_images", "Images that wait or are being computed.", lambda: engine.waiting)
        metrics.gauge("decoded_images", "Images that wait for the encoder.", lambda: engine.decoded)
        return cls(settings, engine, Questions(engine), Intake(settings), metrics, library)

    async def answer(self, request: Request, work: Callable[[Body], Coroutine[Any, Any, Any]]) -> Response:
        """Read the body of a request, and send the answer as JSON.

        Raises:
            ClipError: It cannot be answered.
            ClientDisconnect: The client has disconnected.
        """
        async with self.intake.read(request) as data:
            body = await parse_body(request, data, self.settings)
            del data
            return json_response(await while_awaited(request, work(body)))


async def while_awaited(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do work while the client waits for it.

    Raises:
        ClientDisconnect: The client has disconnected, and the work was canceled.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(service: Service, log: Log, others: Sequence[Address] = ()) -> ASGIApp:
    """Make the application.

    Args:
        service: The engine, the library and the settings that answer requests.
        log: Called for every request.
        others: Endpoints for other programs' clients.
    """
    settings = service.settings
    routes = [*_own_routes(service), *_page_routes(), *others]

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.engine.close)
        if service.library is not None:
            service.library.close()

    inner: ASGIApp = Router(routes, redirect_slashes=False, default=_not_found, lifespan=lifespan)
    if settings.origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return Gate(inner, settings, service.metrics, log)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await error_response(BadRequest("there is nothing at this address", status=404))(scope, receive, send)


def _own_routes(service: Service) -> list[Address]:
    async def health(request: Request) -> Response:
        await asyncio.wait_for(service.engine.check(), _HEALTH_TIMEOUT_S)
        return json_response({"status": "ok"})

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=prometheus.CONTENT_TYPE)

    async def openapi(request: Request) -> Response:
        return json_response(document(has_library=service.library is not None))

    async def info(request: Request) -> Response:
        library = service.library
        rows = await library.on_disk(lambda: library.rows) if library is not None else 0
        return json_response(_info(service, rows))

    fixed = [
        Address("/health", health),
        Address("/metrics", metrics),
        Address("/openapi.json", openapi),
        Address("/api/info", info),
    ]
    answered = [Address(f"/api/{kind}", _question(service, kind), methods=["POST"]) for kind in FIELDS]
    return [*fixed, *answered, *_library_routes(service)]


def _question(service: Service, kind: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return await service.answer(request, lambda body: service.questions.answer(kind, body))

    answer.__name__ = kind
    return answer


def _library_routes(service: Service) -> list[Address]:
    library = service.library

    async def search(request: Request) -> Response:
        if library is None:
            raise BadRequest("this server has no library", "start it with `library=NAME`", status=404)
        return await service.answer(request, library.search)

    async def image(request: Request) -> Response:
        edge_px = EDGES_PX.get(request.path_params["size"])
        if library is None or edge_px is None:
            raise BadRequest("there is nothing at this address", status=404)
        data = await library.shown(request.path_params["number"], edge_px)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=300"})

    return [
        Address("/api/search", search, methods=["POST"]),
        Address("/api/{size}/{number:int}", image),
    ]


def _page_routes() -> list[Address]:
    """The page's files: read once, and only files in its folder are served."""
    folder = resources.files("clipcli.serve").joinpath("page")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise BadRequest("there is nothing at this address", status=404)
        kind = _PAGE_TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
        return Response(files[name], media_type=kind, headers={"cache-control": "no-cache"})

    return [Address("/", page), Address("/page/{name}", page)]


def _info(service: Service, rows: int) -> dict[str, Any]:
    from clipcli import __version__

    model, settings, library = service.engine.model, service.settings, service.library
    sets = service.questions.label_sets.values()
    return {
        "version": __version__,
        "model": model.checkpoint.files.id,
        "family": model.checkpoint.config.family,
        "dimensions": model.checkpoint.config.projection_dim,
        "classes": None if model.class_names is None else len(model.class_names),
        "languages": sorted(spoken_languages(model.checkpoint.id, model.checkpoint.config.family)),
        "label_sets": [{"name": each.name, "labels": list(each.names)} for each in sets],
        "library": None if library is None else {"name": library.name, "place": library.place, "images": rows},
        "limits": {"upload_bytes": settings.max_upload_bytes, "images": settings.max_images},
    }
