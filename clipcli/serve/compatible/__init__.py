"""Endpoints compatible with other servers, so that their clients work unchanged."""

from typing import TYPE_CHECKING

from clipcli.serve.gate import Address

if TYPE_CHECKING:
    from clipcli.serve.app import Service


def routes(service: "Service") -> list[Address]:
    """All compatible routes."""
    from clipcli.serve.compatible import hugging_face, immich, openai

    return [*openai.routes(service), *hugging_face.routes(service), *immich.routes(service)]
