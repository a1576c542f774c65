"""Endpoints that speak the dialects of other programs, so that their clients need not know this one."""

from typing import TYPE_CHECKING

from clipcli.serve.gate import Address

if TYPE_CHECKING:
    from clipcli.serve.app import Service


def routes(service: "Service") -> list[Address]:
    """Every address of other dialects."""
    from clipcli.serve.compatible import hugging_face, immich, openai

    return [*openai.routes(service), *hugging_face.routes(service), *immich.routes(service)]
