"""`/api/search` and the images of a library: found by query and addressed by number, never by a path from a client."""

import asyncio
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from clipcli.answers.search import SearchOptions
from clipcli.api.libraries.library import Library, as_query
from clipcli.api.libraries.query import Filters, Query, Term
from clipcli.compute.numpy_backend.cores import single_threaded_products
from clipcli.errors import ClipError, ImageError, UsageError
from clipcli.files import FileStamp
from clipcli.images.decode import decode
from clipcli.images.find import ImageSource
from clipcli.library.index import table
from clipcli.library.index.description import FILE_NAME
from clipcli.library.index.places import libraries_folder
from clipcli.library.index.store import Counts
from clipcli.library.index.table import ImageRow, row_of_id
from clipcli.results import Hit, Row
from clipcli.scoring import Floats
from clipcli.serve.bodies import Body, decode_image
from clipcli.serve.engine import Engine, rows_of
from clipcli.serve.errors import BadRequest, LibraryUnavailable
from clipcli.serve.fields import Field, read_fields

T = TypeVar("T")

SCHEMA = "clipcli.search/1"
_MOST_HITS, _MOST_TERMS, _MOST_TEXTS = 1000, 32, 4096
EDGES_PX = {"thumb": 320, "image": 1600}

FIELDS: Sequence[Field] = (
    Field("text", "texts", "Texts to look for, each of weight 1.", most=_MOST_TERMS),
    Field(
        "terms",
        "objects",
        "Parts of the query: kind (text, image, id), value (text, data URI, number of an image), weight.",
        most=_MOST_TERMS,
    ),
    Field("without", "texts", "Leave out images that fit these texts better.", most=_MOST_TERMS),
    Field("raw_weights", "boolean", "Do not balance texts and images by their spread."),
    Field("top", "integer", f"The most images; at most {_MOST_HITS}."),
    Field("skip", "integer", "Leave the best ones out, to see the next ones."),
    Field("threshold", "number", "Least cosine."),
    Field("min_z", "number", "Least z."),
    Field("after", "text", "Taken then or later, as 2024-05."),
    Field("before", "text", "Taken then or earlier."),
    Field("only", "texts", "Globs, of which one must match.", most=_MOST_TERMS),
    Field("exclude", "texts", "Globs, of which none may match.", most=_MOST_TERMS),
    Field("include_self", "boolean", "Show the images of the query and their copies."),
)

