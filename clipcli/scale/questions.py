"""Questions about the rows of a shard, and the columns of their answers.

A question is prepared once per worker and answers a shard at a time. It can be pickled: workers may be elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from clipcli.errors import UnsupportedModelError, UsageError
from clipcli.features.labels import LabelEncoder
from clipcli.progress import unobserved
from clipcli.results import Failure
from clipcli.scale.inputs.shard import InputRow
from clipcli.scoring import Floats

if TYPE_CHECKING:
    import pyarrow as arrow

    from clipcli.api.model import Model
    from clipcli.api.questions import Judge

Metric: TypeAlias = Literal["cosine", "clipscore"]
METRICS: tuple[Metric, ...] = ("cosine", "clipscore")
# Hessel et al.'s program puts it before every caption.
_CLIPSCORE_PREFIX, _CLIPSCORE_WEIGHT = "A photo depicts ", 2.5


@dataclass(slots=True)
class Encodings:
    """A shard with its images encoded.

    Attributes:
        rows: All rows, without the bytes of their images.
        failures: Why a row has no features; None if it has.
        features: Features of the other rows, in their order, each (P,) unit length.
    """

    rows: list[InputRow] = field(default_factory=list)
    failures: list[Failure | None] = field(default_factory=list)
    features: list[Floats] = field(default_factory=list)

    @property
    def good(self) -> list[InputRow]:
        """The rows that have features."""
        return [row for row, failure in zip(self.rows, self.failures, strict=True) if failure is None]

    @property
    def is_good(self) -> "np.typing.NDArray[np.bool_]":
        """Which rows have features; shape (rows,)."""
        return np.array([failure is None for failure in self.failures], dtype=bool)


@dataclass(frozen=True, slots=True)
class Answers:
    """Columns for all rows of a shard, null where a row has no answer; and how many captions were cut."""

    columns: "Mapping[str, arrow.Array]"
    cut: int = 0


class Prepared(Protocol):
    """A question for one model."""

    def __call__(self, encodings: Encodings) -> Answers:
        """Answer it for a shard."""


class ScaleQuestion(Protocol):
    """A question; can be pickled."""

    @property
    def command(self) -> str:
        """Its name in the settings."""

    @property
    def with_text(self) -> bool:
        """Whether captions are needed."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the answer's columns."""

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """Everything that an answer depends on besides the image, the model, and how images are read."""

    def prepare(self, model: "Model") -> Prepared:
        """Prepare the question for a model."""


@dataclass(frozen=True, slots=True)
class Embed:
    """The features of images, and with `with_text` those of their captions.

    Attributes:
        stored: The number format of the output.
        with_text: Whether captions are encoded too.
    """

    stored: Literal["float32", "float16"] = "float32"
    with_text: bool = False
    command: str = "embed"

    @property
    def columns(self) -> Sequence[str]:
        """Of images, and of captions."""
        return ("embedding", "text", "text_embedding") if self.with_text else ("embedding",)

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """The numbers."""
        return {"stored": self.stored}

    def prepare(self, model: "Model") -> Prepared:
        """Refuse a model without features.

        Raises:
            UnsupportedModelError: It has a classification head.
        """
        refuse_head(model)
        return partial(self._answer, model)

    def _answer(self, model: "Model", encodings: Encodings) -> Answers:
        width = model.checkpoint.config.projection_dim
        columns = {"embedding": _vectors(encodings.features, encodings.is_good, width, self.stored)}
        cut = 0
        if self.with_text:
            columns["text"] = _captions(encodings)
            features, cut = _encode_captions(model, [row.text or "" for row in encodings.good])
            columns["text_embedding"] = _vectors(features, encodings.is_good, width, self.stored)
        return Answers(columns, cut)


