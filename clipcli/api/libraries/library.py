"""`Library`: the images of some folders, for search and for finding duplicates."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipcli.answers import search as answers
from clipcli.answers.search import SearchOptions
from clipcli.api.libraries.find import Asked, find
from clipcli.api.libraries.query import Filters, Query, Term, cached_texts, digests_of, encode_terms
from clipcli.errors import ClipError, UsageError
from clipcli.library.index.approximate import AbsentIndex, Approximate, Facts, NoIndex
from clipcli.library.index.description import Description, ModelIdentity
from clipcli.library.index.places import is_below, library_folder, usual_name
from clipcli.library.index.store import Counts, Snapshot, Store
from clipcli.progress import Progress, unobserved
from clipcli.results import Hit
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.api.libraries.twins import Cluster, Twins
    from clipcli.api.model import Model
    from clipcli.images.find import ImageSource
    from clipcli.labels.label_set import LabelSet
    from clipcli.library.index.update import EncodedFile, Event, Updated
# Recall is then measured to within about two percent.
_MEASURED_TEXTS = 200


class Library:
    """The features of the images of some folders, stored in a folder of their own.

        library = clipcli.Library.create("~/photos", model="vit-b32")
        library.update()
        for hit in library.search("a dog on a beach"):
            print(hit.path, hit.cosine, hit.z)

    Args:
        store: The library's files.
        model: A function that opens the model when it is first needed.
        cache: Look for texts of queries in the feature cache before the model is opened.

    Attributes:
        index_problem: Why the last search did not use the approximate index that the library has.
    """

    def __init__(self, store: Store, model: "Callable[[], Model]", *, cache: bool = True) -> None:
        self.store = store
        self._uses_cache = cache
        self._open_model = model
        self._model: Model | None = None
        self.index_problem: ClipError | None = None

    @classmethod
    def open(cls, name: str | os.PathLike[str], *, model: "Model | str | None" = None) -> "Library":
        """Open a library.

        Args:
            name: Its name, or a path to it.
            model: The model that made it; by default it is loaded when it is first needed.

        Raises:
            ClipError: The library does not exist or cannot be read.
        """
        store = Store(library_folder(os.fspath(name)))
        return cls(store, _opener(model, store.description.model))

    @classmethod
    def create(
        cls,
        *folders: str | os.PathLike[str],
        model: "Model | str",
        name: str | os.PathLike[str] | None = None,
        exclude: Sequence[str] = (),
        include_hidden: bool = False,
        follow_symlinks: bool = False,
    ) -> "Library":
        """Make an empty library; `update` fills it.

        Args:
            folders: The folders to index.
            model: The model that computes its features, now and in later updates.
            name: Its name, or a path for it; by default a name derived from the folders' names.
            exclude: Globs of names or whole paths to leave out.
            include_hidden: Include hidden files and folders.
            follow_symlinks: Walk into linked folders.

        Raises:
            UsageError: No folder is given, or one does not exist.
            ClipError: A library of this name exists already, or it cannot be written.
        """
        roots = covered_folders([os.fspath(folder) for folder in folders])
        opened = _opener(model, None)()
        description = Description(
            identity_of(opened),
            opened.checkpoint.config.projection_dim,
            roots,
            tuple(exclude),
            include_hidden,
            follow_symlinks,
        )
        return cls(Store.create(library_folder(os.fspath(name or usual_name(*roots))), description), lambda: opened)

    def __repr__(self) -> str:
        """The library's folder and its model."""
        return f"<clipcli library {self.store.folder}: {self.store.description.model.name}>"

    @property
    def folder(self) -> Path:
        """The library's folder."""
        return self.store.folder

    @property
    def model(self) -> "Model":
        """The model, opened on first use.

        Raises:
            ModelError: It is missing, or differs from the one that made the library.
        """
        if self._model is None:
            model = self._open_model()
            self.store.description.require_model(identity_of(model), self.store.folder.name)
            self._model = model
        return self._model

    def describe(self) -> dict[str, str | None]:
        """The description of the library in results."""
        from clipcli import __version__

        model = self.store.description.model
        return {
            "version": __version__,
            "model": model.name,
            "revision": model.revision,
            "dtype": model.precision,
            "library": str(self.folder),
        }

    def counts(self) -> Counts:
        """Count its images."""
        return self.store.counts()

    def update(self, *, prune: bool = False, retry: bool = False) -> "Updated":
        """Update it to match its folders; returns how many images were added, renamed, removed and so on.

        Args:
            prune: Remove images from the library even if a whole folder seems to be empty or missing.
            retry: Try failed images again.
        """
        from clipcli.library.index.update import Updated

        end = Updated()
        for event in self.iter_update(prune=prune, retry=retry):
            if isinstance(event, Updated):
                end = event
        return end

    def iter_update(self, *, prune: bool = False, retry: bool = False) -> "Iterator[Event]":
        """Update it, and yield an event for each step; a batch is on disk when its event is yielded."""
        from clipcli.library.index.update import update

        return update(self.store, self._encode, prune=prune, retry=retry)

    def search(
        self,
        query: str | Term | Iterable[Term] | Query,
        *,
        options: SearchOptions | None = None,
        filters: Filters | None = None,
    ) -> list[Hit]:
        """Find the images that fit a query, best first.

        Args:
            query: A text, or terms such as `Term("text", "a car")`, `Term("image", "car.jpg", 0.5)` and
                `Term("text", "red", -1)`.
            options: How many hits, and their least cosine and `z`.
            filters: Which images may be hits; `z` is always computed over all images.

        Raises:
            ModelError: The model is missing, or differs from the one that made the library.
            ImageError: An image of the query cannot be used.
        """
        query, options, filters = as_query(query), options or SearchOptions(), filters or Filters()
        parts = self._encode_terms((*query.terms, *query.without), self.store.description.dimensions)
        digests = [] if filters.include_self else digests_of(query.terms)
        asked = Asked(parts[: len(query.terms)], parts[len(query.terms) :], digests, filters, options, query.balanced)
        with self.store.snapshot() as snapshot:
            index = None if options.exact else self._approximate(snapshot)
            return find(snapshot, asked, index)

    def build_index(self, *, on_progress: Progress = unobserved) -> Facts:
        """Build an approximate index, which searches then use: for libraries of millions of images.

        Images added later are compared exactly, so the index need not be built again after each update.

        Args:
            on_progress: Called with the number of images in the index and the total.

        Returns:
            How many images it covers, and the share of the 10 best images that it finds, for texts and for images.

        Raises:
            UsageError: usearch is not installed (`pip install 'clipcli[index]'`).
            ClipError: It cannot be written.
        """
        return self.store.build_approximate(
            self.model.encode_texts(_common_texts(self.store.description.model)), on_progress
        )

    def remove_index(self) -> bool:
        """Delete the approximate index; returns whether there was one."""
        return self.store.remove_approximate()

    def _approximate(self, snapshot: Snapshot) -> Approximate | None:
        """The approximate index, if the library has one that fits; `index_problem` says why one is not used."""
        self.index_problem = None
        try:
            index = self.store.approximate(snapshot)
        except AbsentIndex:
            return None
        except (NoIndex, UsageError) as error:
            self.index_problem = error
            return None
        return index

    def duplicates(
        self,
        level: str = "copy",
        *,
        threshold: float | None = None,
        reference: str | os.PathLike[str] | None = None,
        keep: Sequence[str] | None = None,
        under: Sequence[str | os.PathLike[str]] = (),
        on_progress: Progress = unobserved,
    ) -> "list[Twins]":
        """Group identical or similar images; nothing is deleted.

        Args:
            level: `bytes` (the same file), `pixels` (the same image), `copy` (scaled, cropped, edited a little,
                mirrored), or `similar` (by features alone).
            threshold: Largest distance of a copy, least cosine of similar images.
            reference: A folder whose images are preferred as the ones to keep.
            keep: Rules for the image to keep, the most important first (`library.index.keep.RULES`).
            under: Only images in these folders; by default all images.
            on_progress: Called with the number of images processed and the total.
        """
        from clipcli.api.libraries.twins import find_twins

        folders = [os.path.realpath(os.path.expanduser(folder)) for folder in under]
        return find_twins(self.store, level, threshold, reference, keep, folders, on_progress)

    def clusters(
        self, count: int, labels: "LabelSet | None" = None, *, templates: Sequence[str] | None = None
    ) -> "list[Cluster]":
        """Divide all images into groups by content, the largest first.

        Args:
            count: How many groups.
            labels: Name each group by the label that fits its center best.
            templates: Replace the label set's own.
        """
        from clipcli.api.judges import label_cosines
        from clipcli.api.libraries.twins import find_clusters

        names = None if labels is None else (labels.names, label_cosines(self.model, labels, templates))
        return find_clusters(self.store, count, names)

    def _encode_terms(self, terms: Sequence[Term], dimensions: int) -> list[answers.QueryPart]:
        """Encode the terms of a query; the model is not opened if all of them are cached texts."""
        cached = cached_texts(terms, self.store.description.model) if self._uses_cache else None
        return encode_terms(terms, dimensions, cached, lambda: self.model)

    def features(self) -> tuple[Floats, list[str]]:
        """The features of all images, (N, D), and their paths in the same order."""
        with self.store.snapshot() as snapshot:
            slots = snapshot.live_slots
            return np.array(snapshot.matrix[slots]), [image.path for image in snapshot.images(slots.tolist())]

    def _encode(self, sources: "Iterator[ImageSource]") -> "Iterator[list[EncodedFile]]":
        from clipcli.features.reader import Failed
        from clipcli.library.index.update import EncodedFile

        for batch in self.model.image_features(sources):
            yield [
                EncodedFile(item.source.path, None, error=str(item.error))
                if isinstance(item, Failed)
                else EncodedFile(
                    item.source.path,
                    item.features,
                    digest=item.mark.digest if item.mark else None,
                    stamp=item.mark.stamp if item.mark else None,
                )
                for item in batch
            ]


