"""What a classification asks, made of labels or of the classes that a checkpoint brings along. numpy only."""

from collections.abc import Sequence

import numpy as np

from clipcli.answers.classify import ClassifyOptions, Groups, LabelClassifier
from clipcli.api.inputs import refuse_single
from clipcli.errors import LabelSetError, UsageError
from clipcli.labels.label_set import Label, LabelSet, clean_text, parents
from clipcli.labels.templates import language_of

# What is left when an image shows none of the labels: several wordings, averaged, in the labels' language.
NONE_OF_THESE = Label("none of these", prompts=("something else", "nothing in particular", "an empty background"))
_NONE_OF_THESE = {"zh": Label("以上都不是", prompts=("别的东西", "没有特别的东西", "空白的背景"))}


def labels_of(names: Sequence[str]) -> LabelSet:
    """Make a label set of plain names.

    Raises:
        UsageError: It is a single text.
        LabelSetError: They break the rules.
    """
    refuse_single(names, "labels")
    return LabelSet(name="labels", labels=tuple(Label(name) for name in names))


def none_label(label_set: LabelSet, none_of_these: bool | str) -> Label | None:
    """The label that stands for none of the others: worded by the user, by the label set, or by us.

    Raises:
        LabelSetError: The user's wording breaks the rules.
    """
    if isinstance(none_of_these, str):
        try:
            return Label(clean_text(none_of_these, "the text for none of the labels"))
        except LabelSetError as error:
            raise LabelSetError(str(error), hint='write what is there instead, such as "an empty room"') from error
    if not none_of_these:
        return None
    return label_set.none or _NONE_OF_THESE.get(language_of(label_set) or "", NONE_OF_THESE)


def parent_groups(label_set: LabelSet, none: Label | None, depth: int, options: ClassifyOptions) -> Groups:
    """Sum labels into their parents at a depth, and leave the one for none of them by itself.

    Args:
        label_set: The labels, `none` being the last if there is one.
        none: The label that stands for none of the others.
        depth: Levels to keep, from the top.
        options: How to score.

    Raises:
        UsageError: There is nothing to sum, or `none` would be summed into a parent.
    """
    if options.scoring != "softmax":
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


def head_classifier(
    model_id: str,
    class_names: tuple[str, ...] | None,
    label_set: LabelSet | None,
    options: ClassifyOptions,
    given: Sequence[str],
) -> LabelClassifier:
    """Ask for the classes of a checkpoint's own classification head, which has logits and knows no texts.

    Args:
        model_id: How errors name the checkpoint.
        class_names: Its classes; None without a head.
        label_set: The user's labels, which a head cannot take.
        options: How to score.
        given: Parameters the user gave that only make sense with labels.

    Raises:
        LabelSetError: There are neither labels nor a head.
        UsageError: Labels or parameters that a head cannot take.
    """
    if class_names is None:
        raise no_labels()
    if label_set is not None:
        raise UsageError(
            f"{model_id} has a classification head with {len(class_names)} classes of its own "
            "and cannot take other labels",
            hint="leave the labels out, or use a checkpoint with both towers",
        )
    if options.scoring == "cosine":
        given = ['`scoring="cosine"`', *given]
    if given:
        raise UsageError(
            f"{model_id} has classes of its own, which {' and '.join(given)} cannot change",
            hint="leave them out, or use a checkpoint with both towers",
        )
    return LabelClassifier(class_names, np.empty((0, 0), dtype=np.float32), 1.0, options)
