"""Features of texts and labels, with warnings about texts that were cut and words of another language."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from clipcli.api.languages import language_warning
from clipcli.compute.checkpoint import Checkpoint
from clipcli.compute.encoders import Encoders
from clipcli.errors import warn
from clipcli.features.labels import LabelEncoder, LabelFeature, name_prompt, warn_cut
from clipcli.labels.expand import expand
from clipcli.labels.label_set import LabelSet
from clipcli.progress import Progress
from clipcli.scoring import Floats

ProgressBar = Callable[[], AbstractContextManager[Progress]]
"""A context for the time prompts are encoded; the function it returns is called with the number done and the total."""


def encode_texts(encoders: Encoders, texts: Sequence[str], text_progress: ProgressBar) -> Floats:
    """Encode texts as they are.

    Shapes: M texts -> (M, P) float32, unit length. Warns (`ClipWarning`) once if texts were cut.
    """
    with text_progress() as on_progress:
        encoded = LabelEncoder(encoders, encoders.cache, on_progress).features([(text,) for text in texts])
    warn_cut([f"text {text!r}" for text in texts], encoded, encoders.checkpoint.text_tower.context_length)
    return _stacked(encoded, encoders.checkpoint)


def encode_labels(
    encoders: Encoders, label_set: LabelSet, templates: Sequence[str], text_progress: ProgressBar
) -> Floats:
    """Encode labels through templates and average the prompts of each.

    Shapes: C labels -> (C, P) float32, unit length. Warns (`ClipWarning`) once if prompts were cut.
    Source: arXiv:2103.00020, section 3.1.4.

    Raises:
        LabelSetError: Two labels have the same tokens.
    """
    by_name = [label for label in label_set.labels if not label.examples]
    warn_foreign(encoders.checkpoint, [" ".join(label.prompts) for label in by_name], label_set.language)
    prompts = expand(label_set, templates).by_label
    with text_progress() as on_progress:
        names = ["" if label.wordless else label.name for label in label_set.labels]
        encoded = LabelEncoder(encoders, encoders.cache, on_progress).features(prompts, names)
    what = [
        name_prompt(label, texts[feature.cut or 0], templates)
        for label, texts, feature in zip(label_set.labels, prompts, encoded, strict=True)
    ]
    warn_cut(what, encoded, encoders.checkpoint.text_tower.context_length)
    return _stacked(encoded, encoders.checkpoint)


def warn_foreign(checkpoint: Checkpoint, texts: Sequence[str], language: str | None) -> None:
    """Warn (`ClipWarning`) about words that the model does not understand."""
    warning = language_warning(texts, language, checkpoint.id, checkpoint.config.family)
    if warning:
        warn(warning)


def _stacked(encoded: Sequence[LabelFeature], checkpoint: Checkpoint) -> Floats:
    empty = np.empty((0, checkpoint.config.projection_dim), dtype=np.float32)
    return np.stack([label.features for label in encoded]) if encoded else empty