_TERM_FIELDS = (
    Field("kind", "text", "What it is.", ("text", "image", "id")),
    Field("value", "any", "A text, a data URI, or the number of an image of the library."),
    Field("weight", "number", "How much it counts; below 0 it is subtracted."),
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a query as it was sent."""

    kind: str
    value: Any
    weight: float = 1.0


class ServedLibrary:
    """A library in its current state on disk; it can be updated or replaced at any time.

    Args:
        open: A function that opens it.
        engine: Encodes the parts of queries.
    """

    def __init__(self, open: Callable[[], Library], engine: Engine) -> None:
        self._open, self._engine = open, engine
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._stamp: FileStamp | None = None
        self._folder = open().folder
        self._counted: tuple[FileStamp, Counts] | None = None
        self._texts: OrderedDict[str, Floats] = OrderedDict()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="library")

    @property
    def name(self) -> str:
        """Its name."""
        return self._folder.name

    @property
    def place(self) -> str:
        """Its argument on the command line: its name, or its path if it has none."""
        return self.name if self._folder.parent == libraries_folder() else str(self._folder)

    @property
    def rows(self) -> int:
        """How many images can be found; 0 if the library cannot be read now."""
        try:
            return self._count(self.current()).images
        except (ClipError, OSError):
            return 0

    def close(self) -> None:
        """Start no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def current(self) -> Library:
        """The library as it is now.

        Raises:
            LibraryUnavailable: It is missing or damaged, or another model made it.
        """
        with self._lock:
            try:
                stamp = FileStamp.of(self._folder / FILE_NAME)
                if self._library is None or stamp != self._stamp:
                    library = self._open()
                    _ = library.model  # refuses a model whose features cannot be compared
                    self._library, self._stamp = library, stamp
            except (ClipError, OSError) as error:
                raise LibraryUnavailable(f"the library {self.name} cannot be used now: {error}") from error
            return self._library

    async def search(self, body: Body) -> Row:
        """The document that `clip search` would print; the `id` of a row is part of the address of its image.

        Raises:
            ClipError: The request cannot be answered.
        """
        fields = read_fields(FIELDS, body.fields, is_form=body.is_form)
        options, filters = _options(fields), _filters(fields)
        parts = _parts(fields, body.images)
        without = [_Part("text", text) for text in fields.get("without", ())]
        if len(parts) + len(without) > _MOST_TERMS:
            raise BadRequest(f"the query has more than {_MOST_TERMS} parts")
        images = [part.value for part in parts if part.kind == "image"]
        encoded = iter(rows_of(await self._engine.features(images)) if images else ())
        texts = await self._encode_texts([part.value for part in (*parts, *without) if part.kind == "text"])
        uploads = {index: next(encoded) for index, part in enumerate(parts) if part.kind == "image"}

        def find() -> Row:
            return self._document(parts, uploads, without, texts, options, filters, not fields.get("raw_weights"))

        return await self.on_disk(find)

    async def shown(self, number: int, edge_px: int) -> bytes:
        """An image of the library as a JPEG that fits into a square.

        Raises:
            BadRequest: The library does not have this image.
        """
        return await self.on_disk(lambda: self._draw(number, edge_px))

    async def on_disk(self, work: Callable[[], T]) -> T:
        """Run work that reads the library in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _encode_texts(self, texts: Sequence[str]) -> dict[str, Floats]:
        """The features of texts, those of earlier queries from memory."""
        if any(not text.strip() for text in texts):
            raise BadRequest("a text of the query is empty")
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            encoded = await self._engine.on_texts(lambda: self._engine.model.encode_texts(new))
            self._texts.update(zip(new, encoded, strict=True))
        found = {text: self._texts[text] for text in texts}
        for text in found:
            self._texts.move_to_end(text)
        while len(self._texts) > _MOST_TEXTS:
            self._texts.popitem(last=False)
        return found

    def _document(
        self,
        parts: Sequence[_Part],
        uploads: Mapping[int, Floats],
        without: Sequence[_Part],
        texts: Mapping[str, Floats],
        options: SearchOptions,
        filters: Filters,
        balanced: bool,
    ) -> Row:
        library = self.current()
        terms, about = [], []
        for index, part in enumerate(parts):
            if part.kind == "text":
                terms.append(Term("vector", texts[part.value], part.weight, "text"))
                shown = part.value
            elif part.kind == "image":
                terms.append(Term("vector", uploads[index], part.weight))
                shown = part.value.path
            else:
                image, features = _indexed(library, part.value)
                terms.append(Term("vector", features, part.weight))
                shown = image.path
            about.append({"kind": "text" if part.kind == "text" else "image", "value": shown, "weight": part.weight})
        left_out = tuple(Term("vector", texts[part.value], 1.0, "text") for part in without)
        about += [{"kind": "text", "value": part.value, "weight": 0} for part in without]
        query = as_query(Query(tuple(terms), left_out, balanced))
        try:
            with single_threaded_products():  # the engine may have the other cores, and waiting for them takes longer
                hits = library.search(query, options=options, filters=filters)
            counts = self._count(library)
        except UsageError:
            raise
        except (ClipError, OSError) as error:
            hint = error.hint if isinstance(error, ClipError) else None
            raise LibraryUnavailable(str(error), hint) from error
        return {
            "schema": SCHEMA,
            "run": {**library.describe(), "query": about},
            "results": [_row(hit) for hit in hits],
            "summary": {"hits": len(hits), "searched": counts.images, "failed": counts.failed},
        }

    def _count(self, library: Library) -> Counts:
        """The counts of the library; computed again only if its table has changed."""
        stamp = FileStamp.of(self._folder / table.FILE_NAME)
        if self._counted is None or self._counted[0] != stamp or not stamp.settled:
            self._counted = stamp, library.counts()
        return self._counted[1]

    def _draw(self, number: int, edge_px: int) -> bytes:
        library = self.current()
        image, _ = _indexed(library, number)
        options = replace(library.model.options.decode, exact=False)
        try:
            decoded = decode(ImageSource(image.path), options, (edge_px, edge_px))
        except ImageError as error:
            raise BadRequest(f"image {number} cannot be shown: {error}", status=404) from error
        decoded.thumbnail((edge_px, edge_px))
        data = io.BytesIO()
        decoded.save(data, "JPEG", quality=80)
        return data.getvalue()


def _parts(fields: Mapping[str, Any], images: Sequence[ImageSource]) -> list[_Part]:
    """The parts of a query in the order in which they were sent.

    Raises:
        BadRequest: One is not understood.
    """
    parts = [_Part("text", text) for text in fields.get("text", ())]
    for number, term in enumerate(fields.get("terms", ())):
        given = read_fields(_TERM_FIELDS, term, is_form=False)
        kind, value = given.get("kind", "text"), given.get("value")
        if value is None or (kind == "id") != isinstance(value, int):
            raise BadRequest(f"value of a part of the kind {kind} is missing or not valid")
        if kind == "image":
            value = ImageSource(f"image {number}", data=decode_image(value))
        parts.append(_Part(kind, value, given.get("weight", 1.0)))
    return [*parts, *(_Part("image", image) for image in images)]


def _options(fields: Mapping[str, Any]) -> SearchOptions:
    top = fields.get("top", 20)
    if not 1 <= top <= _MOST_HITS:
        raise BadRequest(f"top must be between 1 and {_MOST_HITS}")
    return SearchOptions(top, fields.get("skip", 0), fields.get("threshold"), fields.get("min_z"))


def _filters(fields: Mapping[str, Any]) -> Filters:
    lists = fields.get("only", ()), fields.get("exclude", ())
    return Filters(fields.get("after"), fields.get("before"), *lists, (), fields.get("include_self", False))


def _indexed(library: Library, number: int) -> tuple[ImageRow, Floats]:
    """An image of the library by its number, and its features (P,).

    Raises:
        BadRequest: There is none.
    """
    with library.store.snapshot() as snapshot:
        image = row_of_id(snapshot.db, number)
        if image is None or image.slot is None or image.slot >= len(snapshot.matrix):
            raise BadRequest(f"the library has no image {number}", status=404)
        return image, np.array(snapshot.matrix[image.slot])


def _row(hit: Hit) -> Row:
    row = asdict(hit)
    return {"path": row.pop("path"), "status": "ok", **row}
