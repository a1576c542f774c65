"""A stand-in for Immich's own machine learning, which finds faces and text, and fails as it is asked to."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

FACES = {
    "facial-recognition": [{"boundingBox": {"x1": 1, "y1": 2, "x2": 30, "y2": 40}, "embedding": "[0.5]", "score": 0.9}],
    "imageHeight": 7,
    "imageWidth": 9,
}


@dataclass
class Upstream:
    """Where it is, and what it was asked: headers and bodies as they came."""

    address: str
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


def task(model: str) -> str:
    """The `entries` of a request to find faces with a model; the names of some say how they fail."""
    detection = {"modelName": model, "options": {"minScore": 0.7}}
    return json.dumps({"facial-recognition": {"detection": detection, "recognition": {"modelName": model}}})


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run the stand-in on a free port until the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = Upstream(f"http://127.0.0.1:{listener.getsockname()[1]}")

    async def predict(request: Request) -> Response:
        running.asked.append((dict(request.headers), await request.body()))
        form = await request.form()
        match json.loads(str(form["entries"]))["facial-recognition"]["detection"]["modelName"]:
            case "broken":
                return PlainTextResponse("Internal Server Error", 500)
            case "busy":
                return JSONResponse({"detail": "later"}, 503, {"retry-after": "7", "set-cookie": "a=b"})
            case "invalid":
                return JSONResponse({"detail": "Invalid request format."}, 422)
            case "slow":
                await asyncio.sleep(30)
            case "moved":
                return RedirectResponse("http://127.0.0.1:9/predict")
            case "list":
                return JSONResponse([1])
        return JSONResponse(FACES)

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()
