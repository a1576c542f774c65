"""The model that is used when none is named: kept in `config.toml`, in the user's configuration folder."""

import json
import tomllib
from pathlib import Path

from clipcli.errors import ClipError, UsageError
from clipcli.files import replacing, settings_folder
from clipcli.hub.registry import DEFAULT_MODEL

_KEY = "model"
_FILE = "config.toml"


def config_file() -> Path:
    """Where the settings lie; the file need not exist."""
    return settings_folder() / _FILE


def default_model() -> str:
    """The model to use when none is named.

    Raises:
        ClipError: The settings cannot be read.
    """
    name = _read(config_file()).get(_KEY, DEFAULT_MODEL)
    if not isinstance(name, str) or not name:
        raise ClipError(
            f'{config_file()}: "{_KEY}" must be a model\'s name in quotes', hint="fix it with `clip models default ID`"
        )
    return name


def set_default_model(name: str) -> Path:
    """Write the default model into the settings, leaving their other lines alone, and return the file.

    A link is followed, and a file that is there keeps its permissions.

    Raises:
        UsageError: It is a path that is not UTF-8, which the settings cannot hold.
        ClipError: The settings cannot be read or written.
    """
    path = config_file()
    _read(path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name} is not UTF-8, as {path} must be", hint="rename it, or name it as the `model` of each run"
        ) from error
    line = f"{_KEY} = {json.dumps(name, ensure_ascii=False)}\n"
    try:
        old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [text for text in old if text.partition("=")[0].strip() != _KEY]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write((line + "".join(kept)).encode())
    except OSError as error:
        raise ClipError(
            f"{error.filename or path} cannot be written: {error.strerror}",
            hint="fix its permissions, or name the `model` of each run",
        ) from error
    return path


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror}", hint="fix its permissions, or delete it") from error
    except ValueError as error:
        raise ClipError(f"{path} is not valid TOML: {error}", hint="fix or delete it") from error
