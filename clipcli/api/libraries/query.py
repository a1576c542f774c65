"""Queries: terms with weights, and filters that select images of a library."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from clipcli import scoring
from clipcli.answers.search import Mask, PartKind, QueryPart, Rows
from clipcli.api.inputs import ImageInput
from clipcli.errors import UsageError
from clipcli.features.digests import content_digest, texts_digest
from clipcli.library.index import table
from clipcli.library.index.description import ModelIdentity
from clipcli.library.index.store import Snapshot
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.api.model import Model

TermKind: TypeAlias = Literal["text", "image", "vector"]

# The features of a query image and of its copies differ slightly because of JPEG compression.
_SAME_COSINE = 0.995
_DEMO = "demo"
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query.

    Attributes:
        kind: The type of `value`.
        value: A text, an image (a path, bytes or a PIL image), or a vector (D,).
        weight: How much it counts; negative to subtract it.
        made_of: Whether a vector has the features of a text or of an image.
    """

    kind: TermKind
    value: "ImageInput | Floats"
    weight: float = 1.0
    made_of: PartKind = "image"

    def __post_init__(self) -> None:
        """Check that the term can be compared.

        Raises:
            UsageError: An empty text, or a weight that is zero or not a number.
        """
        if self.kind == "text" and not str(self.value).strip():
            raise UsageError("a text of the query is empty", hint='write what to search for: "a dog on a beach"')
        if not 0 < abs(self.weight) < float("inf"):
            raise UsageError(f"a weight must be a number above 0, not {self.weight:g}")

    @property
    def shown(self) -> str:
        """The term as results show it."""
        if self.kind == "text" or isinstance(self.value, str | os.PathLike):
            return str(self.value)
        return self.kind


@dataclass(frozen=True, slots=True)
class Query:
    """A query.

    Attributes:
        terms: The terms to add up.
        without: Leave out images that fit one of these better than the sum of the terms.
        balanced: Scale texts and images to a similar spread before they are added up.
    """

    terms: tuple[Term, ...]
    without: tuple[Term, ...] = ()
    balanced: bool = True

    def describe(self) -> list[dict[str, object]]:
        """The parts as a JSON document lists them; what is left out weighs 0."""
        terms = [{"kind": term.kind, "value": term.shown, "weight": term.weight} for term in self.terms]
        return [*terms, *({"kind": term.kind, "value": term.shown, "weight": 0} for term in self.without)]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images may be hits.

    Attributes:
        after: Taken at this time or later (or last changed, if the image has no time): `2024`, `2024-05`, `2024-05-01`,
            or with a time.
        before: Taken at this time or earlier; `2024` includes all of the year.
        only: Globs, matched against names and whole paths, of which one must match.
        exclude: Globs of which none may match.
        under: Folders, absolute, of which one must contain the image.
        include_self: Include the images of the query and their copies.
    """

    after: str | None = None
    before: str | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    include_self: bool = False

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            UsageError: One is not a valid time.
        """
        for name, value in (("after", self.after), ("before", self.before)):
            if value is not None and not _TIME.fullmatch(value):
                raise UsageError(
                    f"{name} must be a date or a time, not {value!r}", hint="write 2024, 2024-05-01 or 2024-05-01T12:30"
                )

    def allowed(self, snapshot: Snapshot, parts: Sequence[QueryPart], digests: Iterable[bytes], rows: Rows) -> Mask:
        """Which of some rows of the matrix may be hits.

        Shapes: rows (K,), ascending -> (K,).
        """
        count = len(snapshot.matrix)
        allowed = np.ones(count, dtype=np.bool_) if snapshot.live is None else snapshot.live.copy()
        if self.after or self.before:
            before = None if self.before is None else f"{self.before.replace(' ', 'T')}~"  # sorts after all in it
            after = None if self.after is None else self.after.replace(" ", "T")
            allowed &= _mask(count, table.slots_between(snapshot.db, after, before))
        below = table.slots_below(snapshot.db, self.under) if self.under else None
        if below is not None:
            allowed &= _mask(count, below)
        if self.only or self.exclude:
            paths = table.paths_of_slots(snapshot.db)
            allowed &= _mask(count, [slot for slot, path in paths if self._passes(path)])
        if not self.include_self:
            allowed &= ~_mask(count, table.slots_of_digests(snapshot.db, digests))
        if len(rows) == count:
            return allowed & self._unlike(parts, snapshot.matrix)
        return allowed[rows] & self._unlike(parts, snapshot.matrix[rows])

    def _unlike(self, parts: Sequence[QueryPart], features: Floats) -> Mask:
        """Which rows are neither a query image nor a copy of one."""
        unlike = np.ones(len(features), dtype=np.bool_)
        for part in parts:
            if part.kind == "image" and part.weight > 0 and not self.include_self:
                unlike &= features @ part.features < _SAME_COSINE
        return unlike

    def _passes(self, path: str) -> bool:
        names = (os.path.basename(path), path)
        if self.only and not any(fnmatch.fnmatch(name, glob) for name in names for glob in self.only):
            return False
        return not any(fnmatch.fnmatch(name, glob) for name in names for glob in self.exclude)


