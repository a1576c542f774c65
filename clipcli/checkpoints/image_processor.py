"""Where a checkpoint's folder says how its images are prepared.

`transformers` writes it into `processor_config.json` since its version 5, and wrote a `preprocessor_config.json`
before. Repositories of the time between have both, some with a `processor_config.json` that says nothing of images.
"""

from pathlib import Path
from typing import Any

from clipcli.errors import DamagedModelError
from clipcli.files import read_json


def read_image_processor(folder: Path) -> tuple[dict[str, Any], Path]:
    """Read the settings of a checkpoint's image processor: those in `processor_config.json` go first.

    Returns:
        The settings, and the file they are from.

    Raises:
        DamagedModelError: Neither file has any, or the one that counts is damaged.
    """
    newer, older = folder / "processor_config.json", folder / "preprocessor_config.json"
    settings = read_json(newer).get("image_processor") if newer.is_file() else None
    if settings is None:
        return read_json(older), older
    if not isinstance(settings, dict):
        raise DamagedModelError(f"{newer}: image_processor is not an object")
    return settings, newer
