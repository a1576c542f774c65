"""Questions prepared for a model: labels and texts are encoded, ready to be compared with image features."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clipcli.answers.classify import (
    ClassifyOptions,
    HeadClassifier,
    LabelClassifier,
    LabelCosines,
    TextScorer,
    by_text,
)
from clipcli.answers.tag import Tagger, TagOptions
from clipcli.api.evaluation.calibration import learned_of, warn_if_changed
from clipcli.api.inputs import listed
from clipcli.api.questions import check_for_head, no_labels, none_label, parent_groups
from clipcli.errors import UsageError
from clipcli.labels.background import background_of
from clipcli.labels.label_set import LabelSet

if TYPE_CHECKING:
    from clipcli.api.evaluation.evaluate import ImageModel
    from clipcli.api.model import Model


def classifier(
    model: "Model",
    label_set: LabelSet | None,
    options: ClassifyOptions | None = None,
    *,
    templates: Sequence[str] | None = None,
    none_of_these: bool | str = False,
    depth: int | None = None,
) -> LabelClassifier | HeadClassifier:
    """Prepare a question: the labels encoded, ready to be compared with features of images.

    Args:
        model: Encodes the labels or texts.
        label_set: The labels; None for the classes of a checkpoint with a classification head.
        options: How to score.
        templates: Replace the label set's own.
        none_of_these: Add a label for images that show none of the others; a text is its prompt.
        depth: Sum the scores of hierarchical labels into their parents at this depth.

    Raises:
        UsageError: Some options cannot be used together.
        LabelSetError: No labels are given, and the checkpoint has no classification head.
    """
    options = options or ClassifyOptions()
    if model.class_names is not None:
        asked = {"templates": templates, "`none_of_these`": none_of_these or None, "`depth`": depth}
        check_for_head(model.checkpoint.id, len(model.class_names), label_set, options, asked)
        return HeadClassifier(model.class_names, options)
    if label_set is None:
        raise no_labels()
    templates = model.templates_for(label_set, templates)
    none = none_label(label_set, none_of_these)
    with_none = label_set if none is None else replace(label_set, labels=(*label_set.labels, none), none=None)
    compare, shown = _compared(model, with_none, templates)
    learned = learned_of(model.encoders, label_set, options, templates, shown)
    if learned.quantile is not None and (none_of_these or depth is not None):
        raise UsageError("`coverage` cannot be used with `none_of_these` or `depth`")
    return LabelClassifier(
        with_none.names,
        compare,
        model.logits,
        options,
        none_label=none.name if none else None,
        groups=None if depth is None else parent_groups(with_none, none, depth, options),
        learned=learned,
    )


def text_scorer(model: "Model", texts: Iterable[str], options: ClassifyOptions | None = None) -> TextScorer:
    """Prepare a question: whole texts encoded, ready to be compared with features of images."""
    texts = listed(texts, "texts")
    return TextScorer(texts, model.encode_texts(texts), model.logits, options or ClassifyOptions())


def tagger(
    model: "Model", label_set: LabelSet, options: TagOptions | None = None, *, templates: Sequence[str] | None = None
) -> Tagger:
    """Prepare a question: labels and background are encoded, ready to judge each label by itself.

    Args:
        model: Encodes the labels or texts.
        label_set: The labels.
        options: Which labels an image is given.
        templates: Replace the label set's own.

    Raises:
        UsageError: A group is named that the label set does not have.
        LabelSetError: Its thresholds were fitted for another model.
    """
    compare, shown = _compared(model, label_set, templates)
    warn_if_changed(model.encoders, label_set, model.templates_for(label_set, templates), shown)
    # The default background is ours: a user who gave only labels cannot fix it.
    background = model.encode_texts(background_of(label_set), warn_foreign=bool(label_set.background))
    return Tagger(label_set, compare, background, model.logits, options or TagOptions())


def label_cosines(model: "ImageModel", label_set: LabelSet, templates: Sequence[str] | None = None) -> LabelCosines:
    """A function that compares images with labels: by their texts, and by their examples if they have any."""
    if not label_set.has_examples:
        return by_text(model.encode_labels(label_set, templates))
    from clipcli.api.examples import by_example

    return by_example(model, label_set, templates)


def _compared(
    model: "ImageModel", label_set: LabelSet, templates: Sequence[str] | None
) -> tuple[LabelCosines, str | None]:
    """A function that compares images with the labels, and the digest of its examples, if any."""
    compare = label_cosines(model, label_set, templates)
    if not label_set.has_examples:
        return compare, None
    from clipcli.api.examples import shown_to

    return compare, shown_to(compare)
