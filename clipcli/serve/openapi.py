"""The OpenAPI document, made from the fields of requests and the schemas of the commands' output."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from clipcli.serve import library, questions
from clipcli.serve.fields import Field

_SUMMARIES = {
    "classify": "Name what is in images.",
    "score": "Compare images with whole texts.",
    "tag": "Give images all labels that apply.",
    "explain": "Show where in images labels match.",
    "embed": "Features of images and texts.",
    "search": "Find images of the library by texts and images.",
}
_IMAGES = {
    "type": "array",
    "description": "Data URIs or base64, or objects with `name` and `data`.",
    "items": {"oneOf": [{"type": "string"}, {"type": "object"}]},
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {name: {"type": "string"} for name in ("type", "message", "hint")},
        }
    },
}
_STATUSES = {
    "400": "The request is not understood.",
    "401": "A key is needed.",
    "413": "It is larger than the server takes.",
    "429": "The server is busy; Retry-After says when to try again.",
    "503": "The server is being stopped, or cannot read its library.",
}


def document(*, has_library: bool) -> dict[str, Any]:
    """Describe every address of the API."""
    from clipcli import __version__

    spec = {kind: (questions.FIELDS[kind], questions.SCHEMAS[kind]) for kind in questions.FIELDS}
    if has_library:
        spec["search"] = library.FIELDS, library.SCHEMA
    paths: dict[str, Any] = {
        f"/api/{kind}": {"post": _operation(kind, fields, schema)} for kind, (fields, schema) in spec.items()
    }
    paths["/health"] = _read("Whether the engine works: an image has just gone through it.", "application/json")
    paths["/metrics"] = _read("Counts in the format of Prometheus.", "text/plain")
    paths["/api/info"] = _read("The model, the label sets, and the library.", "application/json")
    return {
        "openapi": "3.1.0",
        "info": {"title": "clip serve", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**{_key(schema): _schema(schema) for _, schema in spec.values()}, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(kind: str, fields: Sequence[Field], schema: str) -> dict[str, Any]:
    properties = {field.name: field.schema for field in fields}
    form = {**properties, "image": {"type": "array", "items": {"type": "string", "format": "binary"}}}
    reference = {"schema": {"$ref": f"#/components/schemas/{_key(schema)}"}}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "operationId": kind,
        "summary": _SUMMARIES[kind],
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _object({**properties, "images": _IMAGES})},
                "multipart/form-data": {"schema": _object(form)},
            },
        },
        "responses": {
            "200": {
                "description": f"What `clip {kind}` prints as a JSON document.",
                "content": {"application/json": reference},
            },
            **{status: {"description": about, "content": failed} for status, about in _STATUSES.items()},
        },
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _read(about: str, kind: str) -> dict[str, Any]:
    return {"get": {"summary": about, "responses": {"200": {"description": about, "content": {kind: {}}}}}}


def _key(schema: str) -> str:
    return schema.replace("/", "-")


def _schema(name: str) -> dict[str, Any]:
    """A schema of the package, its references turned towards where it stands in the document."""
    text = resources.files("clipcli").joinpath("schemas", f"{_key(name)}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text.replace('"#/$defs/', f'"#/components/schemas/{_key(name)}/$defs/'))
    del schema["$schema"], schema["$id"]
    return schema
