"""Questions about images: made from labels or from a checkpoint's classes, and answered as features arrive."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from clipcli.answers.classify import ClassifyOptions, Groups, HeadClassifier, LabelClassifier, TextScorer
from clipcli.answers.tag import TagOptions
from clipcli.api.inputs import refuse_single
from clipcli.errors import LabelSetError, UsageError
from clipcli.features.pipeline import Result
from clipcli.features.reader import Failed
from clipcli.labels.background import background_of
from clipcli.labels.label_set import UNNAMED, Label, LabelSet, clean_text, parents
from clipcli.labels.templates import language_of
from clipcli.results import Failure
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.answers.maps import ExplainOptions
    from clipcli.api.examples import ExampleImages
    from clipcli.api.model import Model

# Prompts for an image that shows none of the labels: several wordings, averaged, in the labels' language.
NONE_OF_THESE = Label("none of these", prompts=("something else", "nothing in particular", "an empty background"))
_NONE_OF_THESE = {"zh": Label("以上都不是", prompts=("别的东西", "没有特别的东西", "空白的背景"))}


def labels_of(labels: Sequence[str] | LabelSet) -> LabelSet:
    """Make a label set from plain names; a label set is returned unchanged.

    Raises:
        UsageError: It is a single text.
        LabelSetError: The names are not valid as labels.
    """
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        names = [name.strip() for name in labels.split(",")]
        raise UsageError(
            f"labels must be a list, not {labels!r} by itself",
            hint=f"give a list: {names}; a label set is found by clipcli.find_label_set({labels!r})",
        )
    refuse_single(labels, "labels")
    return LabelSet(name=UNNAMED, labels=tuple(Label(name) for name in labels))


@overload
def with_examples(labels: Sequence[str] | LabelSet, examples: "ExampleImages | None") -> LabelSet: ...


@overload
def with_examples(labels: Sequence[str] | LabelSet | None, examples: "ExampleImages | None") -> LabelSet | None: ...


def with_examples(labels: Sequence[str] | LabelSet | None, examples: "ExampleImages | None") -> LabelSet | None:
    """A label set made from plain names and example images; None if neither is given."""
    label_set = None if labels is None else labels_of(labels)
    if examples is None:
        return label_set
    from clipcli.api.examples import add_examples

    return add_examples(label_set, examples)


def none_label(label_set: LabelSet, none_of_these: bool | str) -> Label | None:
    """The label for "none of these": with the user's text, the label set's, or the built-in prompts.

    Raises:
        LabelSetError: The user's text is not valid as a label.
    """
    if isinstance(none_of_these, str):
        try:
            return Label(clean_text(none_of_these, "the text for none of the labels"))
        except LabelSetError as error:
            raise LabelSetError(str(error), hint='describe what is visible instead, such as "an empty room"') from error
    if not none_of_these:
        return None
    return label_set.none or _NONE_OF_THESE.get(language_of(label_set) or "", NONE_OF_THESE)


def parent_groups(label_set: LabelSet, none: Label | None, depth: int, options: ClassifyOptions) -> Groups:
    """Sum labels into their parents at a depth; the label for "none of these" stays separate.

    Args:
        label_set: The labels, `none` being the last if there is one.
        none: The label for "none of these".
        depth: Levels to keep, from the top.
        options: How to score.

    Raises:
        UsageError: The labels have no levels to sum, or `none` would be summed into a parent.
    """
    if options.scoring not in ("auto", "softmax"):
        raise UsageError(
            f"depth sums softmax scores and does not go with `scoring={options.scoring!r}`",
            parameter="depth",
            value=depth,
        )
    names = parents(label_set.labels, depth)
    if none is not None and none.name in names[:-1]:
        raise UsageError(
            f"{none.name!r} is to mean none of the labels, and `depth` sums labels into one of that name",
            hint="use another text for none of the labels, or another `depth`",
        )
    return Groups.of_parents(names)


def no_labels() -> LabelSetError:
    """The error of a question without labels."""
    return LabelSetError(
        "no labels are given",
        hint='use `labels=["cat", "dog"]` or `label_set=NAME` (see `clip labels list`)',
    )


def check_for_head(
    model_id: str, classes: int, label_set: LabelSet | None, options: ClassifyOptions, asked: Mapping[str, object]
) -> None:
    """Refuse options that a checkpoint with a classification head does not support: it has logits and no text tower.

    Args:
        model_id: How errors name the checkpoint.
        classes: How many it has.
        label_set: The user's labels.
        options: How to score.
        asked: Other options that only make sense with labels; None if the user did not give them.

    Raises:
        UsageError: An option was given that the head does not support.
    """
    if label_set is not None:
        raise UsageError(
            f"{model_id} has a classification head with {classes} classes of its own and cannot take other labels",
            hint="leave the labels out, or use a checkpoint with both towers",
        )
    given = ['`scoring="cosine"`'] if options.scoring == "cosine" else []
    given += [name for name, value in {**asked, "`coverage`": options.coverage}.items() if value is not None]
    if given:
        raise UsageError(
            f"{model_id} has classes of its own, which {' and '.join(given)} cannot change",
            hint="leave them out, or use a checkpoint with both towers",
        )


R = TypeVar("R", covariant=True)


class Judge(Protocol[R]):
    """A prepared question: turns one image's features into a record."""

    def answer(self, path: str, image_features: Floats) -> R:
        """The record of one image; shapes: (P,), or a classification head's logits (classes,)."""

    def failed(self, path: str, error: Failure) -> R:
        """The record of an image that could not be used."""


