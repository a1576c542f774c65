"""Plain result records: what commands print and the Python API returns. Imports nothing of the project but errors.

`cosine`, `logit` and `score` are three different numbers: the cosine of the angle between image and text features, in
[-1, 1]; the logit, computed from it with the checkpoint's scale and bias; and the score, computed from the logits by
the chosen scoring.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from clipcli.errors import ClipError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one input has no result."""

    type: str
    message: str

    @classmethod
    def from_error(cls, error: ClipError) -> "Failure":
        """Describe an error by its class name and its message."""
        return cls(type=type(error).__name__, message=str(error))

    def to_dict(self) -> Row:
        """The failure as JSON has it."""
        return {"type": self.type, "message": self.message}


class Record(Protocol):
    """The result of one input, or why it has none."""

    @property
    def path(self) -> str:
        """The input, as the user named it."""

    @property
    def error(self) -> Failure | None:
        """Why the input has no result."""

    def to_dict(self) -> Row:
        """The record as a row of JSON: `path`, `status`, and the answer or `error`."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label's numbers for one image.

    `score` is None if it would have no meaning (softmax over one label). `cosine` is None if the checkpoint has a
    classification head instead of a text tower.
    """

    label: str
    score: float | None
    cosine: float | None
    logit: float

    def to_dict(self) -> Row:
        """The prediction as JSON has it."""
        return {"label": self.label, "score": self.score, "cosine": self.cosine, "logit": self.logit}


@dataclass(frozen=True, slots=True)
class Classification:
    """The best labels of one image, best first, or why it has none.

    `label` is None when the image failed, when no label reached the threshold or a calibrated set's limit for none, or
    when none of the labels won. Below that limit, `predictions` still lists the best labels.
    """

    path: str
    label: str | None = None
    score: float | None = None
    predictions: tuple[Prediction, ...] = ()
    error: Failure | None = None
    below_limit: bool = False

    def to_dict(self) -> Row:
        """The classification as JSON has it."""
        if self.error is not None:
            return _failed(self.path, self.error)
        predictions = [prediction.to_dict() for prediction in self.predictions]
        return {**_ok(self.path), "label": self.label, "score": self.score, "predictions": predictions}


@dataclass(frozen=True, slots=True)
class TextScore:
    """One text's numbers for one image. `score` is None unless two texts or more were compared."""

    text: str
    cosine: float
    logit: float
    score: float | None

    def to_dict(self) -> Row:
        """The text's numbers as JSON has them; a score without a meaning is left out."""
        row: Row = {"text": self.text, "cosine": self.cosine, "logit": self.logit}
        return row if self.score is None else {**row, "score": self.score}


@dataclass(frozen=True, slots=True)
class ImageTextScores:
    """The numbers of every text for one image, in the order given, or why there are none."""

    path: str
    scores: tuple[TextScore, ...] = ()
    error: Failure | None = None

    def to_dict(self) -> Row:
        """The scores as JSON has them."""
        if self.error is not None:
            return _failed(self.path, self.error)
        return {**_ok(self.path), "scores": [score.to_dict() for score in self.scores]}


@dataclass(frozen=True, slots=True)
class Tag:
    """One label that applies to an image. `score` compares it with the background, see `answers.tag`."""

    label: str
    score: float
    cosine: float

    def to_dict(self) -> Row:
        """The tag as JSON has it."""
        return {"label": self.label, "score": self.score, "cosine": self.cosine}


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """The labels that apply to one image, best first; the list can be empty.

    An image that was tagged but whose sidecar could not be written has both tags and an error.
    """

    path: str
    tags: tuple[Tag, ...] = ()
    error: Failure | None = None

    def to_dict(self) -> Row:
        """The tags as JSON has them."""
        tags = [tag.to_dict() for tag in self.tags]
        if self.error is not None:
            row = _failed(self.path, self.error)
            return {**row, "tags": tags} if tags else row
        return {**_ok(self.path), "tags": tags}


@dataclass(frozen=True, slots=True)
class Hit:
    """An image that fits a query.

    `rank` begins with 1. `z` is the cosine standardized over all images of the library for this query: how unusual the
    match is. `taken` is the camera's time, `YYYY-MM-DDTHH:MM:SS`. `id` is the image's number in its library.
    """

    path: str
    rank: int
    cosine: float
    z: float
    width: int | None = None
    height: int | None = None
    taken: str | None = None
    id: int | None = None


def _ok(path: str) -> Row:
    return {"path": path, "status": "ok"}


def _failed(path: str, error: Failure) -> Row:
    return {"path": path, "status": "error", "error": error.to_dict()}
