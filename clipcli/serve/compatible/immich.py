"""Immich's machine learning: `/ping` and `/predict`, so that its search runs on this engine.

Tasks that are not CLIP's (faces, text in images) are passed on to `immich_upstream`, since Immich asks one address for
all of them.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from clipcli.files import dump
from clipcli.images.header import read_header
from clipcli.results import Row
from clipcli.serve.bodies import Body
from clipcli.serve.engine import rows_of
from clipcli.serve.errors import BadRequest, UpstreamError
from clipcli.serve.gate import Address
from clipcli.serve.questions import numbers

if TYPE_CHECKING:
    from clipcli.serve.app import Service

# Immich's names for checkpoints that are in the registry: features of another one must not get among the stored ones.
_NAMES = {
    "ViT-B-32__openai": "openai/clip-vit-base-patch32",
    "ViT-B-16__openai": "openai/clip-vit-base-patch16",
    "ViT-L-14__openai": "openai/clip-vit-large-patch14",
    "ViT-L-14-336__openai": "openai/clip-vit-large-patch14-336",
    "ViT-B-32__laion2b-s34b-b79k": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "ViT-L-14__laion2b-s32b-b82k": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "ViT-H-14__laion2b-s32b-b79k": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
}
_UPSTREAM_TIMEOUT_S = 120.0


def routes(service: "Service") -> list[Address]:
    """The addresses of this dialect."""

    async def ping(request: Request) -> Response:
        return PlainTextResponse("pong")

    async def predict(request: Request) -> Response:
        return await service.answer(request, lambda body: _predict(service, body))

    return [Address("/ping", ping), Address("/predict", predict, methods=["POST"])]


async def _predict(service: "Service", body: Body) -> Row:
    entries = _entries(body)
    answer: Row = {}
    clip = entries.pop("clip", None)
    if entries:
        answer = await _pass_on(service, entries, body)
    if clip is not None:
        answer |= await _encode(service, clip, body)
    return answer


def _entries(body: Body) -> dict[str, Any]:
    """The tasks of a request.

    Raises:
        BadRequest: They are not understood.
    """
    given = body.fields.get("entries", []) if body.is_form else []
    try:
        entries = json.loads(given[0]) if len(given) == 1 else None
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict) or not entries:
        raise BadRequest("entries must be a JSON object of tasks", status=422)
    return entries


async def _encode(service: "Service", task: object, body: Body) -> Row:
    """The features of the image or the text, as a JSON list in a text.

    Raises:
        BadRequest: It is another model's task, or there is neither image nor text.
    """
    kinds = [kind for kind in ("visual", "textual") if isinstance(task, dict) and isinstance(task.get(kind), dict)]
    if not isinstance(task, dict) or len(kinds) != 1:
        raise BadRequest("clip must be either visual or textual", status=422)
    _check_model(service, task[kinds[0]].get("modelName"))
    if kinds == ["textual"]:
        texts = body.fields.get("text")
        if not isinstance(texts, list) or len(texts) != 1:
            raise BadRequest("there is no text")
        features = await service.questions.encode_texts(texts)
        return {"clip": dump(numbers(features[0]))}
    if len(body.images) != 1:
        raise BadRequest("there is no image")
    row = rows_of(await service.engine.features(body.images))[0]
    header = read_header(body.images[0])
    size = {} if header is None else {"imageHeight": header.height, "imageWidth": header.width}
    return {"clip": dump(numbers(row)), **size}


def _check_model(service: "Service", name: object) -> None:
    model = service.engine.model
    if model.class_names is not None:
        raise BadRequest(f"{model.checkpoint.id} has a classification head instead of features")
    served = model.checkpoint.files.id
    known = {hub_id: ours for ours, hub_id in _NAMES.items()}
    if served in known and name != known[served]:
        raise BadRequest(
            f"this server has {served}, and {str(name)[:80]!r} is asked for", f"choose {known[served]} in Immich"
        )


async def _pass_on(service: "Service", entries: Mapping[str, Any], body: Body) -> Row:
    """Have Immich's own machine learning do tasks that are not ours.

    Raises:
        BadRequest: There is none.
        UpstreamError: It does not answer, or not with JSON.
    """
    upstream = service.settings.immich_upstream
    if upstream is None:
        raise BadRequest(
            f"{', '.join(entries)[:80]} is not a task of this server", "start it with `immich_upstream=URL`", status=422
        )
    import httpx2

    parts: dict[str, Any] = {
        name: (None, value[0].encode()) for name, value in body.fields.items() if name != "entries"
    }
    parts["entries"] = (None, dump(dict(entries)).encode())
    if body.images:
        parts["image"] = (body.images[0].path, body.images[0].data or b"")
    try:
        async with httpx2.AsyncClient(timeout=_UPSTREAM_TIMEOUT_S) as client:
            response = await client.post(f"{upstream.rstrip('/')}/predict", files=parts)
            response.raise_for_status()
            answer = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise UpstreamError(f"{upstream} did not answer: {error or type(error).__name__}") from error
    return answer if isinstance(answer, dict) else {}