def answer(images: Generator[list[Result], None, None], judge: Judge[R]) -> Generator[list[R], None, None]:
    """Answer a question for images as they arrive, a batch at a time, in input order."""
    with closing(images):
        for batch in images:
            yield [
                judge.failed(item.source.path, Failure.from_error(item.error))
                if isinstance(item, Failed)
                else judge.answer(item.source.path, item.features)
                for item in batch
            ]


def describe_run(model: "Model", **question: Any) -> dict[str, Any]:
    """The fields of a JSON document that describe the run."""
    from clipcli import __version__

    return {
        "version": __version__,
        "model": model.checkpoint.files.id,
        "revision": model.checkpoint.files.revision,
        "family": model.checkpoint.config.family,
        "device": model.encoders.placement.device,
        "dtype": model.encoders.placement.dtype,
        **question,
        "preprocessing": asdict(model.checkpoint.preprocessing),
    }


def describe_classify(
    model: "Model",
    label_set: LabelSet | None,
    templates: Sequence[str] | None,
    classifier: LabelClassifier | HeadClassifier,
    options: ClassifyOptions,
) -> dict[str, Any]:
    """The fields of a `classify` document that describe the question; only calibrated scores are probabilities."""
    calibration = label_set.calibration if label_set else None
    fitted = calibration is not None and calibration.temperature is not None
    return {
        "label_set": label_set.name if label_set else None,
        "labels": list(classifier.names),
        "scoring": classifier.scoring,
        "temperature": classifier.temperature,
        "calibrated": fitted and classifier.scoring == "softmax" and options.temperature is None,
        "coverage": options.coverage,
        "templates": list(model.templates_for(label_set, templates)) if label_set else None,
    }


def describe_score(texts: Sequence[str], scorer: TextScorer) -> dict[str, Any]:
    """The fields of a `score` document that describe the question."""
    return {"label_set": None, "labels": list(texts), "templates": None, "scoring": scorer.scoring}


def describe_explain(
    model: "Model", label_set: LabelSet, templates: Sequence[str] | None, options: "ExplainOptions"
) -> dict[str, Any]:
    """The fields of an `explain` document that describe the question."""
    return {
        "label_set": label_set.name,
        "labels": list(label_set.names),
        "templates": list(model.templates_for(label_set, templates)),
        "method": options.method,
        "quality": options.quality,
    }


def describe_tag(
    model: "Model", label_set: LabelSet, templates: Sequence[str] | None, options: TagOptions
) -> dict[str, Any]:
    """The fields of a `tag` document that describe the question."""
    return {
        "label_set": label_set.name,
        "labels": list(label_set.names),
        "templates": list(model.templates_for(label_set, templates)),
        "background": list(background_of(label_set)),
        "thresholds": [options.threshold_of(label) for label in label_set.labels],
        "top": options.top,
        "exclusive": list(options.exclusive),
    }
