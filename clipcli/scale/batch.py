"""`BatchEncoder`: features and scores in existing data pipelines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from clipcli.errors import ImageError, UsageError
from clipcli.features.reader import Failed
from clipcli.images.find import ImageSource
from clipcli.scale.inputs.shard import text_of
from clipcli.scale.questions import refuse_head
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.api.model import Model

B = TypeVar("B")


class BatchEncoder:
    """A callable that adds columns to a batch: `embedding`, `error`, and `cosine` if there are captions.

    A batch is a pandas DataFrame, an Arrow table, or a dict of numpy arrays or lists; the result has the same type. It
    can be pickled: each process builds the model at its first batch.

        encoder = clipcli.BatchEncoder("vit-b32", image_column="bytes")
        dataset.map_batches(encoder, batch_size=256)                               # Ray Data
        frame.mapInPandas(lambda frames: map(encoder, frames), schema)             # Spark
        frame.map_partitions(encoder, meta=encoder.meta(frame))                    # Dask

    Args:
        model: As for `clipcli.load`.
        image_column: Contains bytes of image files, paths, `datasets`' dicts of `bytes` and `path`, arrays of pixels
            (height, width, 3) of whole numbers from 0 to 255, or Pillow images.
        text_column: Contains each image's caption; adds `cosine`, the cosine of image and caption.
        options: As for `clipcli.load`; features are not cached.
    """

    def __init__(
        self, model: str = "vit-b32", *, image_column: str = "image", text_column: str | None = None, **options: Any
    ) -> None:
        self._arguments = (model, image_column, text_column, {"cache": False, **options})
        self._model: Model | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, never the model."""
        return _rebuild, self._arguments

    def __call__(self, batch: B) -> B:
        """Encode a batch.

        Raises:
            UsageError: A column is missing, or the batch has an unknown type.
        """
        _, image_column, text_column, _ = self._arguments
        images = _column(batch, image_column, "image_column")
        texts = None if text_column is None else _column(batch, text_column, "text_column")
        return _with(batch, self.encode(images, texts))

    def encode(self, images: Sequence[Any], texts: Sequence[Any] | None = None) -> dict[str, Any]:
        """Compute the columns of a batch.

        Shapes: N images -> `embedding` (N, P) float32, nan if an image cannot be used; `error`, N texts or None;
        `cosine` (N,) if there are captions.
        """
        model = self._loaded()
        captions: list[Any] = (
            [""] * len(images) if texts is None else [text_of(text, str(i)) for i, text in enumerate(texts)]
        )
        sources = [
            ImageSource(f"row {i}", error=caption) if isinstance(caption, ImageError) else _source(image, f"row {i}")
            for i, (image, caption) in enumerate(zip(images, captions, strict=True))
        ]
        results = [item for batch in model.image_features(iter(sources)) for item in batch]
        errors = [str(item.error) if isinstance(item, Failed) else None for item in results]
        embedding = np.full((len(results), model.checkpoint.config.projection_dim), np.nan, dtype=np.float32)
        for row, item in zip(embedding, results, strict=True):
            if not isinstance(item, Failed):
                row[:] = item.features
        columns: dict[str, Any] = {"embedding": embedding, "error": errors}
        if texts is not None:
            columns["cosine"] = _cosines(model, embedding, captions, errors)
        return columns

    def meta(self, frame: Any) -> Any:
        """An empty pandas DataFrame with the columns of the result, which Dask needs."""
        empty = frame._meta.copy() if hasattr(frame, "_meta") else frame.iloc[:0].copy()
        empty["embedding"], empty["error"] = np.array([], dtype=object), np.array([], dtype=object)
        if self._arguments[2] is not None:
            empty["cosine"] = np.array([], dtype=np.float32)
        return empty

    def _loaded(self) -> "Model":
        if self._model is None:
            from clipcli.api.load import load

            name, _, _, options = self._arguments
            self._model = load(name, **options)
            refuse_head(self._model)
        return self._model


def _rebuild(model: str, image_column: str, text_column: str | None, options: Mapping[str, Any]) -> BatchEncoder:
    return BatchEncoder(model, image_column=image_column, text_column=text_column, **options)


def _cosines(model: "Model", embedding: Floats, captions: Sequence[Any], errors: Sequence[str | None]) -> Floats:
    distinct = sorted({caption for caption, error in zip(captions, errors, strict=True) if error is None})
    places = {caption: i for i, caption in enumerate(distinct)}
    texts = model.encode_texts(distinct, warn_foreign=False)
    cosines = np.full(len(errors), np.nan, dtype=np.float32)
    for i, (caption, error) in enumerate(zip(captions, errors, strict=True)):
        if error is None:
            cosines[i] = embedding[i] @ texts[places[caption]]
    return cosines


def _source(value: Any, name: str) -> ImageSource:
    """The source of an image in a batch."""
    if isinstance(value, Mapping):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return ImageSource(name, data=bytes(value))
    if isinstance(value, str):
        return ImageSource(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        from PIL import Image

        return ImageSource(name, image=Image.fromarray(value))
    if hasattr(value, "convert"):
        return ImageSource(name, image=value)
    from clipcli.errors import MissingFile

    return ImageSource(name, error=MissingFile(f"{name}: expected an image, got {type(value).__name__}"))


def _column(batch: Any, name: str, what: str) -> Sequence[Any]:
    names = list(batch.column_names if hasattr(batch, "column_names") else batch)
    if name not in names:
        raise UsageError(
            f"no column {name!r}", hint=f"there are: {', '.join(map(str, names))}", parameter=what, value=name
        )
    column = batch[name]
    return cast(Sequence[Any], column.to_pylist() if hasattr(column, "to_pylist") else list(column))


def _with(batch: B, columns: Mapping[str, Any]) -> B:
    """The batch with more columns."""
    if hasattr(batch, "append_column"):  # Arrow
        import pyarrow as arrow

        table: Any = batch
        for name, values in columns.items():
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, _arrow(values, columns["error"], arrow))
        return cast(B, table)
    if hasattr(batch, "assign"):  # pandas
        return cast(B, batch.assign(**{name: _listed(values) for name, values in columns.items()}))
    arrays = {name: np.array(values, dtype=object) if name == "error" else values for name, values in columns.items()}
    return cast(B, {**cast(Mapping[str, Any], batch), **arrays})


def _arrow(values: Any, errors: Sequence[str | None], arrow: Any) -> Any:
    """An Arrow column in which failed rows are null."""
    if not isinstance(values, np.ndarray):
        return arrow.array(values, arrow.string())
    mask = np.array([error is not None for error in errors], dtype=bool)
    if values.ndim == 1:
        return arrow.array(values, mask=mask)
    flat = arrow.array(values.reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=arrow.array(mask))


def _listed(values: Any) -> Iterable[Any]:
    return list(values) if isinstance(values, np.ndarray) and values.ndim > 1 else values
