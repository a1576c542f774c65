"""Zero-shot vision from Python and on the command line, with CLIP, Chinese-CLIP and AltCLIP.

    model = clipcli.load("vit-b32")
    results = model.classify(["img.jpg", "poster.png"], labels=["cat", "dog"])
    print(results[0].label, results[0].score)

`Model` also has `score`, which compares images with whole texts, and `encode_images` and `encode_texts`.
`ClassifyOptions` says how many labels an image gets and what their scores are. Whatever a user can mend is raised as
an `errors.ClipError`. Importing the package is cheap: `load` brings in what it needs when it is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from clipcli import errors

if TYPE_CHECKING:
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.api.model import Model, load

__version__ = "0.1.0"
__all__ = ["ClassifyOptions", "Model", "__version__", "errors", "load"]

# The folders here are rooms that import downwards only; CONTRIBUTING.md has their plan.
_HOMES = {
    "ClassifyOptions": "clipcli.answers.classify",
    "Model": "clipcli.api.model",
    "load": "clipcli.api.model",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
