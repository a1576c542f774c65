"""Which model the examples of a label set were tried with, as its file keeps it: the `taught` key."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipcli.errors import LabelSetError

if TYPE_CHECKING:
    from clipcli.labels.yaml_nodes import Node  # imports YAML, which most runs do not need

_KEYS = ("model", "model_name")


@dataclass(frozen=True)
class Teaching:
    """What `clip labels teach` leaves behind besides the examples.

    Attributes:
        model: Digest of the checkpoint's configuration and weights.
        model_name: What errors call it.
    """

    model: str
    model_name: str

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

    def as_fields(self) -> dict[str, str]:
        """The record as a file holds it."""
        return {"model": self.model, "model_name": self.model_name}


def read_teaching(node: "Node") -> Teaching:
    """Read the `taught` key.

    Raises:
        LabelSetError: With file and line, if it is not what `clip labels teach` writes.
    """
    fields = node.fields(_KEYS, "taught")
    missing = [key for key in _KEYS if key not in fields]
    if missing:
        raise node.error(f"taught lacks {', '.join(missing)}", hint="let `clip labels teach` write it")
    return Teaching(*(fields[key].text(key) for key in _KEYS))
