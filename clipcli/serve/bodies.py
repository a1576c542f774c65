"""From a request's body to images and fields: multipart forms, JSON with data URIs, or one image by itself.

Bodies are limited in bytes and time, and URLs are never fetched.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from clipcli.images.find import ImageSource
from clipcli.serve.errors import BadRequest, Full
from clipcli.serve.settings import Settings

IMAGE_FIELDS = ("image", "images")
_FIELD_BYTES = 2**20
_MOST_FIELDS = 2000
# Memory for bodies at a time, as a number of bodies of the largest size.
_BODIES_AT_ONCE = 8
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_DATA_URI = re.compile(r"data:[^,;]*(;[^,;]*)*,")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]+")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Body:
    """The content of a request.

    Attributes:
        images: The images, in their order.
        fields: All other fields: lists of texts from a form, any values from JSON.
        is_form: Whether numbers are given as texts.
    """

    images: list[ImageSource] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    is_form: bool = False


class Intake:
    """Reads bodies, limiting their total size at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request, and hold it until the end of the block.

        Raises:
            BadRequest: It is too large, or too slow.
            Full: The bodies of other requests use all memory for bodies.
        """
        limit = self._settings.max_upload_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(self._settings.body_timeout_s):
                    await self._receive(request, parts)
            except TimeoutError:
                raise BadRequest("the body did not arrive in time", status=408) from None
            yield b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _receive(self, request: Request, parts: list[bytes]) -> None:
        limit, size = self._settings.max_upload_bytes, 0
        async for chunk in request.stream():
            parts.append(chunk)
            size += len(chunk)
            self._held += len(chunk)
            if size > limit:
                raise self._too_large()
            if self._held > _BODIES_AT_ONCE * limit:
                raise Full("the memory for uploads is full")

    def _too_large(self) -> BadRequest:
        limit = self._settings.max_upload_mb
        return BadRequest(
            f"the body is larger than {limit:g} MB", "send less, or start the server with `max_upload_mb`", status=413
        )


async def parse_body(request: Request, data: bytes, settings: Settings) -> Body:
    """Parse a body into images and fields, by its content type; for an image by itself, the fields come from the query.

    Raises:
        BadRequest: It does not match its content type, or has too many images.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _parse_form(request, data, settings)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        fields = {key: request.query_params.getlist(key) for key in request.query_params}
        name = "".join(fields.pop("name", []))
        body = Body([ImageSource(shown_name(name, 0), data=data)], fields, is_form=True)
    elif kind in ("application/json", "text/json", ""):
        body = json_body(parse_json(data), settings)
    else:
        raise BadRequest(
            f"content type {kind!r} is not understood",
            "send multipart/form-data, application/json, or an image as image/jpeg",
            status=415,
        )
    if len(body.images) > settings.max_images:
        raise BadRequest(f"the request has {len(body.images)} images; the limit is {settings.max_images}", status=413)
    return body


def parse_json(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadRequest: It is not a JSON object.
    """
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequest(f"the body is not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def json_body(value: dict[str, Any], settings: Settings) -> Body:
    """Take the images out of a JSON object.

    Raises:
        BadRequest: One is neither a data URI nor base64.
    """
    fields = dict(value)
    given: list[object] = []
    for name in IMAGE_FIELDS:
        if name in fields:
            part = fields.pop(name)
            given += part if isinstance(part, list) else [part]
    if len(given) > settings.max_images:
        raise BadRequest(f"the request has {len(given)} images; the limit is {settings.max_images}", status=413)
    return Body([_json_image(item, i) for i, item in enumerate(given)], fields)


def decode_image(text: object, what: str = "an image") -> bytes:
    """The bytes of a data URI, or of base64 by itself.

    Raises:
        BadRequest: It is neither; URLs are not fetched.
    """
    if not isinstance(text, str):
        raise BadRequest(f"{what} must be a data URI or base64")
    match = _DATA_URI.match(text)
    if match is None and _URL.match(text[:64]):
        raise BadRequest(
            f"{what} is a URL, and this server does not fetch URLs", "send the image itself: data:image/jpeg;base64,..."
        )
    if match is not None and not match[0].endswith(";base64,"):
        raise BadRequest(f"{what} is a data URI that is not base64")
    encoded = text[match.end() :] if match else text
    try:
        return base64.b64decode(re.sub(r"\s+", "", encoded), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{what} is not base64") from None


def shown_name(name: str | None, number: int) -> str:
    """The client's name of a file, as rows show it: never a path, and no control characters."""
    last = re.split(r"[/\\]", name or "")[-1]
    cleaned = _CONTROLS.sub("", last.encode("utf-8", "replace").decode("utf-8")).strip()[:_LONGEST_NAME]
    return cleaned or f"image {number}"


async def _parse_form(request: Request, data: bytes, settings: Settings) -> Body:
    async def whole() -> AsyncIterator[bytes]:
        yield data

    parser = _InMemory(
        request.headers,
        whole(),  # type: ignore[arg-type]
        max_files=settings.max_images,
        max_fields=_MOST_FIELDS,
        max_part_size=_FIELD_BYTES,
    )
    parser.spool_max_size = len(data) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"the form cannot be read: {error.message}") from None
    images: list[ImageSource] = []
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            images.append(ImageSource(shown_name(value.filename, len(images)), data=await value.read()))
        elif name in IMAGE_FIELDS:
            images.append(_json_image(value, len(images)))
        else:
            fields.setdefault(name, []).append(value)
    return Body(images, fields, is_form=True)


class _InMemory(MultiPartParser):
    """Starlette's parser; files never go to disk, since the body is in memory already."""


def _json_image(item: object, number: int) -> ImageSource:
    """An image of a JSON request: base64 by itself, or an object with a `name` and `data`."""
    named = item if isinstance(item, dict) else {"data": item}
    name, data = named.get("name"), decode_image(named.get("data"), f"image {number}")
    return ImageSource(shown_name(name if isinstance(name, str) else None, number), data=data)


def _refuse_constant(name: str) -> Iterator[None]:
    raise ValueError(f"{name} is not a number")