def cached_texts(terms: Sequence[Term], model: ModelIdentity) -> list[Floats] | None:
    """The features of the texts among some terms, if all are cached and none needs a warning."""
    from clipcli import demo
    from clipcli.features.cache import FeatureSpace, open_cache
    from clipcli.features.labels import LabelFeature
    from clipcli.labels.templates import language_of_text

    texts = [str(term.value) for term in terms if term.kind == "text"]
    if model.text_preparation is None or (model.name == _DEMO and demo.unknown_words(texts)):
        return None
    if any(language_of_text(text) not in (None, *model.languages) for text in texts):
        return None
    space = FeatureSpace("text", model.checkpoint, model.text_preparation, model.text_numerics)
    keys = [texts_digest((text,)) for text in texts]
    found = open_cache().get(space, keys)
    features = [LabelFeature.from_cached(found[key]) for key in keys if key in found]
    if len(features) < len(texts) or any(feature.cut is not None for feature in features):
        return None
    return [feature.features for feature in features]


def encode_terms(
    terms: Sequence[Term], dimensions: int, texts: Sequence[Floats] | None, model: "Callable[[], Model]"
) -> list[QueryPart]:
    """Turn terms into parts of a query vector.

    Args:
        terms: The terms.
        dimensions: Numbers per feature.
        texts: The features of the text terms, if they are cached.
        model: A function that opens the model.

    Raises:
        ImageError: An image of the query cannot be used.
        UsageError: A vector does not have the library's length.
    """
    values = [str(term.value) for term in terms if term.kind == "text"]
    if texts is None:
        texts = list(model().encode_texts(values)) if values else []
    images = [term.value for term in terms if term.kind == "image"]
    encoded = iter(texts)
    seen = iter(model().encode_images(images) if images else ())  # type: ignore[arg-type]
    parts = []
    for term in terms:
        if term.kind == "text":
            parts.append(QueryPart("text", next(encoded), term.weight))
        elif term.kind == "image":
            parts.append(QueryPart("image", next(seen), term.weight))
        else:
            parts.append(QueryPart(term.made_of, _unit(term.value, dimensions), term.weight))
    return parts


def digests_of(terms: Sequence[Term]) -> list[bytes]:
    """Digests of the files and bytes that images of a query come from."""
    found = []
    for term in terms:
        if term.kind == "image" and term.weight > 0:
            if isinstance(term.value, bytes):
                found.append(content_digest(term.value))
            elif isinstance(term.value, str | os.PathLike) and os.path.isfile(term.value):
                found.append(content_digest(Path(term.value).read_bytes()))
    return found


def _unit(value: object, dimensions: int) -> Floats:
    vector = np.asarray(value, dtype=np.float32).reshape(-1)
    if len(vector) != dimensions or not np.isfinite(vector).all() or not np.linalg.norm(vector) > 0:
        raise UsageError(f"the vector of the query must have {dimensions} numbers that are not all zero")
    return scoring.normalize(vector)


def _mask(count: int, slots: Sequence[int]) -> Mask:
    mask = np.zeros(count, dtype=np.bool_)
    found = np.fromiter(slots, dtype=np.intp, count=len(slots))
    mask[found[found < count]] = True
    return mask
