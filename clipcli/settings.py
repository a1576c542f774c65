"""The user's settings: `config.toml` in the configuration folder. There options may have defaults."""

import json
from pathlib import Path
from typing import Any

from clipcli.errors import ClipError, UsageError
from clipcli.files import replacing, settings_folder

_FILE = "config.toml"


def config_file() -> Path:
    """Where the settings lie; the file need not exist."""
    return settings_folder() / _FILE


def read_settings() -> dict[str, Any]:
    """What the file holds; nothing where there is none.

    Raises:
        ClipError: It cannot be read.
    """
    path = config_file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror}", hint="fix its permissions, or delete it") from error
    except ValueError as error:
        raise ClipError(f"{path} is not UTF-8: {error}", hint="fix or delete it") from error
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ClipError(f"{path} is not valid TOML: {error}", hint="fix or delete it") from error


def write_setting(key: str, value: str) -> Path:
    """Write one text at the top level of the file, leaving its other lines alone, and return the file.

    A link is followed, and a file that is there keeps its permissions.

    Raises:
        UsageError: The value is a path that is not UTF-8, which the file cannot hold.
        ClipError: The settings cannot be read or written.
    """
    path = config_file()
    read_settings()
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{value} is not UTF-8, as {path} must be", hint=f"rename it, or name it as the `{key}` of each run"
        ) from error
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
    try:
        old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        top = next((i for i, text in enumerate(old) if text.lstrip().startswith("[")), len(old))
        kept = [text for text in old[:top] if text.partition("=")[0].strip() != key] + old[top:]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write((line + "".join(kept)).encode())
    except OSError as error:
        raise ClipError(
            f"{error.filename or path} cannot be written: {error.strerror}",
            hint=f"fix its permissions, or name the `{key}` of each run",
        ) from error
    return path
