"""Holds output to the JSON Schemas that the package ships."""

import json
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator


def check_document(name: str, document: Any) -> None:
    """Hold a whole document of `--format json` to its schema."""
    Draft202012Validator(_schema(name)).validate(document)


def check_rows(name: str, rows: list[Any]) -> None:
    """Hold lines of `--format jsonl` to the schema of one result."""
    validator = Draft202012Validator({"$ref": "#/$defs/result", "$defs": _schema(name)["$defs"]})
    assert rows
    for row in rows:
        validator.validate(row)


def _schema(name: str) -> dict[str, Any]:
    text = resources.files("clipcli").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    Draft202012Validator.check_schema(schema)
    return schema
