"""The fields of requests: defined once, for validation and for the OpenAPI document."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from clipcli.serve.errors import BadRequest

Kind = Literal["text", "texts", "integer", "number", "boolean", "objects", "any"]

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
LONGEST_TEXT = 4096
_TYPES: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "texts": {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "objects": {"type": "array", "items": {"type": "object"}},
    "any": {},
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request.

    Attributes:
        name: Its name in requests.
        kind: The type of its value.
        about: A description in one sentence.
        choices: The allowed texts.
        most: How many texts or objects a list may have.
    """

    name: str
    kind: Kind
    about: str
    choices: tuple[str, ...] = ()
    most: int = 1000

    @property
    def schema(self) -> dict[str, Any]:
        """The field as JSON Schema has it."""
        choices = {"enum": list(self.choices)} if self.choices else {}
        return {"description": self.about, **_TYPES[self.kind], **choices}

    def read(self, value: Any, *, is_form: bool) -> Any:
        """Check a value.

        Raises:
            BadRequest: It is not of the field's kind.
        """
        if self.kind == "texts":
            values = [value] if isinstance(value, str) else value
            if not isinstance(values, list) or len(values) > self.most:
                raise BadRequest(f"{self.name} must be a list of at most {self.most} texts")
            return tuple(self._text(item) for item in values)
        if is_form and isinstance(value, list):
            if len(value) != 1:
                raise BadRequest(f"{self.name} is there {len(value)} times")
            value = value[0]
        if self.kind == "any":
            return value
        if self.kind == "text":
            return self._text(value)
        if self.kind == "boolean":
            return self._boolean(value, is_form)
        if self.kind == "objects":
            if not isinstance(value, list) or len(value) > self.most or any(not isinstance(v, dict) for v in value):
                raise BadRequest(f"{self.name} must be a list of at most {self.most} objects")
            return value
        return self._number(value, is_form)

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadRequest(f"{self.name} must be text")
        if len(value) > LONGEST_TEXT:
            raise BadRequest(f"{self.name} holds a text of more than {LONGEST_TEXT} characters")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequest(f"{self.name} is not UTF-8 text")
        if self.choices and value not in self.choices:
            raise BadRequest(f"{self.name} must be one of {', '.join(self.choices)}, not {value!r}")
        return value

    def _boolean(self, value: object, is_form: bool) -> bool:
        if isinstance(value, bool):
            return value
        if is_form and str(value).lower() in (*_TRUE, *_FALSE):
            return str(value).lower() in _TRUE
        raise BadRequest(f"{self.name} must be true or false")

    def _number(self, value: object, is_form: bool) -> int | float:
        try:
            number = float(value) if is_form and isinstance(value, str) else value
        except ValueError:
            number = None
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise BadRequest(f"{self.name} must be a number")
        if abs(number) > 1e9 or (self.kind == "integer" and number != int(number)):
            raise BadRequest(f"{self.name} must be a {'whole ' if self.kind == 'integer' else ''}number below 1e9")
        return int(number) if self.kind == "integer" else float(number)


def read_fields(spec: Sequence[Field], given: Mapping[str, Any], *, is_form: bool) -> dict[str, Any]:
    """Check all fields of a request; missing and null fields are left out.

    Raises:
        BadRequest: One is not known or not valid.
    """
    known = {field.name: field for field in spec}
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise BadRequest(f"there is no field {name[:80]!r}", hint)
    return {name: known[name].read(value, is_form=is_form) for name, value in given.items() if value is not None}
