"""Zero-shot vision from Python and on the command line, with CLIP, SigLIP and their relatives.

    model = clipcli.load("vit-b32")
    results = model.classify(["img.jpg", "poster.png"], labels=["cat", "dog"])
    print(results[0].label, results[0].score)

`Model` also has `score`, which compares images with whole texts, `tag`, which gives an image all labels that apply,
`explain`, which shows where in images labels match, `teach`, which says what example images do for labels, and
`encode_images` and `encode_texts`. `find_images` finds images in folders, `find_label_set` a label set by name. A
`Library` keeps the features of whole folders, to be searched.
Whatever a user can fix is raised as an `errors.ClipError`. Importing the package is cheap: `load` brings in what it
needs when it is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from clipcli import errors

if TYPE_CHECKING:
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.answers.maps import ExplainOptions, Explanation, LabelMap
    from clipcli.answers.search import SearchOptions
    from clipcli.answers.tag import TagOptions
    from clipcli.api.inputs import find_images
    from clipcli.api.libraries.library import Library
    from clipcli.api.libraries.query import Filters, Query, Term
    from clipcli.api.load import load
    from clipcli.api.model import Model
    from clipcli.labels.label_set import Label, LabelSet
    from clipcli.labels.library import find_label_set
    from clipcli.library.report.panels import draw_maps
    from clipcli.results import Classification, Failure, Hit, ImageTextScores, Prediction, Tag, TaggedImage, TextScore
    from clipcli.scale.batch import BatchEncoder

__version__ = "0.2.0"

# The folders here are rooms that import downwards only; CONTRIBUTING.md has their plan.
_HOMES = {
    "BatchEncoder": "clipcli.scale.batch",
    "Classification": "clipcli.results",
    "ClassifyOptions": "clipcli.answers.classify",
    "ExplainOptions": "clipcli.answers.maps",
    "Explanation": "clipcli.answers.maps",
    "Failure": "clipcli.results",
    "Filters": "clipcli.api.libraries.query",
    "Hit": "clipcli.results",
    "ImageTextScores": "clipcli.results",
    "Label": "clipcli.labels.label_set",
    "LabelMap": "clipcli.answers.maps",
    "LabelSet": "clipcli.labels.label_set",
    "Library": "clipcli.api.libraries.library",
    "Model": "clipcli.api.model",
    "Prediction": "clipcli.results",
    "Query": "clipcli.api.libraries.query",
    "SearchOptions": "clipcli.answers.search",
    "Tag": "clipcli.results",
    "TagOptions": "clipcli.answers.tag",
    "TaggedImage": "clipcli.results",
    "Term": "clipcli.api.libraries.query",
    "TextScore": "clipcli.results",
    "draw_maps": "clipcli.library.report.panels",
    "find_images": "clipcli.api.inputs",
    "find_label_set": "clipcli.labels.library",
    "load": "clipcli.api.load",
}
__all__ = [
    "BatchEncoder",
    "Classification",
    "ClassifyOptions",
    "ExplainOptions",
    "Explanation",
    "Failure",
    "Filters",
    "Hit",
    "ImageTextScores",
    "Label",
    "LabelMap",
    "LabelSet",
    "Library",
    "Model",
    "Prediction",
    "Query",
    "SearchOptions",
    "Tag",
    "TagOptions",
    "TaggedImage",
    "Term",
    "TextScore",
    "__version__",
    "draw_maps",
    "errors",
    "find_images",
    "find_label_set",
    "load",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
