"""Zero-shot image classification as the hub's inference clients ask for it: `InferenceClient(model="http://...")`."""

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from clipcli.features.reader import Failed
from clipcli.images.find import ImageSource
from clipcli.results import Classification
from clipcli.serve.bodies import Body, decode_image
from clipcli.serve.errors import BadRequest
from clipcli.serve.gate import Address
from clipcli.serve.questions import judged

if TYPE_CHECKING:
    from clipcli.serve.app import Service


def routes(service: "Service") -> list[Address]:
    """The route of this API."""

    async def zero_shot(request: Request) -> Response:
        return await service.answer(request, lambda body: _classify(service, body))

    return [Address("/hf/zero-shot-image-classification", zero_shot, methods=["POST"])]


async def _classify(service: "Service", body: Body) -> list[dict[str, Any]]:
    parameters = body.fields.get("parameters") or {}
    labels = parameters.get("candidate_labels") if isinstance(parameters, dict) else None
    labels = [label.strip() for label in labels.split(",")] if isinstance(labels, str) else labels
    if body.is_form or not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise BadRequest("parameters must hold candidate_labels, a list of texts", "see the hub's task page")
    template = parameters.get("hypothesis_template")
    if template is not None and (not isinstance(template, str) or "{}" not in template):
        raise BadRequest("hypothesis_template must hold {} where the label goes")
    source = ImageSource("inputs", data=decode_image(body.fields.get("inputs"), "inputs"))
    fields = {"labels": tuple(map(_quoted, labels)), "top": max(1, len(labels))}
    prepared = await service.questions.prepared(
        "classify", fields if template is None else fields | {"template": (template,)}
    )
    results = await service.engine.features([source])
    if isinstance(results[0], Failed):
        raise results[0].error
    (record,) = judged(prepared.judge, results)
    assert isinstance(record, Classification)
    return [{"label": each.label, "score": each.score} for each in record.predictions]


def _quoted(label: str) -> str:
    """A label quoted so that its commas are not separators."""
    return '"' + label.replace('"', '""') + '"'
