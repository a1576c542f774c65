"""`Model`: a checkpoint on one side, images and texts on the other, features and answers between.

It is what `clipcli.load` gives Python users and what every command runs on. Networks are loaded when a feature is first
needed, each tower by itself; torch is imported then and not before.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from clipcli import hub
from clipcli.answers.classify import ClassifyOptions
from clipcli.answers.tag import TagOptions
from clipcli.api import texts as api_texts
from clipcli.api.inputs import ImageInput, image_sources, listed
from clipcli.api.judges import classifier, tagger, text_scorer
from clipcli.api.questions import answer, labels_of, no_labels, with_examples
from clipcli.checkpoints.families import FAMILIES
from clipcli.compute.checkpoint import Checkpoint
from clipcli.compute.devices import Placement
from clipcli.compute.encoders import Encoders
from clipcli.compute.options import ModelSpec, RunOptions
from clipcli.errors import UnsupportedModelError, UsageError
from clipcli.features.cache import FeatureCache, open_cache
from clipcli.features.pipeline import ImagePipeline, Result
from clipcli.features.reader import Failed, ImageReader
from clipcli.images.find import ImageSource, Pause
from clipcli.labels.label_set import LabelSet
from clipcli.labels.templates import templates_of
from clipcli.progress import Progress, unobserved
from clipcli.results import Classification, ImageTextScores, TaggedImage
from clipcli.scoring import Floats, Logits

if TYPE_CHECKING:
    from clipcli.answers.maps import ExplainOptions, Explanation
    from clipcli.api.evaluation.evaluate import Evaluated, LabelledImages
    from clipcli.api.examples import ExampleImages, Lesson
    from clipcli.networks.dual_encoder import DualEncoder


@contextmanager
def _no_progress() -> Iterator[Progress]:
    yield unobserved


class Model:
    """A checkpoint, ready to turn images and texts into features and answers.

    Args:
        files: The checkpoint.
        options: How to run it.
        text_progress: Entered while prompts are encoded; what it returns is told prompts done and prompts in all.

    Attributes:
        checkpoint: What its files say: configuration, image processor, tokenizer.
        encoders: Its towers, the devices and number formats that they run in.
        options: How it is run.
        cache: Where features are kept; it can be used by several models at once.

    Raises:
        ModelError: The checkpoint is damaged or not of a supported family.
    """

    def __init__(
        self,
        files: hub.ModelFiles,
        options: RunOptions | None = None,
        *,
        text_progress: api_texts.ProgressBar = _no_progress,
    ) -> None:
        self.options = options or RunOptions()
        self.checkpoint = Checkpoint(files, self.options.text_cleaning)
        self.cache = open_cache() if self.options.cache else FeatureCache.disabled()
        self.encoders = Encoders(self.checkpoint, self.options, self.cache)
        self._text_progress = text_progress

    def __repr__(self) -> str:
        """Name the checkpoint, its family, and where it runs: as it was asked for until that has been looked up."""
        known = vars(self.encoders).get("placement") or Placement(self.options.device, self.options.dtype)
        family = self.checkpoint.config.family
        return f"<clipcli model {self.checkpoint.id}: {family}, dtype={known.dtype}, device={known.device}>"

    @property
    def spec(self) -> ModelSpec:
        """All that it takes to build the same model in another process: `Model(spec.files, spec.options)`."""
        return ModelSpec(self.checkpoint.files, self.options)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a checkpoint with a classification head of its own, else None."""
        return self.checkpoint.class_names

    @property
    def logits(self) -> Logits:
        """How the checkpoint turns cosines into logits: a scale, and a bias where one was learned."""
        return self.encoders.logits

    def network(self, *, image: bool = True, text: bool = True) -> "DualEncoder":
        """The checkpoint's torch module, to fine-tune or to look inside; a new one at each call, in float32 on the CPU.

        Its towers are `vision_model` and `text_model`; `forward(input_ids, pixel_values, ...)` returns logits, and if
        asked the contrastive loss, hidden states and attentions. Pixels come from `checkpoint.preprocessing` (`pixels`
        of an image, `normalize` of a batch of them), token ids from `checkpoint.tokenizer.encode`.

        Args:
            image: Load the image tower.
            text: Load the text tower.
        """
        from clipcli.networks.loading import load_network

        return load_network(self.checkpoint.config, self.checkpoint.weights, image=image, text=text)

    def encode_texts(self, texts: Iterable[str], *, warn_foreign: bool = True) -> Floats:
        """Encode texts as they are, without templates.

        Args:
            texts: The texts.
            warn_foreign: Warn (`ClipWarning`) of words that the model does not understand; not for texts of our own.

        Shapes: M texts -> (M, P) float32, unit length. Warns (`ClipWarning`) once if texts were cut.
        """
        texts = listed(texts, "texts")
        if warn_foreign:
            api_texts.warn_foreign(self.checkpoint, texts, None)
        return api_texts.encode_texts(self.encoders, texts, self._text_progress)

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
        filled = self.templates_for(label_set, templates)
        return api_texts.encode_labels(self.encoders, label_set, filled, self._text_progress)

    def templates_for(self, label_set: LabelSet, templates: Sequence[str] | None = None) -> tuple[str, ...]:
        """The templates that `encode_labels` fills in."""
        given = None if templates is None else listed(templates, "templates")
        return templates_of(label_set, given, english=FAMILIES[self.checkpoint.config.family].templates)

    def encode_images(self, images: Iterable[ImageInput]) -> Floats:
        """Encode images.

        Args:
            images: Paths, PIL images, or bytes of image files.

        Shapes: N images -> (N, P) float32, unit length.

        Raises:
            UnsupportedModelError: The checkpoint has a classification head, whose numbers are not features.
            ImageError: An image cannot be used.
            TypeError: One of `images` is neither a path nor an image.
        """
        if self.class_names is not None:
            raise UnsupportedModelError(
                f"{self.checkpoint.id} has a classification head, which gives classes instead of features",
                hint="use `classify`, or a checkpoint with both towers",
            )
        rows = []
        for item in chain.from_iterable(self.image_features(image_sources(images))):
            if isinstance(item, Failed):
                raise item.error
            rows.append(item.features)
        return np.stack(rows) if rows else np.empty((0, self.checkpoint.config.projection_dim), dtype=np.float32)

    def image_features(
        self, sources: Iterable[ImageSource | Pause], *, at_hand: bool = False
    ) -> Generator[list[Result], None, None]:
        """Encode images as they come, a batch at a time, in input order; one that cannot be used is a `Failed`.

        The first images are being read when this returns: ask for it before labels are encoded.

        Args:
            sources: The images.
            at_hand: Whether an iterator has all names without waiting for any, as collections have. They can then be
                counted in advance, and a small job needs no torch.
        """
        at_hand = at_hand or isinstance(sources, Collection)
        pipeline = ImagePipeline(self.image_reader(), self.encoders, workers=self.encoders.workers)
        return pipeline.batches(sources, at_hand=at_hand)

    def image_reader(self) -> ImageReader:
        """What reads images for this model, or finds their features in the cache."""
        encoders = self.encoders
        space = encoders.image_space if self.cache.usable else None
        return ImageReader(encoders.preparation, encoders.cache, space)

    def classify(
        self,
        images: Iterable[ImageInput],
        labels: Sequence[str] | LabelSet | None = None,
        *,
        templates: Sequence[str] | None = None,
        options: ClassifyOptions | None = None,
        none_of_these: bool | str = False,
        examples: "ExampleImages | None" = None,
    ) -> list[Classification]:
        """Name what is in images. An image that cannot be used becomes a result with `error`.

        Args:
            images: Paths, PIL images, bytes of image files, or what `clipcli.find_images` finds. A result's `path` is
                the path, the `filename` of a PIL image that has one, or else `image 0` and so on.
            labels: Label names or a label set (`clipcli.find_label_set`); None for a checkpoint with a classification
                head.
            templates: Take the place of the label set's own; each holds `{}` once.
            options: How to score.
            none_of_these: Add a label for images that show none of the others; a text is its prompt.
            examples: Images that show labels, by label: files, folders and globs. They are joined with the texts.

        Raises:
            TypeError: One of `images` is neither a path nor an image.
        """
        label_set = with_examples(labels, examples)
        features = self.image_features(image_sources(images))
        judge = classifier(self, label_set, options, templates=templates, none_of_these=none_of_these)
        return _all(answer(features, judge))

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
        features = self.image_features(image_sources(images))
        return _all(answer(features, text_scorer(self, texts, options)))

    def tag(
        self,
        images: Iterable[ImageInput],
        labels: Sequence[str] | LabelSet,
        *,
        templates: Sequence[str] | None = None,
        options: TagOptions | None = None,
        examples: "ExampleImages | None" = None,
    ) -> list[TaggedImage]:
        """Give each image the labels that apply, several or none. One that cannot be used is a result with `error`.

        Args:
            images: As for `classify`.
            labels: Label names or a label set.
            templates: Take the place of the label set's own.
            options: Thresholds, and how many labels an image gets.
            examples: As for `classify`.

        Raises:
            TypeError: One of `images` is neither a path nor an image.
        """
        label_set = with_examples(labels, examples)
        features = self.image_features(image_sources(images))
        return _all(answer(features, tagger(self, label_set, options, templates=templates)))

    def explain(
        self,
        images: Iterable[ImageInput],
        labels: Sequence[str] | LabelSet,
        *,
        templates: Sequence[str] | None = None,
        options: "ExplainOptions | None" = None,
    ) -> "list[Explanation]":
        """Show where in images labels match. An image that cannot be used becomes a result with `error`.

            explanation, = model.explain(["img.jpg"], ["cat", "dog"])
            cat, dog = explanation.maps
            print(cat.cosine, (cat.left, cat.top, cat.right, cat.bottom))
            Path("img.png").write_bytes(clipcli.draw_maps(explanation))

        A map says which parts of an image look like the label's text, not why the image has its score. `cosine` says
        whether the label is there at all.

        Args:
            images: As for `classify`.
            labels: Label names or a label set.
            templates: Take the place of the label set's own.
            options: Method, quality, and how many labels get a map.

        Raises:
            UsageError: The checkpoint has a classification head.
            DeviceError: torch cannot be used.
            TypeError: One of `images` is neither a path nor an image.
        """
        from clipcli.api.explain import explain_images

        return list(explain_images(self, image_sources(images), labels_of(labels), options, templates=templates))

    def evaluate(
        self,
        images: "LabelledImages",
        labels: Sequence[str] | LabelSet | None = None,
        *,
        templates: Sequence[str] | None = None,
        temperature: float | None = None,
        split: str | None = None,
        mapping: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        ignore_unknown: bool = False,
        examples: "ExampleImages | None" = None,
    ) -> "Evaluated":
        """Say how good the answers are on images whose labels are known.

            result = model.evaluate("photos/", clipcli.find_label_set("pets"))
            print(result.figures.accuracy)        # Interval(value=0.91, low=0.88, high=0.93)

        What each figure means is in `clipcli.answers.metrics`, as functions that can be called by themselves.

        Args:
            images: A folder with one folder per label, a table (CSV, JSON Lines, Parquet) with the columns `path` and
                `label`, a mapping of paths to labels, or what `clipcli.api.evaluation.truth.read_truth` returns.
            labels: Label names or a label set; None for the names that the images have.
            templates: Take the place of the label set's own.
            temperature: Divides the logits; None for what a calibrated label set says, or else 1.
            split: Which of `train`, `validation` and `test`, where there are several.
            mapping: Other names for names of labels.
            class_names: What numbers mean, from 0, where labels are numbers.
            ignore_unknown: Leave images out whose label is not known; they are counted in `truth.unknown`.
            examples: As for `classify`. Images that are examples themselves are left out.

        Raises:
            UsageError: The images or their labels cannot be used.
            LabelSetError: The label set was calibrated for another model.
        """
        from clipcli.api.evaluation.evaluate import evaluate_images

        label_set = with_examples(labels, examples)
        return evaluate_images(
            self,
            images,
            label_set,
            templates=templates,
            temperature=temperature,
            split=split,
            mapping=mapping,
            class_names=class_names,
            ignore_unknown=ignore_unknown,
        )

    def teach(
        self,
        labels: Sequence[str] | LabelSet | None = None,
        examples: "ExampleImages | None" = None,
        *,
        templates: Sequence[str] | None = None,
    ) -> "Lesson":
        """Say what examples do for labels: how often one that was left out would be given its own label.

        Args:
            labels: Label names or a label set; None for those that `examples` names.
            examples: As for `classify`.
            templates: Take the place of the label set's own.

        Raises:
            UsageError: Fewer than two labels have examples.
            LabelSetError: A label has no example that can be used, or an image is an example of two labels.
        """
        label_set = with_examples(labels, examples)
        if label_set is None:
            raise no_labels()
        from clipcli.api.examples import learn

        return learn(self, label_set, templates)


def _all(batches: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(batches))
