"""Which model the examples of a label set were tried with, as its file keeps it: the `taught` key."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clipcli.errors import LabelSetError, warn

if TYPE_CHECKING:
    from clipcli.labels.yaml_nodes import Node  # imports YAML, which most runs do not need

_KEYS = ("model", "model_name", "examples")
_NEEDED = _KEYS[:2]


@dataclass(frozen=True)
class Teaching:
    """What `clip labels teach` leaves behind besides the examples.

    Attributes:
        model: Digest of the checkpoint's configuration and weights.
        model_name: What errors call it.
        examples: Digest of what the examples show, see `Lesson.shown`; None where it is not known.
    """

    model: str
    model_name: str
    examples: str | None = None

    def check_model(self, digest: str, model_name: str, label_set: str) -> None:
        """Refuse another model: whether the examples help it, nobody has seen.

        Raises:
            LabelSetError: It is another one.
        """
        if digest != self.model:
            raise LabelSetError(
                f"label set {label_set!r} was taught with {self.model_name}, not with {model_name}",
                hint=f"use that model, or teach it again with `clip labels teach NEW-NAME`, `label_set={label_set!r}` "
                f"and `model={model_name!r}`",
            )

    def warn_if_changed(self, examples: str, label_set: str) -> None:
        """Warn if the examples are others than those that were tried: one was changed, added or removed."""
        if self.examples not in (None, examples):
            warn(
                f"examples of {label_set!r} have changed since it was taught: whether they help is not known; "
                "`clip labels teach` measures it again"
            )

    def of_other_examples(self) -> "Teaching":
        """The record of a set that was given other labels or examples."""
        return replace(self, examples=None)

    def as_fields(self) -> dict[str, str]:
        """The record as a file holds it."""
        fields = {"model": self.model, "model_name": self.model_name, "examples": self.examples}
        return {key: value for key, value in fields.items() if value is not None}


def read_teaching(node: "Node") -> Teaching:
    """Read the `taught` key.

    Raises:
        LabelSetError: With file and line, if it is not what `clip labels teach` writes.
    """
    fields = node.fields(_KEYS, "taught")
    missing = [key for key in _NEEDED if key not in fields]
    if missing:
        raise node.error(f"taught lacks {', '.join(missing)}", hint="let `clip labels teach` write it")
    return Teaching(**{key: fields[key].text(key) for key in _KEYS if key in fields})
