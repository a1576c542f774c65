"""Immich's machine learning: `/ping` and `/predict`, so that its search runs on this engine.

Other tasks than CLIP (faces, text in images) are forwarded to `immich_upstream`, since Immich sends all of them to one
address. Immich sends one task per request; such a request and its answer are forwarded unchanged.
"""

import json
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from clipcli.files import dump
from clipcli.images.header import read_header
from clipcli.results import Row
from clipcli.serve.app import while_awaited
from clipcli.serve.bodies import Body, parse_body
from clipcli.serve.engine import rows_of
from clipcli.serve.errors import BadRequest, UpstreamError
from clipcli.serve.gate import Address, json_response
from clipcli.serve.questions import numbers

if TYPE_CHECKING:
    import httpx2

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
_CONNECT_WITHIN_S = 10.0
# Headers of an answer that are forwarded with its body.
_ANSWER_HEADERS = ("content-type", "retry-after")


def routes(service: "Service") -> list[Address]:
    """The routes of this API."""

    async def ping(request: Request) -> Response:
        return PlainTextResponse("pong")

    async def predict(request: Request) -> Response:
        async with service.intake.read(request) as data:
            body = await parse_body(request, data, service.settings)
            entries = _entries(body)
            if "clip" not in entries:
                _check_upstream(service, entries)
                sent = {"content": data, "headers": {"content-type": request.headers["content-type"]}}
                return await while_awaited(request, _pass_on(service, sent))
            del data
            return json_response(await while_awaited(request, _predict(service, entries, body)))

    return [Address("/ping", ping), Address("/predict", predict, methods=["POST"])]


async def _predict(service: "Service", entries: dict[str, Any], body: Body) -> Row:
    """Answer CLIP tasks, and forward other tasks of the same request."""
    others = {task: entry for task, entry in entries.items() if task != "clip"}
    answer: Row = {}
    if others:
        _check_upstream(service, others)
        answer = _answered(await _ask_upstream(service, {"files": _form(others, body)}))
    return answer | await _encode(service, entries["clip"], body)


def _entries(body: Body) -> dict[str, Any]:
    """The tasks of a request.

    Raises:
        BadRequest: They are not valid.
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
        BadRequest: The task is for another model, or has neither image nor text.
    """
    kinds = [kind for kind in ("visual", "textual") if isinstance(task, dict) and isinstance(task.get(kind), dict)]
    if not isinstance(task, dict) or len(kinds) != 1:
        raise BadRequest("clip must be either visual or textual", status=422)
    _check_model(service, task[kinds[0]].get("modelName"))
    if kinds == ["textual"]:
        texts = body.fields.get("text")
        if not isinstance(texts, list) or len(texts) != 1:
            raise BadRequest("the request has no text")
        features = await service.questions.encode_texts(texts)
        return {"clip": dump(numbers(features[0]))}
    if len(body.images) != 1:
        raise BadRequest("the request has no image")
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


def _check_upstream(service: "Service", entries: dict[str, Any]) -> None:
    if service.settings.immich_upstream is None:
        tasks = ", ".join(entries)[:80]
        raise BadRequest(f"{tasks} is not a task of this server", "start it with `immich_upstream=URL`", status=422)


async def _pass_on(service: "Service", sent: dict[str, Any]) -> Response:
    """Forward a request and its answer unchanged, including the status, which Immich checks."""
    answer = await _ask_upstream(service, sent)
    headers = {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
    return Response(answer.content, answer.status_code, headers)


async def _ask_upstream(service: "Service", sent: dict[str, Any]) -> "httpx2.Response":
    """Forward to Immich's own machine learning; this server's keys are not sent.

    Raises:
        UpstreamError: It does not answer in time, or redirects.
    """
    import httpx2

    upstream, patience_s = service.settings.immich_upstream, service.settings.upstream_timeout_s
    assert upstream is not None
    timeout = httpx2.Timeout(patience_s, connect=min(patience_s, _CONNECT_WITHIN_S))
    # A connection that is kept may be closed by the other side just when it is used again, which would cost a task.
    limits = httpx2.Limits(max_keepalive_connections=0)
    try:
        async with httpx2.AsyncClient(timeout=timeout, limits=limits, verify=_certificates()) as client:
            answer = await client.post(f"{upstream.rstrip('/')}/predict", **sent)
    except httpx2.ConnectTimeout as error:
        raise UpstreamError(f"{upstream} cannot be reached: no connection in {timeout.connect:g} s") from error
    except httpx2.TimeoutException as error:
        raise UpstreamError(f"{upstream} did not answer within {patience_s:g} s", status=504) from error
    except httpx2.HTTPError as error:
        raise UpstreamError(f"{upstream} cannot be reached: {error or type(error).__name__}") from error
    if answer.is_redirect:
        raise UpstreamError(f"{upstream} is redirected to {answer.headers.get('location')}", "give that address")
    return answer


@cache
def _certificates() -> ssl.SSLContext:
    """What takes a few hundredths of a second to make."""
    import httpx2

    return httpx2.create_ssl_context()


def _form(entries: dict[str, Any], body: Body) -> dict[str, Any]:
    """The fields of a request for some of its tasks."""
    parts: dict[str, Any] = {name: (None, value[0].encode()) for name, value in body.fields.items()}
    parts["entries"] = (None, dump(entries).encode())
    if body.images:
        parts["image"] = (body.images[0].path, body.images[0].data or b"")
    return parts


def _answered(answer: "httpx2.Response") -> Row:
    """An upstream answer that becomes part of this server's answer.

    Raises:
        UpstreamError: It says that something went wrong, or is not an object.
    """
    try:
        value = answer.json() if answer.is_success else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamError(f"{answer.url} answered {answer.status_code} without results")
    return value
