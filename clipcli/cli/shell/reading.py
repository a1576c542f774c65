"""Reads the values of options without pydantic where there is nothing to read.

Typer hands every value to pydantic, defaults included, and importing that takes about a sixth of what a cached answer
takes. A text where a text is wanted, and a default that nobody changed, are what they should be already, and digits are
a whole number.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import typer

# The method of a parameter of Typer's that returns what reads its values.
_ASKED = "get_runtime_param"


class _Reading:
    """How the value of one parameter is read, in place of Typer's own way, which it asks where there is work."""

    def __init__(self, typers: Callable[[], Any]) -> None:
        self._typers = typers

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        """Return the value as the command takes it.

        Raises:
            typer.BadParameter: It cannot be read as what the command takes.
        """
        wanted = param.type_descriptor.annotation
        if wanted is str and isinstance(value, str):
            return value
        if wanted == list[str] and isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return list(value)
        if wanted is int and isinstance(value, str) and value.isascii() and value.isdecimal() and _is_unbounded(param):
            return int(value)
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if value is param.default:
            return value
        return self._typers().coerce(value, param=param, ctx=ctx)


def _is_unbounded(param: Any) -> bool:
    info = param.type_descriptor.parameter_info
    return info.min is None and info.max is None


def read_quickly(parameters: list[Any]) -> list[Any]:
    """Let parameters pass what needs no reading; those of a Typer that reads in another way stay as they are."""
    for parameter in parameters:
        if hasattr(parameter, _ASKED) and _ASKED not in vars(parameter):
            setattr(parameter, _ASKED, partial(_Reading, parameter.get_runtime_param))
    return parameters
