"""`Model`: computes features and answers for images and texts with a checkpoint.

`clipcli.load` returns one, and every command uses one. Each tower is loaded when its first feature is needed; torch is
not imported before that.
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
        options: How to run the model.
        text_progress: A context entered while prompts are encoded; the function it returns is called with the number of
            prompts done and the total.

    Attributes:
        checkpoint: What its files say: configuration, image processor, tokenizer.
        encoders: Its towers, the devices and number formats that they run in.
        options: How it is run.
        cache: The feature cache; several models can share one.

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
        """The checkpoint, its family, and its device: as requested until it has been resolved."""
        known = vars(self.encoders).get("placement") or Placement(self.options.device, self.options.dtype)
        family = self.checkpoint.config.family
        return f"<clipcli model {self.checkpoint.id}: {family}, dtype={known.dtype}, device={known.device}>"

    @property
    def spec(self) -> ModelSpec:
        """What another process needs to build the same model: `Model(spec.files, spec.options)`."""
        return ModelSpec(self.checkpoint.files, self.options)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of a checkpoint with a classification head of its own, else None."""
        return self.checkpoint.class_names

    @property
    def logits(self) -> Logits:
        """How the checkpoint turns cosines into logits: a scale, and a bias if one was learned."""
        return self.encoders.logits

    def network(self, *, image: bool = True, text: bool = True) -> "DualEncoder":
        """The checkpoint's torch module, to fine-tune or inspect; a new one at each call, in float32 on the CPU.

        Its towers are `vision_model` and `text_model`; `forward(input_ids, pixel_values, ...)` returns logits, and on
        request the contrastive loss, hidden states and attentions. Pixels come from `checkpoint.preprocessing`
        (`pixels` of an image, `normalize` of a batch of them), token ids from `checkpoint.tokenizer.encode`.

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
            warn_foreign: Warn (`ClipWarning`) about words that the model does not understand; false for built-in texts.

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
            templates: Replace the label set's own; without either, the default for its language.

        Shapes: C labels -> (C, P) float32, unit length. Warns (`ClipWarning`) once if prompts were cut.
        Source: arXiv:2103.00020, section 3.1.4.

        Raises:
            LabelSetError: Two labels have the same tokens.
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

        Reading starts at once in the background: call it before labels are encoded.

        Args:
            sources: The images.
            at_hand: Whether an iterator yields all names without waiting. They are then counted in advance, and a small
                job needs no torch.
        """
        at_hand = at_hand or isinstance(sources, Collection)
        pipeline = ImagePipeline(self.image_reader(), self.encoders, workers=self.encoders.workers)
        return pipeline.batches(sources, at_hand=at_hand)

    def image_reader(self) -> ImageReader:
        """A reader that decodes images for this model, or finds their features in the cache."""
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
            images: Paths, PIL images, bytes of image files, or the result of `clipcli.find_images`. A result's `path`
                is the path, the `filename` of a PIL image that has one, or else `image 0` and so on.
            labels: Label names or a label set (`clipcli.find_label_set`); None for a checkpoint with a classification
                head.
            templates: Replace the label set's own; each contains `{}` once.
            options: How to score.
            none_of_these: Add a label for images that show none of the others; a text is its prompt.
            examples: Images that show labels, by label: files, folders and globs. They are combined with the texts.

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
            UsageError: `texts` is empty.
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
            templates: Replace the label set's own.
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

        A map shows which parts of an image look like the label's text, not why the image has its score. `cosine` shows
        whether the label applies to the image at all.

        Args:
            images: As for `classify`.
            labels: Label names or a label set.
            templates: Replace the label set's own.
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
        """Measure the quality of the answers on images whose labels are known.

            result = model.evaluate("photos/", clipcli.find_label_set("pets"))
            print(result.figures.accuracy)        # Interval(value=0.91, low=0.88, high=0.93)

        Each metric is defined in `clipcli.answers.metrics`, as a function that can be called by itself.

        Args:
            images: A folder with one folder per label, a table (CSV, JSON Lines, Parquet) with the columns `path` and
                `label`, a mapping of paths to labels, or what `clipcli.api.evaluation.truth.read_truth` returns.
            labels: Label names or a label set; None for the images' own label names.
            templates: Replace the label set's own.
            temperature: Divides the logits; None for that of a calibrated label set, or 1 without one.
            split: Which of `train`, `validation` and `test`, if there are several.
            mapping: From the images' label names to the label set's.
            class_names: The names of numeric labels, from 0.
            ignore_unknown: Leave out images with an unknown label; they are counted in `truth.unknown`.
            examples: As for `classify`. Images that are also examples are left out.

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
        """Measure the effect of examples on labels, by leave-one-out: how often an example gets its own label.

        Args:
            labels: Label names or a label set; None for the keys of `examples`.
            examples: As for `classify`.
            templates: Replace the label set's own.

        Raises:
            UsageError: Fewer than two labels have examples.
            LabelSetError: None of a label's examples can be used, or an image is an example of two labels.
        """
        label_set = with_examples(labels, examples)
        if label_set is None:
            raise no_labels()
        from clipcli.api.examples import learn

        return learn(self, label_set, templates)


def _all(batches: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(batches))