def as_query(query: str | Term | Iterable[Term] | Query) -> Query:
    """Convert a text, a list of terms or a query to a query.

    Raises:
        UsageError: There are no terms.
    """
    if isinstance(query, str):
        query = Term("text", query)
    if isinstance(query, Term):
        query = [query]
    query = query if isinstance(query, Query) else Query(tuple(query))
    if not any(term.weight > 0 for term in query.terms):
        raise UsageError("the query is empty", hint="add a text or an image that is not subtracted")
    return query


def identity_of(model: "Model") -> ModelIdentity:
    """The identity of a model as a library stores it."""
    from clipcli.api.languages import spoken_languages

    name = model.checkpoint.id
    encoders = model.encoders
    return ModelIdentity(
        os.path.abspath(name) if model.checkpoint.files.source == "folder" else name,
        model.checkpoint.files.revision,
        encoders.digest,
        encoders.preparation.digest,
        encoders.placement.dtype,
        encoders.checkpoint.tokenizer_digest if model.checkpoint.config.text is not None else None,
        encoders.placement.text_numerics,
        tuple(sorted(spoken_languages(name, model.checkpoint.config.family))),
    )


def covered_folders(folders: Sequence[str]) -> tuple[str, ...]:
    """Folders as a library stores them: absolute, with links resolved, none inside another.

    Raises:
        UsageError: The list is empty, or one is not a folder.
    """
    if not folders:
        raise UsageError("no folder is named", hint="name the folders whose images belong to the library")
    found = []
    for folder in folders:
        path = os.path.realpath(os.path.expanduser(folder))
        if not os.path.isdir(path):
            raise UsageError(f"{folder} is not a folder", hint="a library covers folders; name one that exists")
        found.append(path)
    return tuple(path for path in dict.fromkeys(found) if not any(p != path and is_below(path, p) for p in found))


def _common_texts(model: ModelIdentity) -> list[str]:
    """Common queries in a language that the model supports, to measure an index with."""
    from clipcli import demo
    from clipcli.hub.registry import DEMO
    from clipcli.labels.library import find_label_set

    chinese = "zh" in model.languages and "en" not in model.languages
    names = find_label_set("photo-subjects-zh" if chinese else "photo-subjects").names
    known = [name for name in names if model.name != DEMO or not demo.unknown_words([name])]
    return known[:_MEASURED_TEXTS]


def _opener(model: "Model | str | None", identity: ModelIdentity | None) -> "Callable[[], Model]":
    from clipcli.api.load import load
    from clipcli.api.model import Model

    if isinstance(model, Model):
        return lambda: model
    if model is not None or identity is None:
        return lambda: load(model) if model is not None else load()
    return lambda: load(identity.name, revision=identity.revision)
