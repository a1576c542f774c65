"""Formats of weights that this program does not read, told by the names of files, and what to do about each."""

import re
from collections.abc import Collection

from clipcli.errors import UnsupportedModelError

_SAFETENSORS = "use the checkpoint in safetensors that it was made of"

# The end of a file's path, what it means, and what to do.
_FORMATS = (
    (
        r"adapter_(config\.json|model\.(safetensors|bin))",
        "is a PEFT adapter, which changes a model and is not one itself",
        "merge it into its base model with peft's `merge_and_unload`, and save that",
    ),
    (r".*\.gguf", "is in GGUF, a quantized format that this program does not read", _SAFETENSORS),
    (r".*\.onnx(_data)?", "is in ONNX, which this program does not read", _SAFETENSORS),
    (
        r"(flax_model|tf_model)(-\d+-of-\d+)?\.(msgpack|h5)(\.index\.json)?",
        "holds weights of Flax or TensorFlow in several files, which this program does not read",
        "save the model as safetensors, or in one file, with the `transformers` that wrote it",
    ),
)
_ONE_FILE = re.compile(r"(flax_model\.msgpack|tf_model\.h5)")  # which is read


def refusal(source: object, names: Collection[str]) -> UnsupportedModelError | None:
    """The error for a model without weights that this program reads, where its files' names tell what it has instead.

    Args:
        source: How to call the model.
        names: The paths of its files, or the file that it is.
    """
    files = [name.rpartition("/")[2] for name in names]
    if any(map(_ONE_FILE.fullmatch, files)):
        return None
    for pattern, meaning, remedy in _FORMATS:
        if any(re.fullmatch(pattern, name) for name in files):
            return UnsupportedModelError(f"{source} {meaning}", hint=remedy)
    return None
