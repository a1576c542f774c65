"""Endpoints that speak the dialects of other programs, so that their clients need not know this one."""

from typing import TYPE_CHECKING

from starlette.routing import Route

if TYPE_CHECKING:
    from clipcli.serve.app import Service


def routes(service: "Service") -> list[Route]:
    """Every address of other dialects."""
    return []
