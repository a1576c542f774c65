"""`/v1/embeddings` as OpenAI's clients call it, for texts, and for images in the two common dialects.

Images come as data URIs, either in `input` (with `"modality": "image"`, or recognized by themselves), or as a chat
message with an `image_url` part. Addresses are never fetched. A model that is not served is refused, and errors are
OpenAI's objects.
"""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from clipcli.errors import ClipError
from clipcli.hub import find_checkpoint
from clipcli.images.find import ImageSource
from clipcli.results import Row
from clipcli.scoring import Floats
from clipcli.serve.bodies import Body, decode_image
from clipcli.serve.engine import rows_of
from clipcli.serve.errors import BadRequest, UnknownModel
from clipcli.serve.gate import Address, about_error, json_response, status_of
from clipcli.serve.questions import numbers

if TYPE_CHECKING:
    from clipcli.serve.app import Service

_MOST_TEXTS = 2048
_DATA = "data:"
# The served model always has this name too.
_ANY = "clip"


def routes(service: "Service") -> list[Address]:
    """The routes of this API."""

    @_in_openai_s_words
    async def embeddings(request: Request) -> Response:
        return await service.answer(request, lambda body: _embeddings(service, body))

    async def models(request: Request) -> Response:
        named = [_name(service), *service.settings.served_model_names]
        return json_response({"object": "list", "data": [_model(name) for name in dict.fromkeys(named)]})

    @_in_openai_s_words
    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        _check_model(service, name)
        return json_response(_model(name))

    return [
        Address("/v1/embeddings", embeddings, methods=["POST"]),
        Address("/v1/models", models),
        Address("/v1/models/{name:path}", model),
    ]


def _in_openai_s_words(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Send an endpoint's errors as `{"error": {"message", "type", "param", "code"}}`."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            raise
        except Exception as error:
            status, headers = status_of(error)
            kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
            parameter = error.parameter if isinstance(error, ClipError) else None
            code = "model_not_found" if isinstance(error, UnknownModel) else None
            about = {**about_error(error), "type": kind, "param": parameter, "code": code}
            return json_response({"error": about}, status, headers)

    return answer


def _model(name: str) -> Row:
    return {"id": name, "object": "model", "created": 0, "owned_by": "clipcli"}


def _name(service: "Service") -> str:
    return service.engine.model.checkpoint.files.id


def _check_model(service: "Service", name: str | None) -> None:
    """Refuse a model that is not served; a request without a model gets the served one.

    Raises:
        UnknownModel: It is not served.
    """
    if name is None:
        return
    served, known = _name(service), find_checkpoint(name)
    names = (served, served.rpartition("/")[2], _ANY, *service.settings.served_model_names)
    if name not in names and (known is None or known != find_checkpoint(served)):
        raise UnknownModel(
            f"the model {name[:80]!r} is not served here, but {served}",
            "ask for that, or start the server with `served_model_name=NAME`",
            parameter="model",
        )


async def _embeddings(service: "Service", body: Body) -> Row:
    if body.is_form:
        raise BadRequest("the body must be JSON")
    if service.engine.model.class_names is not None:
        raise BadRequest(f"{_name(service)} has a classification head instead of features")
    fields = body.fields
    if not isinstance(fields.get("model"), str | None):
        raise BadRequest("model must be a text", parameter="model")
    _check_model(service, fields.get("model"))
    dimensions = service.engine.model.checkpoint.config.projection_dim
    if fields.get("dimensions") not in (None, dimensions):
        raise BadRequest(
            f"this model has features of {dimensions} numbers, which cannot be shortened", parameter="dimensions"
        )
    encoding = fields.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest("encoding_format must be float or base64", parameter="encoding_format")
    inputs = _inputs(fields)
    features, tokens = await _encode(service, inputs, images=_are_images(inputs, fields.get("modality")))
    write = _base64 if encoding == "base64" else numbers
    return {
        "object": "list",
        "created": int(time.time()),
        "model": _name(service),
        "data": [{"object": "embedding", "index": i, "embedding": write(row)} for i, row in enumerate(features)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _inputs(fields: Mapping[str, Any]) -> list[str]:
    """The texts and data URIs of a request.

    Raises:
        BadRequest: The request has none, or other content.
    """
    if "messages" in fields:
        return [_message_part(fields["messages"])]
    given = fields.get("input")
    inputs = [given] if isinstance(given, str) else given
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("input must be a text, or a list of texts", parameter="input")
    if any(not isinstance(item, str) for item in inputs):
        raise BadRequest("input must hold texts; token ids mean something else to every model", parameter="input")
    if len(inputs) > _MOST_TEXTS:
        raise BadRequest(f"input has {len(inputs)} texts; the limit is {_MOST_TEXTS}", status=413)
    return inputs


def _message_part(messages: object) -> str:
    """The text or the image of a chat with one message of one part, in the way of vLLM."""
    match messages:
        case [{"content": str(text)}]:
            return text
        case [{"content": [{"type": "text", "text": str(text)}]}]:
            return text
        case [{"content": [{"type": "image_url", "image_url": {"url": str(url)}}]}]:
            if not url.startswith(_DATA):
                raise BadRequest("image_url is a URL, and this server does not fetch URLs", "send a data URI")
            return url
    raise BadRequest(
        "messages must hold one message with one text or one image_url: an embedding is of one text or one image"
    )


def _are_images(inputs: Sequence[str], modality: object) -> bool:
    if modality not in (None, "text", "image"):
        raise BadRequest("modality must be text or image")
    if modality is not None:
        return modality == "image"
    are = [text.startswith("data:image/") for text in inputs]
    if any(are) and not all(are):
        raise BadRequest("texts and images cannot be sent in one request", "send two")
    return all(are)


async def _encode(service: "Service", inputs: Sequence[str], *, images: bool) -> tuple[Floats, int]:
    """The features of texts or images (N, P), and how many tokens the texts have."""
    if images:
        if len(inputs) > service.settings.max_images:
            raise BadRequest(
                f"the request has {len(inputs)} images; the limit is {service.settings.max_images}", status=413
            )
        sources = [ImageSource(f"image {i}", data=decode_image(text)) for i, text in enumerate(inputs)]
        return rows_of(await service.engine.features(sources)), 0
    if any("\ud800" <= character <= "\udfff" for text in inputs for character in text):
        raise BadRequest("input is not UTF-8 text")
    features = await service.questions.encode_texts(inputs)
    tokenizer = service.engine.model.checkpoint.tokenizer
    return features, sum(len(encoding.ids) for encoding in tokenizer.encode(inputs))


def _base64(features: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(features, dtype="<f4").tobytes()).decode("ascii")
