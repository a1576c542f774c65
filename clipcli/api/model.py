"""The engine that joins the rooms: a checkpoint on one side, images and texts on the other, features between.

`Model` is what `clipcli.load` gives Python users and what every command runs on. Networks are loaded when a feature
is first needed, each tower by itself; torch is imported then and not before.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from clipcli import hub
from clipcli.answers.classify import ClassifyOptions, LabelClassifier, score_texts
from clipcli.answers.tag import Tagger
from clipcli.api.inputs import ImageInput, image_sources, listed
from clipcli.api.languages import language_warning
from clipcli.api.parts import ModelParts, RunOptions, read_batch_size
from clipcli.api.questions import head_classifier, labels_of, none_label, parent_groups
from clipcli.compute.devices import Placement, import_torch_ahead
from clipcli.errors import ImageError, UnsupportedModelError, UsageError, warn
from clipcli.features.cache import FeatureSpace
from clipcli.features.labels import LabelEncoder, LabelFeature, ProgressCallback, name_prompt, warn_cut
from clipcli.features.pipeline import ImageFeatures, ImagePipeline, Pixels
from clipcli.features.reader import ImageReader, MarkingReader, RememberingReader, read_ahead
from clipcli.foreign.convert import resolve_model
from clipcli.images.decode import DecodeOptions
from clipcli.images.find import ImageSource
from clipcli.images.read import read_pixels
from clipcli.labels.expand import expand
from clipcli.labels.label_set import LabelSet, clean_templates
from clipcli.labels.templates import default_templates
from clipcli.results import Classification, Failure, ImageTextScores, TaggedImage
from clipcli.scoring import Floats
from clipcli.text.tokenizer import tokenizer_digest

if TYPE_CHECKING:
    import torch


@contextmanager
def _no_progress() -> Iterator[ProgressCallback]:
    yield lambda done, total: None


class Model(ModelParts):
    """A checkpoint, ready to turn images and texts into features and answers."""

    def __init__(
        self,
        files: hub.ModelFiles,
        options: RunOptions | None = None,
        *,
        text_progress: Callable[[], AbstractContextManager[ProgressCallback]] = _no_progress,
    ) -> None:
        """Read the configuration; weights are read when first needed.

        Args:
            files: The checkpoint.
            options: How to run it.
            text_progress: Entered while prompts are encoded; what it gives is told prompts done and prompts in all.

        Raises:
            ModelError: The checkpoint is damaged or not of a supported family.
        """
        super().__init__(files, options)
        self._text_progress = text_progress

    def __repr__(self) -> str:
        """Name the checkpoint, its family, and where it runs: as it was asked for until that has been looked up."""
        known = vars(self).get("placement") or Placement(self.options.device, self.options.dtype)
        return f"<clipcli model {self.files.id}: {self.config.family}, dtype={known.dtype}, device={known.device}>"

    def encode_texts(self, texts: Iterable[str], *, warn_foreign: bool = True) -> Floats:
        """Encode texts as they are, without templates.

        Args:
            texts: The texts.
            warn_foreign: Warn (`ClipWarning`) of words that the model does not understand; not for texts of our own.

        Shapes: M texts -> (M, P) float32, unit length. Warns (`ClipWarning`) once if texts were cut.
        """
        texts = listed(texts, "texts")
        if warn_foreign:
            self._warn_foreign(texts, None)
        with self._text_progress() as on_progress:
            encoded = self._label_encoder(on_progress).features([(text,) for text in texts])
        warn_cut([f"text {text!r}" for text in texts], encoded, self.text_config().context_length)
        return self._stacked(encoded)

    def encode_labels(self, label_set: LabelSet, templates: Sequence[str] | None = None) -> Floats:
        """Encode labels through templates and average the prompts of each.

        Args:
            label_set: The labels.
            templates: Take the place of the label set's own; without either, the default for its language.

        Shapes: C labels -> (C, P) float32, unit length. Warns (`ClipWarning`) once if prompts were cut.
        Source: arXiv:2103.00020, section 3.1.4.

        Raises:
            LabelSetError: Two labels become the same tokens.
        """
        self._warn_foreign([" ".join(label.prompts) for label in label_set.labels], label_set.language)
        templates = self.templates_for(label_set, templates)
        prompts = expand(label_set, templates).by_label
        with self._text_progress() as on_progress:
            encoded = self._label_encoder(on_progress).features(prompts, label_set.names)
        what = [
            name_prompt(label, texts[feature.cut or 0], templates)
            for label, texts, feature in zip(label_set.labels, prompts, encoded, strict=True)
        ]
        warn_cut(what, encoded, self.text_config().context_length)
        return self._stacked(encoded)

    def templates_for(self, label_set: LabelSet, templates: Sequence[str] | None = None) -> tuple[str, ...]:
        """The templates that `encode_labels` fills in."""
        if templates is not None:
            return clean_templates(listed(templates, "templates"))
        return label_set.templates or default_templates(label_set)

    def encode_images(self, images: Iterable[ImageInput]) -> Floats:
        """Encode images.

        Args:
            images: Paths, PIL images, or bytes of image files.

        Shapes: N images -> (N, P) float32, unit length.

        Raises:
            UnsupportedModelError: The checkpoint has a classification head, whose numbers are no features.
            ImageError: An image cannot be used.
            TypeError: One of `images` is neither a path nor an image.
        """
        if self.class_names is not None:
            raise UnsupportedModelError(
                f"{self.files.id} has a classification head, which gives classes instead of features",
                hint="use `classify`, or a checkpoint with both towers",
            )
        rows = []
        for item in self.iter_image_features(image_sources(images)):
            if item.features is None:
                raise item.error or ImageError(item.source.path)
            rows.append(item.features)
        return np.stack(rows) if rows else np.empty((0, self.config.projection_dim), dtype=np.float32)

    def iter_image_features(self, sources: Iterable[ImageSource]) -> Iterator[ImageFeatures]:
        """Encode images as they come, in input order; a bad one gives an error instead of features."""
        return chain.from_iterable(self.iter_image_feature_batches(sources))

    def iter_image_feature_batches(self, sources: Iterable[ImageSource]) -> Generator[list[ImageFeatures], None, None]:
        """Encode images as they come, a batch at a time."""
        self.preprocessing  # noqa: B018 - a damaged checkpoint is reported before the first image is read
        pipeline = ImagePipeline(self._image_reader(), lambda: self.image_encoder, workers=self.workers)
        yield from pipeline.batches(iter(sources))

    def read_ahead(self, sources: Iterator[ImageSource]) -> Iterator[ImageSource]:
        """Begin to read the first images while torch is imported and labels are encoded.

        Give what comes back to one of the `iter` methods. Not for names or bytes that someone may yet have to write:
        the first are taken now. Whether an image is remembered cannot be told until torch has said what `auto` means;
        if it never has, the first images are read without looking.
        """
        self.preprocessing  # noqa: B018 - as in `iter_image_feature_batches`
        if self.remembered_placement is None:
            import_torch_ahead()
        untold = self.cache.usable and self.remembered_placement is None
        reader = MarkingReader(self._read_pixels) if untold else self._image_reader()
        return read_ahead(sources, reader, self.workers)

    def classifier(
        self,
        label_set: LabelSet | None,
        options: ClassifyOptions,
        *,
        templates: Sequence[str] | None = None,
        none_of_these: bool | str = False,
        depth: int | None = None,
    ) -> LabelClassifier:
        """Prepare a question: the labels encoded, ready to be compared with features of images.

        Args:
            label_set: The labels; None for the classes of a checkpoint with a classification head.
            options: How to score.
            templates: Take the place of the label set's own.
            none_of_these: Add a label for images that show none of the others; a text words it.
            depth: Sum the scores of hierarchical labels into their parents at this depth.

        Raises:
            UsageError: Options that do not go together.
            LabelSetError: No labels, and the checkpoint has none of its own.
        """
        if label_set is None or self.class_names is not None:
            asked = {"templates": templates, "--none-of-these": none_of_these or None, "--depth": depth}
            given = [name for name in asked if asked[name] is not None]
            return head_classifier(self.files.id, self.class_names, label_set, options, given)
        none = none_label(label_set, none_of_these)
        if none is not None:
            label_set = replace(label_set, labels=(*label_set.labels, none), none=None)
        return LabelClassifier(
            label_set.names,
            self.encode_labels(label_set, templates),
            self.logit_scale,
            options,
            none_label=none.name if none else None,
            groups=None if depth is None else parent_groups(label_set, none, depth, options),
        )

    def iter_classify(
        self, sources: Iterable[ImageSource], classifier: LabelClassifier
    ) -> Generator[list[Classification], None, None]:
        """Classify images as they come, a batch at a time, in input order."""
        judge = classifier.classify if self.class_names is None else classifier.classify_logits
        for batch in self.iter_image_feature_batches(sources):
            yield [
                judge(item.source.path, item.features)
                if item.features is not None
                else Classification(item.source.path, error=_failure(item))
                for item in batch
            ]

    def classify(
        self,
        images: Iterable[ImageInput],
        labels: Sequence[str] | LabelSet | None = None,
        *,
        templates: Sequence[str] | None = None,
        options: ClassifyOptions | None = None,
        none_of_these: bool | str = False,
    ) -> list[Classification]:
        """Name what is on images. An image that cannot be used becomes a result with `error`.

        Args:
            images: Paths, PIL images, or bytes of image files. A result's `path` is the path, the `filename` of a PIL
                image that has one, or else `image 0` and so on.
            labels: Label names or a label set; None for a checkpoint with a classification head.
            templates: Take the place of the label set's own; each holds `{}` once.
            options: How to score.
            none_of_these: Add a label for images that show none of the others; a text words it.

        Raises:
            TypeError: One of `images` is neither a path nor an image.
        """
        sources = image_sources(images)
        label_set = labels if labels is None or isinstance(labels, LabelSet) else labels_of(labels)
        classifier = self.classifier(
            label_set, options or ClassifyOptions(), templates=templates, none_of_these=none_of_these
        )
        return list(chain.from_iterable(self.iter_classify(sources, classifier)))

    def iter_score(
        self, sources: Iterable[ImageSource], texts: Iterable[str], options: ClassifyOptions
    ) -> Generator[list[ImageTextScores], None, None]:
        """Compare images with texts as they come, a batch at a time, in input order."""
        texts = listed(texts, "texts")
        text_features, scale = self.encode_texts(texts), self.logit_scale
        for batch in self.iter_image_feature_batches(sources):
            yield [
                score_texts(item.source.path, texts, item.features, text_features, scale, options)
                if item.features is not None
                else ImageTextScores(item.source.path, error=_failure(item))
                for item in batch
            ]

    def iter_tag(self, sources: Iterable[ImageSource], tagger: Tagger) -> Generator[list[TaggedImage], None, None]:
        """Tag images as they come, a batch at a time, in input order."""
        for batch in self.iter_image_feature_batches(sources):
            yield [
                tagger.tag(item.source.path, item.features)
                if item.features is not None
                else TaggedImage(item.source.path, error=_failure(item))
                for item in batch
            ]

    def score(
        self, images: Iterable[ImageInput], texts: Iterable[str], options: ClassifyOptions | None = None
    ) -> list[ImageTextScores]:
        """Compare every image with every text. An image that cannot be used becomes a result with `error`.

        Args:
            images: As for `classify`.
            texts: The texts.
            options: How to score.

        Raises:
            UsageError: There is no text.
            TypeError: One of `images` is neither a path nor an image.
        """
        texts = listed(texts, "texts")
        if not texts:
            raise UsageError("no text is given", hint="give a list of one text or more")
        batches = self.iter_score(image_sources(images), texts, options or ClassifyOptions())
        return list(chain.from_iterable(batches))

    def _label_encoder(self, on_progress: ProgressCallback) -> LabelEncoder:
        return LabelEncoder(self.cache, self._text_space, lambda: self.tokenizer, self._encode_ids, on_progress)

    def _text_space(self) -> FeatureSpace:
        length = self.text_config().context_length
        tokens = tokenizer_digest(self.files.folder, self.config.family, context_length=length)
        return FeatureSpace("text", self.checkpoint_digest, tokens, self.placement.text_numerics)

    def _encode_ids(self, ids: Sequence[tuple[int, ...]], on_progress: ProgressCallback) -> Floats:
        return self.checked(self.text_encoder.encode(ids, on_progress))

    def _stacked(self, encoded: Sequence[LabelFeature]) -> Floats:
        empty = np.empty((0, self.config.projection_dim), dtype=np.float32)
        return np.stack([label.features for label in encoded]) if encoded else empty

    def _image_reader(self) -> ImageReader:
        if not self.cache.usable:
            return ImageReader(self._read_pixels)
        decoding = self.options.decode
        # Not its limit on pixels, which decides whether an image is read, never how.
        preparation = f"{self.preprocessing.digest} {decoding.exif} {decoding.alpha} {decoding.exact}"
        space = FeatureSpace("image", self.checkpoint_digest, preparation, self.placement.numerics)
        return RememberingReader(self._read_pixels, self.cache, space)

    def _read_pixels(self, source: ImageSource) -> Pixels:
        return read_pixels(source, self.options.decode, self.preprocessing)

    def _warn_foreign(self, texts: Sequence[str], language: str | None) -> None:
        warning = language_warning(texts, language, self.files.id, self.config.family)
        if warning:
            warn(warning)


def load(
    name: str | os.PathLike[str] = hub.DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: "str | torch.device" = "auto",
    dtype: "str | torch.dtype" = "auto",
    batch_size: int | Literal["auto"] | None = None,
    workers: int | None = None,
    offline: bool = False,
    cache: bool = True,
    exact_decode: bool = False,
) -> Model:
    """Find a checkpoint by id, alias, folder or file and make it ready.

    Every argument is what the command's option of its name is, with the same default; only `clip models default` is not
    asked, so that a script means the same model everywhere. Features that the command has remembered are found, and
    images much larger than the model's input are decoded and scaled the fast way (a cosine above 0.999 with the exact
    features); `exact_decode` gives the pixels of `transformers`.

    Args:
        name: What `--model` takes, as text; a `Path` is always that of a folder or file.
        revision: A branch, tag or commit of a hub model.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `cuda:all` or `mps`, or torch's own.
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`, or torch's own.
        batch_size: Images a batch; None and `auto` choose.
        workers: Threads that decode; None chooses.
        offline: Never fetch.
        cache: Read and write remembered features.
        exact_decode: Always decode and scale the whole image.

    Raises:
        UsageError: An argument is not known.
        ModelError: The checkpoint is missing, damaged or not supported.
    """
    options = RunOptions(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        batch_size=None if batch_size is None else read_batch_size(str(batch_size)),
        workers=workers,
        decode=DecodeOptions(exact=exact_decode),
        cache=cache,
    )
    name = name if isinstance(name, str) else os.path.abspath(os.path.expanduser(name))
    return Model(resolve_model(name, revision=revision, offline=offline), options)


def _failure(item: ImageFeatures) -> Failure:
    return Failure.from_error(item.error or ImageError(item.source.path))
