"""What `clip calibrate` has learned, as a label-set file keeps it: the `calibration` key."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clipcli.errors import LabelSetError

if TYPE_CHECKING:
    from clipcli.labels.yaml_nodes import Node  # imports YAML, which most runs do not need

_KEYS = ("model", "model_name", "images", "question", "temperature", "none_below", "quantiles")


@dataclass(frozen=True)
class Calibration:
    """What `clip calibrate` has learned from labeled images. It holds for one model.

    Attributes:
        model: Digest of the checkpoint's configuration and weights.
        model_name: What errors call it.
        images: How many images it was learned from.
        question: Digest of labels and prompts, see `question_digest`; `quantiles` hold for these alone.
        temperature: Divides the logits of `classify`; None where it was not fitted.
        quantiles: For each coverage in percent, how much the right label's score may lack of 1 (see
            `answers.conformal`). Empty where they were not fitted.
        none_below: The best cosine below which an image shows none of the labels; None where it was not fitted.
    """

    model: str
    model_name: str
    images: int
    question: str
    temperature: float | None = None
    quantiles: Mapping[int, float] = field(default_factory=dict)
    none_below: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            LabelSetError: A number is outside of its range.
        """
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise LabelSetError(f"calibration: temperature must be above 0, not {self.temperature}")
        if self.none_below is not None and not -1 <= self.none_below <= 1:
            raise LabelSetError(f"calibration: none_below must lie between -1 and 1, not {self.none_below}")
        for coverage, quantile in self.quantiles.items():
            if not 1 <= coverage <= 99 or not 0 <= quantile <= 1:
                raise LabelSetError(f"calibration: the quantile for {coverage} must lie between 0 and 1")

    def for_model(self, digest: str, model_name: str, label_set: str) -> "Calibration":
        """Return the calibration, if it is this model's.

        Raises:
            LabelSetError: It belongs to another model.
        """
        if digest != self.model:
            raise LabelSetError(
                f"label set {label_set!r} was calibrated for {self.model_name}, and its numbers mean nothing to "
                f"{model_name}",
                hint="use that model, calibrate again with `clip calibrate`, or remove the calibration from the file",
            )
        return self

    def as_fields(self) -> dict[str, object]:
        """The calibration as a file holds it."""
        fields: dict[str, object] = {
            "model": self.model,
            "model_name": self.model_name,
            "images": self.images,
            "question": self.question,
            "temperature": self.temperature,
            "none_below": self.none_below,
            "quantiles": {str(coverage): quantile for coverage, quantile in sorted(self.quantiles.items())} or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


def read_calibration(node: "Node") -> Calibration:
    """Read the `calibration` key.

    Raises:
        LabelSetError: With file and line, if it is not what `clip calibrate` writes.
    """
    fields = node.fields(_KEYS, "a calibration")
    missing = [key for key in ("model", "model_name", "images", "question") if key not in fields]
    if missing:
        raise node.error(f"calibration lacks {', '.join(missing)}", hint="let `clip calibrate` write it")
    try:
        return Calibration(
            model=fields["model"].text("model"),
            model_name=fields["model_name"].text("model_name"),
            images=int(fields["images"].number("images")),
            question=fields["question"].text("question"),
            temperature=fields["temperature"].number("temperature") if "temperature" in fields else None,
            none_below=fields["none_below"].number("none_below") if "none_below" in fields else None,
            quantiles=_quantiles(fields["quantiles"]) if "quantiles" in fields else {},
        )
    except LabelSetError as error:
        raise (error if str(error).startswith(f"{node.file}:") else node.error(str(error), error.hint)) from error


def _quantiles(node: "Node") -> dict[int, float]:
    known = tuple(str(coverage) for coverage in range(1, 100))
    return {int(key): value.number(f"quantile {key}") for key, value in node.fields(known, "quantiles").items()}
