"""The model that is used when none is named: `model` in the user's settings, or else our own choice."""

from pathlib import Path

from clipcli.errors import ClipError
from clipcli.hub.registry import DEFAULT_MODEL
from clipcli.settings import config_file, read_settings, write_setting

_KEY = "model"


def default_model() -> str:
    """The model to use when none is named.

    Raises:
        ClipError: The settings cannot be read.
    """
    name = read_settings().get(_KEY, DEFAULT_MODEL)
    if not isinstance(name, str) or not name:
        raise ClipError(
            f'{config_file()}: "{_KEY}" must be a model\'s name in quotes', hint="fix it with `clip models default ID`"
        )
    return name


def set_default_model(name: str) -> Path:
    """Write the default model into the settings, and return the file.

    Raises:
        UsageError: It is a path that is not UTF-8.
        ClipError: The settings cannot be read or written.
    """
    return write_setting(_KEY, name)
