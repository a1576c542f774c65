"""What a checkpoint's weight files must hold, by name and shape, whoever reads them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from clipcli.errors import DamagedModelError, UnsupportedModelError
from clipcli.scoring import Logits

Shapes = Mapping[str, tuple[int, ...]]

LOGIT_SCALE = "logit_scale"
LOGIT_BIAS = "logit_bias"

# Constants that older versions of the reference saved as if they were weights, and BERT's pooler, which neither
# Chinese-CLIP nor AltCLIP runs.
_DROPPED = re.compile(r"\.(position_ids|token_type_ids|pooler\.dense\.(weight|bias))$")

# Newer spelling of a checkpoint's key -> the one that the networks have.
_RENAMED = (
    (re.compile(r"^(vision_model\.encoder)\.layer\."), r"\1.layers."),
    (re.compile(r"^(text_model\.roberta\.encoder)\.layers\."), r"\1.layer."),
)

# Of models wrapped for several devices, of compiled ones, and of training scripts that keep a network in an attribute.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "clip.")
_BESIDE_THE_TOWER = ("visual_projection.", "text_projection.", LOGIT_SCALE, LOGIT_BIAS)


def without_wrapper(stored: Iterable[str]) -> dict[str, str]:
    """Names without the prefixes that all of them have because the network was wrapped when it was saved."""
    names = {name: name for name in stored}
    for prefix in _WRAPPERS * 2:  # one may be around another, in any order
        if names and all(name.startswith(prefix) for name in names.values()):
            names = {name: inner.removeprefix(prefix) for name, inner in names.items()}
    return names


def network_names(stored: Iterable[str], only_tower: str | None = None) -> dict[str, str]:
    """The names that the networks have for the tensors of a checkpoint, by those that they are stored under.

    Args:
        stored: The names in all files of the checkpoint.
        only_tower: What the networks call the tower of a checkpoint of one, whose name may be left out of its tensors.
    """
    names = without_wrapper(stored)
    if only_tower is not None and not any(name.startswith(f"{only_tower}.") for name in names.values()):
        names = {
            name: inner if inner.startswith(_BESIDE_THE_TOWER) else f"{only_tower}.{inner}"
            for name, inner in names.items()
        }
    for pattern, replacement in _RENAMED:
        names = {name: pattern.sub(replacement, inner) for name, inner in names.items()}
    return names


def check_shapes(found: Shapes, expected: Shapes, where: str) -> None:
    """Compare what a checkpoint's files hold with what its network needs, both by the network's names.

    Raises:
        UnsupportedModelError: The tensors are TensorFlow's.
        DamagedModelError: A tensor is missing, unexpected, or of another shape; the message names it, and `where`.
    """
    found = {name: shape for name, shape in found.items() if not _DROPPED.search(name)}
    found |= {name: expected[name] for name in (LOGIT_SCALE, LOGIT_BIAS) if _is_one_number(name, found, expected)}
    foreign = next((name for name in found if name.endswith(":0")), None)
    if foreign is not None:
        raise UnsupportedModelError(
            f"{where} holds tensors of TensorFlow, such as {foreign}, which have another layout",
            hint="save the model from torch, or as tf_model.h5, which this program reads",
        )
    problems = [
        *(f"{name} is missing" for name in sorted(expected.keys() - found.keys())),
        *(f"{name} is unexpected" for name in sorted(found.keys() - expected.keys())),
        *(
            f"{name} has shape {list(found[name])}, config.json means {list(shape)}"
            for name, shape in sorted(expected.items())
            if name in found and found[name] != shape
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DamagedModelError(
            f"{where} does not fit its config.json: {problems[0]}{more}",
            hint="the checkpoint is incomplete, or its config.json belongs to another; fetch it again",
        )


def _is_one_number(name: str, found: Shapes, expected: Shapes) -> bool:
    """Whether a number is there, be it stored as one or as a row of one."""
    return name in expected and name in found and found[name] in ((), (1,))


def logits_of(values: Mapping[str, float], where: str) -> Logits:
    """How a checkpoint turns cosines into logits, from the two numbers that it stores: exp of one, and the other.

    Raises:
        DamagedModelError: There is no scale, or a number is not finite.
    """
    if LOGIT_SCALE not in values:
        raise DamagedModelError(f"{where} does not fit its config.json: {LOGIT_SCALE} is missing")
    with np.errstate(over="ignore"):
        scale, bias = float(np.exp(np.float32(values[LOGIT_SCALE]))), values.get(LOGIT_BIAS, 0.0)
    if not np.isfinite(scale):
        raise DamagedModelError(f"{where}: {LOGIT_SCALE} is {values[LOGIT_SCALE]}, whose exp is not a finite number")
    if not np.isfinite(bias):
        raise DamagedModelError(f"{where}: {LOGIT_BIAS} is {bias}, which is not a finite number")
    return Logits(scale, bias)


def unsupported_format(where: str, name: str, number_format: str) -> UnsupportedModelError:
    """The error for a tensor whose numbers are no floats of 16 bits or more."""
    return UnsupportedModelError(
        f"{where}: {name} is stored as {number_format}, which this program does not run",
        hint='use the checkpoint in float32, float16 or bfloat16; `dtype="int8"` rounds one by itself',
    )


def check_beginning(path: Path) -> None:
    """Refuse what cannot be a file of weights by its first bytes: an empty file may claim terabytes, which are hashed.

    Raises:
        DamagedModelError: They are not those of its format, or it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise unreadable(path, error.strerror) from error
    if path.suffix == ".safetensors":
        if start[8:] != b"{" or int.from_bytes(start[:8], "little") > path.stat().st_size:
            raise unreadable(path, "its header is not one of safetensors")
    elif not start.startswith((b"PK\x03\x04", b"\x80")):
        raise unreadable(path, "it is not a file that torch wrote")


def unreadable(path: object, reason: object) -> DamagedModelError:
    """The error for a weight file that cannot be read."""
    return DamagedModelError(
        f"{path} cannot be read: {reason}", hint="fetch the checkpoint again; the file is likely incomplete"
    )
