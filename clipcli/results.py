"""Plain result records: what commands print and the Python API returns. Imports nothing of the project but errors.

`cosine`, `logit` and `score` are three different numbers: the cosine of the angle between image and text features
in [-1, 1], what the checkpoint's scale and bias make of it, and what the scoring makes of the logits.
"""

from dataclasses import dataclass

from clipcli.errors import ClipError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one input has no result."""

    type: str
    message: str

    @classmethod
    def from_error(cls, error: ClipError) -> "Failure":
        """Describe an error by its class name and its message."""
        return cls(type=type(error).__name__, message=str(error))


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label's numbers for one image.

    `score` is None where it would mean nothing (softmax over one label), `cosine` where the checkpoint has a
    classification head of its own instead of a text tower.
    """

    label: str
    score: float | None
    cosine: float | None
    logit: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The best labels of one image, best first, or why there are none.

    `label` is None when the image failed, when no label reached the threshold, or when none of the labels won.
    """

    path: str
    label: str | None = None
    score: float | None = None
    predictions: tuple[Prediction, ...] = ()
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class TextScore:
    """One text's numbers for one image. `score` is None unless two texts or more were compared."""

    text: str
    cosine: float
    logit: float
    score: float | None


@dataclass(frozen=True, slots=True)
class ImageTextScores:
    """Every text's numbers for one image, in the order given, or why there are none."""

    path: str
    scores: tuple[TextScore, ...] = ()
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """One label that applies to an image. `score` is its share against the background, see `runtime.tagger`."""

    label: str
    score: float
    cosine: float


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """The labels that apply to one image, best first; none of them may.

    An image that was tagged and could not be given its sidecar has tags and an error.
    """

    path: str
    tags: tuple[Tag, ...] = ()
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that fits a query.

    `rank` begins with 1. `z` is the cosine standardized over all images of the library for this query: how unusual the
    image is for it. `taken` is the time of the camera, `YYYY-MM-DDTHH:MM:SS`.
    """

    path: str
    rank: int
    cosine: float
    z: float
    width: int | None = None
    height: int | None = None
    taken: str | None = None


Record = Classification | ImageTextScores | TaggedImage
