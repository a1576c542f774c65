"""How each type of record is shown: its columns, and the entries that become lines of CSV and of tables.

JSON is the record's own `to_dict`. A new type of record needs a shape here and nothing in the renderers; a new format
needs a renderer that reads shapes, and nothing here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from clipcli.results import Classification, ImageTextScores, Record, TaggedImage

if TYPE_CHECKING:
    from clipcli.answers.maps import Explanation

R = TypeVar("R", bound=Record)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers.

    Attributes:
        name: The entry's attribute, and the heading.
        digits: After the point, in tables.
        width: In terminal cells.
    """

    name: str
    digits: int
    width: int

    def text(self, value: float | None) -> str:
        """A value as tables show it."""
        return "-" if value is None else f"{value:.{self.digits}f}"


SCORE, COSINE, LOGIT = Number("score", 3, 6), Number("cosine", 4, 7), Number("logit", 2, 7)


def _in_order(record: Record, count: int) -> Sequence[int]:
    return range(1, count + 1)


@dataclass(frozen=True, slots=True)
class Shape(Generic[R]):
    """How records of one type are shown.

    Attributes:
        schema: Of the JSON document.
        title: The entry's attribute that is its text, and the heading.
        numbers: The columns after it; in tables a bar shows the first one that has a value.
        entries: What a record consists of; none where nothing applies.
        tags: Labels and scores of a row of JSON, best first: what sorting, reports and summaries look at.
        given: How many of those a record has.
        ranks: The rank of each entry among so many, the best being 1.
        counts_tags: Whether a summary counts the labels that were given.
    """

    schema: str
    title: str
    numbers: tuple[Number, ...]
    entries: Callable[[R], Sequence[Any]]
    tags: Callable[[Row], Sequence[Row]]
    given: Callable[[R], int]
    ranks: Callable[[R, int], Sequence[int]] = _in_order
    counts_tags: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of CSV."""
        return ("path", "rank", self.title, *(number.name for number in self.numbers), "status", "error")

    def lines(self, record: R) -> list[tuple[object, ...]]:
        """The lines of CSV of one record: one for each entry, and one where there is none or an error."""
        empty = (None,) * (2 + len(self.numbers))
        if record.error is not None:
            return [(record.path, *empty, "error", f"{record.error.type}: {record.error.message}")]
        entries = self.entries(record)
        if not entries:
            return [(record.path, *empty, "ok", None)]
        names = (self.title, *(number.name for number in self.numbers))
        return [
            (record.path, rank, *(getattr(entry, name) for name in names), "ok", None)
            for rank, entry in zip(self.ranks(record, len(entries)), entries, strict=True)
        ]


def _answers(record: Classification) -> Sequence[Any]:
    """What people are shown: an image below the limit for none has no label, and so no line that looks like one."""
    return () if record.below_limit else record.predictions


def _top_label(row: Row) -> Sequence[Row]:
    """The best label with its score, or its cosine where a score would mean nothing; none where none applies."""
    if row["label"] is None:
        return ()
    numbers = (row["score"], row["predictions"][0]["cosine"], 0.0)  # a head with one class has neither
    return ({"label": row["label"], "score": next(number for number in numbers if number is not None)},)


def _texts_best_first(row: Row) -> Sequence[Row]:
    best_first = sorted(row["scores"], key=lambda entry: -entry["logit"])
    return [{"label": entry["text"], "score": entry.get("score", entry["cosine"])} for entry in best_first]


def _ranks(values: Sequence[float]) -> Sequence[int]:
    """The rank of each value, the greatest being 1."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    ranks = [0] * len(values)
    for rank, i in enumerate(order, start=1):
        ranks[i] = rank
    return ranks


CLASSIFIED: Shape[Classification] = Shape(
    schema="clipcli.classify/2",
    title="label",
    numbers=(SCORE, COSINE, LOGIT),
    entries=_answers,
    tags=_top_label,
    given=lambda record: record.label is not None,
)
SCORED: Shape[ImageTextScores] = Shape(
    schema="clipcli.score/2",
    title="text",
    numbers=(SCORE, COSINE, LOGIT),
    entries=lambda record: record.scores,
    tags=_texts_best_first,
    given=lambda record: len(record.scores),
    ranks=lambda record, count: _ranks([entry.logit for entry in record.scores]),
)
TAGGED: Shape[TaggedImage] = Shape(
    schema="clipcli.tag/2",
    title="label",
    numbers=(SCORE, COSINE),
    entries=lambda record: record.tags,
    tags=lambda row: row["tags"],
    given=lambda record: len(record.tags),
    counts_tags=True,
)
EXPLAINED: "Shape[Explanation]" = Shape(
    schema="clipcli.explain/2",
    title="label",
    numbers=(COSINE, *(Number(name, 0, 6) for name in ("x", "y", "left", "top", "right", "bottom"))),
    entries=lambda record: record.maps,
    tags=lambda row: [{"label": entry["label"], "score": entry["cosine"]} for entry in row["maps"]],
    given=lambda record: len(record.maps),
    ranks=lambda record, count: _ranks([entry.cosine for entry in record.maps]),
)