@dataclass(frozen=True, slots=True)
class ScorePairs:
    """Score each image with its own caption.

    `cosine` is what published datasets were filtered by; `clipscore` is 2.5 max(cosine, 0) of the caption after
    "A photo depicts". Softmax is not used: over one pair it would be 1.

    Source: arXiv:2104.08718, section 3 (CLIPScore), and the authors' `clipscore.py`, whose mean is over pairs.

    Raises:
        UsageError: The metric is not known.
    """

    metric: Metric = "cosine"
    score_column: str | None = None
    with_text: bool = True
    command: str = "score pairs"

    def __post_init__(self) -> None:
        """Check the metric."""
        if self.metric not in METRICS:
            raise UsageError(
                f"metric must be cosine or clipscore, not {self.metric}", parameter="metric", value=self.metric
            )

    @property
    def columns(self) -> Sequence[str]:
        """The caption, and its score."""
        return ("text", self.score_column or self.metric)

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """The metric, and the name of its column."""
        return {"metric": self.metric, "score_column": self.score_column}

    def prepare(self, model: "Model") -> Prepared:
        """Refuse a model without a text tower.

        Raises:
            UnsupportedModelError: It has none.
        """
        refuse_head(model)
        _ = model.checkpoint.text_tower
        return partial(self._answer, model)

    def _answer(self, model: "Model", encodings: Encodings) -> Answers:
        import pyarrow as arrow

        good = encodings.good
        prefix = _CLIPSCORE_PREFIX if self.metric == "clipscore" else ""
        texts, cut = _encode_captions(model, [prefix + (row.text or "") for row in good])
        scores = np.array(
            [np.dot(image, text) for image, text in zip(encodings.features, texts, strict=True)], dtype=np.float32
        )
        if self.metric == "clipscore":
            scores = np.asarray(_CLIPSCORE_WEIGHT * np.maximum(scores, 0), dtype=np.float32)
        column = np.zeros(len(encodings.rows), dtype=np.float32)
        column[encodings.is_good] = scores
        text, name = self.columns
        return Answers({text: _captions(encodings), name: arrow.array(column, mask=~encodings.is_good)}, cut)


class ImageQuestion(Protocol):
    """A question about images alone, as commands ask it."""

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """What an answer depends on."""

    def prepare(self, model: "Model") -> "Judge[Any]":
        """Encode labels or texts."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question about images alone: `classify`, `tag`, or `score` with texts of one's own.

    Attributes:
        command: Which of these commands.
        question: Makes the judge.
    """

    command: Literal["classify", "tag", "score"]
    question: ImageQuestion
    with_text: bool = False

    @property
    def columns(self) -> Sequence[str]:
        """The fields of its records."""
        return tuple(_answer_types(self.command))

    def settings(self, model: "Model") -> Mapping[str, Any]:
        """What the question says."""
        return self.question.settings(model)

    def prepare(self, model: "Model") -> Prepared:
        """Encode labels or texts, once for all shards."""
        return partial(self._answer, self.question.prepare(model))

    def _answer(self, judge: "Judge[Any]", encodings: Encodings) -> Answers:
        import pyarrow as arrow

        features = iter(encodings.features)
        rows = [
            {} if failure is not None else judge.answer(row.key, next(features)).to_dict()
            for row, failure in zip(encodings.rows, encodings.failures, strict=True)
        ]
        types = _answer_types(self.command)
        return Answers({name: arrow.array([row.get(name) for row in rows], type) for name, type in types.items()})


def _answer_types(command: str) -> "dict[str, arrow.DataType]":
    """The columns of an answer, as the records' own `to_dict` has them."""
    import pyarrow as arrow

    def entries(name: str, *numbers: str) -> "arrow.DataType":
        return arrow.list_(arrow.struct([(name, arrow.string()), *((number, arrow.float32()) for number in numbers)]))

    if command == "classify":
        predictions = entries("label", "score", "cosine", "logit")
        return {"label": arrow.string(), "score": arrow.float32(), "predictions": predictions}
    if command == "tag":
        return {"tags": entries("label", "score", "cosine")}
    return {"scores": entries("text", "cosine", "logit", "score")}


def refuse_head(model: "Model") -> None:
    """Refuse a model with a classification head.

    Raises:
        UnsupportedModelError: It has a classification head.
    """
    if model.class_names is not None:
        raise UnsupportedModelError(
            f"{model.checkpoint.id} has a classification head instead of features",
            hint="use a checkpoint with both towers",
        )


def _encode_captions(model: "Model", captions: Sequence[str]) -> tuple[list[Floats], int]:
    """Encode captions, each distinct one once, sorted so that they share prefixes; also returns how many were cut."""
    distinct = sorted(set(captions))
    encoder = LabelEncoder(model.encoders, model.encoders.cache, unobserved)
    encoded = dict(zip(distinct, encoder.features([(text,) for text in distinct]), strict=True))
    return [encoded[text].features for text in captions], sum(encoded[text].cut is not None for text in captions)


def _captions(encodings: Encodings) -> "arrow.Array":
    import pyarrow as arrow

    return arrow.array([row.text for row in encodings.rows], arrow.string())


def _vectors(
    features: Sequence[Floats], is_good: "np.typing.NDArray[np.bool_]", width: int, stored: str
) -> "arrow.Array":
    """A column of vectors, null where a row has none."""
    import pyarrow as arrow

    dtype = np.float16 if stored == "float16" else np.float32
    values = np.zeros((len(is_good), width), dtype=dtype)
    if features:
        values[is_good] = np.stack(features)
    flat = arrow.array(values.reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(flat, width, mask=arrow.array(~is_good))
